"""What is compared is named by who runs it and in which precision."""

from __future__ import annotations

from typing import NamedTuple

BACKENDS = ("torch", "onnxruntime", "tensorrt")
PRECISIONS = ("fp32", "fp16", "int8")

_BACKEND_TITLES = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "tensorrt": "TensorRT"}


class NetworkName(NamedTuple):
    """One of BACKENDS and one of PRECISIONS."""

    backend: str
    precision: str

    @property
    def title(self) -> str:
        """For people: "ONNX Runtime fp16"."""
        return f"{_BACKEND_TITLES[self.backend]} {self.precision}"
