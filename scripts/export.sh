#!/usr/bin/env bash
# Checkpoint to bundle: scripts/export.sh CHECKPOINT [--out DIR] [--size HxW] [--logits] [--precision fp32,fp16,int8]
#   [--calibration-data street|cityscapes|camvid|camvid-11|voc|DIR|VIDEO] [--calibration-root DIR]
#   [--calibration-images N] [--calibration-cache FILE] [--int8-recipe FILE] [--unfused]
source "$(dirname "$0")/setup.sh" requirements.lock
exec python -m calibration export "$@"
