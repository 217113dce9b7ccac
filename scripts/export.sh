#!/usr/bin/env bash
# Checkpoint to bundle: scripts/export.sh CHECKPOINT [--out DIR] [--size HxW] [--logits]
source "$(dirname "$0")/setup.sh" requirements.lock
exec python -m export "$@"
