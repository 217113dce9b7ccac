#!/usr/bin/env bash
# Checks CUDA kernels and engines on this machine's GPU and writes a dated report:
#   scripts/gpu_check.sh [--checkpoint TRAINED] [--out FILE]
# It needs nvcc and a Python with torch. HYPERSEG_PYTHON=python3 scripts/gpu_check.sh takes the Python named and
# installs nothing, for a machine without a network.
set -euo pipefail

# Every option names a file, where the caller is; the checks run in the project's root.
arguments=()
for word in "$@"; do
  case $word in
    -*=*) arguments+=("${word%%=*}=$(realpath -m -- "${word#*=}")") ;;
    -*) arguments+=("$word") ;;
    *) arguments+=("$(realpath -m -- "$word")") ;;
  esac
done

if [ -n "${HYPERSEG_PYTHON:-}" ]; then
  cd "$(dirname "$0")/.."
  exec "$HYPERSEG_PYTHON" -m trt_plugins.gpu "${arguments[@]}"
fi
source "$(dirname "$0")/setup.sh" requirements.lock
exec python -m trt_plugins.gpu "${arguments[@]}"
