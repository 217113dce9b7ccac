#!/usr/bin/env bash
# Sourced by the other scripts: goes to the project's root and makes .venv hold what a lock file lists.
#   source scripts/setup.sh                   requirements.lock: train, export and run
#   source scripts/setup.sh requirements-dev.lock   the same and what the tests and linters need
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

setup() {
  local lock=$1 uv
  if uv=$(command -v uv); then :; else
    uv=.uv/bin/uv
    [ -x "$uv" ] || python3 -m pip install --quiet --disable-pip-version-check --target .uv uv
  fi
  [ -x .venv/bin/python ] || "$uv" venv --quiet --python '>=3.11' .venv
  "$uv" pip install --quiet --compile-bytecode --python .venv/bin/python --require-hashes -r "$lock"
  # OpenCV with a window needs the system's libGL, which a server or a container may lack.
  if ! .venv/bin/python -c 'import cv2' 2>/dev/null; then
    local version
    version=$("$uv" pip show --python .venv/bin/python opencv-python 2>/dev/null | sed -n 's/^Version: //p')
    echo "This machine has no libGL: taking OpenCV without windows (the demo's window sink will not work)." >&2
    "$uv" pip install --quiet --python .venv/bin/python --reinstall "opencv-python-headless==$version"
  fi
}

setup "${1:-requirements.lock}"
export PATH="$PWD/.venv/bin:$PATH"
