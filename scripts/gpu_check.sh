#!/usr/bin/env bash
# Checks CUDA kernels and engines on this machine's GPU and writes a dated report:
#   scripts/gpu_check.sh [--checkpoint TRAINED] [--out FILE]
# It needs nvcc and a Python with torch. HYPERSEG_PYTHON=python3 scripts/gpu_check.sh takes the Python named and
# installs nothing, for a machine without a network.
if [ -n "${HYPERSEG_PYTHON:-}" ]; then
  set -euo pipefail
  cd "$(dirname "$0")/.."
  exec "$HYPERSEG_PYTHON" -m trt_plugins.gpu "$@"
fi
source "$(dirname "$0")/setup.sh" requirements.lock
exec python -m trt_plugins.gpu "$@"
