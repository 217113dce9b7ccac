"""A TensorRT engine with the plugin library against PyTorch, made and judged by the project's own commands."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from trt_plugins.gpu.report import Failed, NotRun

NETWORK = "cityscapes-m"
SCENES = 10
ROOT = Path(__file__).parents[2]

# What the commands below import, beside torch.
_NEEDED = ("tensorrt", "pycuda", "cuda", "onnx", "onnxscript", "onnxruntime", "timm", "cv2")


def compare_engine(folder: Path) -> dict[str, Any]:
    """Build plugin library and FP32 engine of a network with random weights, and run the parity harness on them.

    Returns what parity.json says. Raises NotRun where a package is missing, Failed with what a command said.
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise NotRun(f"not installed: {', '.join(missing)}")
    import tensorrt

    from training import create_model
    from training.checkpoint import save_model

    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, bundle, parity = folder / "random.ckpt", folder / "bundle", folder / "parity"
    torch.manual_seed(0)
    save_model(create_model(NETWORK), checkpoint)

    major = tensorrt.__version__.split(".")[0]
    capability = "".join(map(str, torch.cuda.get_device_capability()))
    plugin = str(folder / f"plugin/tensorrt{major}/libhyperseg_plugins.so")
    python = sys.executable
    _run("scripts/build_plugin.sh", "--arch", capability, "--out", str(folder / "plugin"), *_declarations(major))
    _run(python, "-m", "calibration", "export", str(checkpoint), "--out", str(bundle), "--logits")
    _run(python, "-m", "runtime", "build", str(bundle), "--plugin", plugin)
    _run(
        *(python, "-m", "runtime.parity", str(bundle), "--backends", "tensorrt", "--precisions", "fp32"),
        *("--scenes", str(SCENES), "--plugin", plugin, "--out", str(parity)),
    )
    return {"network": NETWORK, "parity": json.loads((parity / "parity.json").read_text())}


def _declarations(major: str) -> list[str]:
    """TensorRT from pip has no headers: the project's own declarations do for 10 and 11."""
    return ["--tensorrt-major", major] if int(major) >= 10 else []


def _run(*command: str) -> None:
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if finished.returncode != 0:
        said = (finished.stderr.strip() or finished.stdout.strip()).splitlines()[-20:]
        raise Failed(f"{' '.join(command)}: exit code {finished.returncode}", {"said": said})
