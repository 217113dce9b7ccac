#!/usr/bin/env bash
# PyTorch against every exported file: scripts/parity.sh BUNDLE [--scenes N] [--threads N] [--out DIR]
source "$(dirname "$0")/setup.sh" requirements.lock
exec python -m runtime.parity "$@"
