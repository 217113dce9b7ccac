#!/usr/bin/env bash
# The whole line on the built-in synthetic streets: train a small HyperSeg, export it in every precision, compare, film.
#   scripts/quickstart.sh [OUT]     everything goes to OUT (default: out/quickstart)
out=${1:-out/quickstart}
source "$(dirname "$0")/setup.sh" requirements.lock

step() { printf '\n\033[1m%s\033[0m\n' "$1"; }

if command -v g++ clang++ >/dev/null; then
  step "Compile the operators for this CPU"
  scripts/build_cpu_operators.sh || echo "Going on without: networks run without them, only slower."
fi

step "1/5  train street-tiny (two to four minutes)"
python -m training fit --config training/configs/street-tiny.yaml --out "$out/training"

step "2/5  export to ONNX in FP32, FP16 and INT8"
python -m calibration export "$out/training/best.ckpt" --out "$out/bundle" --logits \
  --precision fp32,fp16,int8 --calibration-data street

step "3/5  compare PyTorch and ONNX Runtime on held-out scenes"
python -m runtime.parity "$out/bundle" --out "$out/parity"

step "4/5  film a drive"
python runtime/demo.py --model "$out/bundle" --source synthetic:1000500 --size 256x512 --frames 300 --sink "$out/demo.mp4"

step "5/5  contact sheet"
python -m runtime.contact_sheet --model "$out/bundle" --out "$out/contact_sheet.png"

step "Done. What you have now:"
cat <<EOF
  $out/demo.mp4               a drive through a street, segmented by the exported network
  $out/contact_sheet.png      image, prediction and truth of a few held-out scenes
  $out/parity/parity.html     PyTorch against ONNX Runtime in FP32, FP16, INT8: labels, mIoU, FPS, pictures (.md: as text)
  $out/bundle/                the exported network, for ONNX Runtime and TensorRT
  $out/training/best.ckpt     the checkpoint; its curves: tensorboard --logdir $out/training

What next (first: source .venv/bin/activate):
  python runtime/demo.py --model $out/bundle --source 0 --sink window        your camera
  python -m training describe                                                the published networks
  scripts/export.sh CHECKPOINT --size 512x1024                               a checkpoint of your own
  python -m calibration inspect $out/bundle/street-tiny.int8.onnx            what runs in which precision
EOF
