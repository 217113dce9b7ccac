#!/usr/bin/env bash
# PyTorch against every exported file and engine: labels, mIoU, logits, latency; parity.json, .md and .html.
#   scripts/parity.sh BUNDLE [--backends torch,onnxruntime,tensorrt] [--precisions fp32,fp16,int8]
#                     [--data street|cityscapes|camvid|camvid-11|voc|DIR] [--data-root DIR] [--scenes N] [--threads N]
#                     [--out DIR] [--plugin LIB] [--layers]
# It installs PyTorch. On a device that has none: python -m runtime.parity BUNDLE --backends onnxruntime,tensorrt
source "$(dirname "$0")/setup.sh" requirements.lock
exec python -m runtime.parity "$@"
