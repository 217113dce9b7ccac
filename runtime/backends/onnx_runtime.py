"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from runtime.backends.backend import Backend, CpuSlot
from runtime.backends.onnx_operators import library
from runtime.backends.onnx_operators.library import can_group, grouped_model, register_operators
from runtime.bundle import ONNX_METADATA_KEY, ModelInfo
from runtime.errors import UserError

_LABEL_TYPES = {f"tensor({name})": np.dtype(name) for name in ("uint8", "int8", "uint16", "int16", "int32", "int64")}
_EXPORT_AGAIN = "Give a .onnx file that scripts/export.sh wrote, or export the checkpoint again."


class OnnxRuntimeBackend(Backend):
    """Runs an exported ONNX file. ``threads`` is per operator; None leaves the choice to ONNX Runtime.

    Where the library of operators was built, a file NAME.fp32.onnx runs with it (``uses_operators``). Without it, or
    with ``operators`` False, the file's own function bodies run. Raises UserError if the file is missing, broken or not
    an exported HyperSeg, or if the library cannot be used.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, *, threads: int | None = None, operators: bool = True) -> None:
        self.path = path
        self.precision = _precision(path)
        options = _session_options(threads)
        # The library knows float32; the operators of the other precisions' files are of float16.
        self.uses_operators = operators and self.precision == "fp32" and register_operators(options)
        self._groups_blocks = self.uses_operators and can_group()
        try:
            self._session = _open_session(path, options, grouped=self._groups_blocks)
        except UserError as error:
            if self.uses_operators:
                _name_the_library_if_at_fault(path, error)
            raise
        self.info = _model_info(self._session, path)
        outputs = {output.name: output.type for output in self._session.get_outputs()}
        self.has_logits = "logits" in outputs
        self._labels_dtype = _LABEL_TYPES[outputs["labels"]]
        self._binding = self._session.io_binding()
        self._labels = np.empty((0,), self._labels_dtype)
        self.slots = (CpuSlot(self.info, self.labels),)

    @property
    def description(self) -> str:
        """Says whether compiled operators run, and whether in the whole network."""
        if not self.uses_operators:
            return self.name
        part = "" if self._groups_blocks else " (decoder only: the package onnx cannot be imported)"
        return f"{self.name} with compiled operators{part}"

    def labels(self, image_nhwc: np.ndarray) -> np.ndarray:
        """Classify images, uint8 RGB [N, H, W, 3] and C-contiguous, into uint8 labels [N, H, W].

        The next call overwrites the returned array.
        """
        shape = image_nhwc.shape[:3]
        if self._labels.shape != shape:
            self._labels = np.empty(shape, self._labels_dtype)
            self._binding.bind_output("labels", "cpu", 0, self._labels_dtype, shape, self._labels.ctypes.data)
        self._binding.bind_cpu_input("image", image_nhwc)
        self._session.run_with_iobinding(self._binding)
        return self._labels.astype(np.uint8, copy=False)

    def logits(self, image_nhwc: np.ndarray) -> np.ndarray:
        """Scores of every class, float32 [N, K, H, W]. Raises UserError if the file was exported without them."""
        if not self.has_logits:
            raise UserError(f"{self.path} has no logits output. Export it with --logits.")
        (logits,) = self._session.run(["logits"], {"image": image_nhwc})
        return np.asarray(logits, np.float32)


def _precision(path: Path) -> str:
    """What the file's name says, NAME.PRECISION.onnx; ONNX Runtime does not tell the weights' type."""
    precision = path.stem.rpartition(".")[2]
    return precision if precision in ("fp32", "fp16", "int8") else "unknown"


def _session_options(threads: int | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: the optimiser's warnings are of no use to whoever runs a demo
    # Or it adds Q/DQ of its own, which round biases too; TensorRT keeps these as they are.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def _open_session(path: Path, options: onnxruntime.SessionOptions, *, grouped: bool) -> onnxruntime.InferenceSession:
    """Open the file as it is or, for the library of operators, with the encoder's blocks grouped into operators."""
    if not path.is_file():
        raise UserError(f"{path} does not exist. {_EXPORT_AGAIN}")
    try:
        model = grouped_model(path) if grouped else str(path)
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base
        reason = str(error).splitlines()[0]
        raise UserError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {path}. "
            f"The file is broken, incomplete, or of a kind only TensorRT runs (*.trt.onnx). {_EXPORT_AGAIN} ({reason})"
        ) from error


def _name_the_library_if_at_fault(path: Path, error: UserError) -> None:
    """Raise UserError if a file that could not be opened with the library of operators can be opened without."""
    try:
        _open_session(path, _session_options(None), grouped=False)
    except UserError:
        return
    reason = str(error.__cause__).splitlines()[0]
    raise UserError(
        f"ONNX Runtime {onnxruntime.__version__} can load {path}, but not with {library.BUILT_LIBRARY} ({reason}). "
        f"{library.BUILD_AGAIN}; so they do with Segmenter(..., operators=False)."
    ) from error


def _model_info(session: onnxruntime.InferenceSession, path: Path) -> ModelInfo:
    """The model's description from the file's metadata, checked against the graph's inputs and outputs."""
    text = session.get_modelmeta().custom_metadata_map.get(ONNX_METADATA_KEY)
    if text is None:
        raise UserError(f"{path} is an ONNX file, but not one of HyperSeg: its metadata is missing. {_EXPORT_AGAIN}")
    try:
        info = ModelInfo.from_json(text)
    except ValueError as error:
        raise UserError(f"the metadata in {path} cannot be read: {error}. {_EXPORT_AGAIN}") from error
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    outputs = {tensor.name: tensor for tensor in session.get_outputs()}
    image, labels = inputs.get("image"), outputs.get("labels")
    if (
        image is None
        or image.type != "tensor(uint8)"
        or image.shape[1:] != [info.height, info.width, 3]
        or labels is None
        or labels.type not in _LABEL_TYPES
    ):
        raise UserError(
            f"{path} does not have the input image uint8 [N, {info.height}, {info.width}, 3] and the output "
            f"labels of an integer type. {_EXPORT_AGAIN}"
        )
    return info
