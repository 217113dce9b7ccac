"""Engine files: what belongs to one, whether it may be used here, and how it is opened.

Beside ``NAME.fp16.engine`` stands ``NAME.fp16.engine.json``, its record. TensorRT itself notices only some of what
makes an engine unfit, and tells it late and in its own words; so the record is compared first.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from runtime.backends.tensorrt.gpu import current_gpu
from runtime.backends.tensorrt.logger import Logger, failure, logger_of, make
from runtime.backends.tensorrt.plugin import find_plugin, load_plugin
from runtime.backends.tensorrt.versions import compare_versions, import_tensorrt, parse_version, rules_of
from runtime.bundle import MANIFEST_NAME, ModelInfo
from runtime.errors import UserError
from runtime.files import replace_file, sha256_of

ENGINE_SUFFIX = ".engine"

_FORMAT = "hyperseg-engine"
_FORMAT_VERSION = 2  # 1 had no field "plugin": there was the library alone


@dataclass(frozen=True)
class EngineRecord:
    """What an engine was built from and for; stored beside it. Optimisation profile i is for ``batches[i]`` images.

    ``plugin`` says where the operators' kernels are: in the plugin library ("library"), whose hash is
    ``plugin_sha256``, or in the engine itself ("aot"), with no hash.
    """

    info: ModelInfo
    precision: str
    batches: tuple[int, ...]
    tensorrt: str
    gpu: str
    compute_capability: str
    plugin_sha256: str
    onnx: str  # path of the ONNX file, as seen from the engine's folder
    onnx_sha256: str
    engine_sha256: str
    created: str  # ISO 8601, UTC
    plugin: str = "library"

    def __post_init__(self) -> None:
        parse_version(self.tensorrt)
        if not self.batches or min(self.batches) < 1:
            raise ValueError(f"the batches {list(self.batches)} are no list of numbers above 0")
        if self.plugin not in ("library", "aot"):
            raise ValueError(f"the kernels are in {self.plugin!r}, neither library nor aot")

    def to_json(self) -> str:
        """The text of the record's file."""
        fields = {"format": _FORMAT, "version": _FORMAT_VERSION, **dataclasses.asdict(self)}
        return json.dumps(fields, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> EngineRecord:
        """The inverse of :meth:`to_json`. Raises ValueError that says what is wrong with the text."""
        fields = json.loads(text)
        if not isinstance(fields, dict) or fields.get("format") != _FORMAT or fields.get("version") not in (1, 2):
            raise ValueError(f'it does not say "format": "{_FORMAT}", "version": {_FORMAT_VERSION}')
        if fields["version"] == 1:
            fields["plugin"] = "library"
        try:
            info = ModelInfo.from_fields(fields["info"])
            batches = tuple(int(batch) for batch in fields["batches"])
            names = [field.name for field in dataclasses.fields(cls) if field.name not in ("info", "batches")]
            return cls(info=info, batches=batches, **{name: str(fields[name]) for name in names})
        except KeyError as error:
            raise ValueError(f"the field {error} is missing") from None
        except TypeError as error:
            raise ValueError(f"a field has the wrong type: {error}") from None


@dataclass(frozen=True)
class Here:
    """What a record is compared with: this machine and the files that are there now."""

    tensorrt: str
    gpu: str
    compute_capability: str
    plugin_sha256: str
    onnx_sha256: str | None  # None where the engine stands without its ONNX file
    engine_sha256: str


@dataclass(frozen=True)
class OpenedEngine:
    """A deserialised engine. ``engine`` is TensorRT's ICudaEngine, ``trt`` its Python package."""

    path: Path
    engine: Any
    record: EngineRecord
    logger: Logger
    trt: ModuleType


def record_path(engine: Path) -> Path:
    """Where the record of an engine stands."""
    return engine.with_name(engine.name + ".json")


def write_record(record: EngineRecord, engine: Path) -> None:
    """Write the record of an engine beside it, complete or not at all. Raises UserError where that is impossible."""
    with replace_file(record_path(engine)) as aside:
        aside.write_text(record.to_json(), encoding="utf-8")


def read_record(engine: Path) -> EngineRecord:
    """Read the record of an engine. Raises UserError if it is missing or broken."""
    path = record_path(engine)
    build = f"build the engine again: python -m runtime build BUNDLE --out {shlex.quote(str(engine))}"
    try:
        return EngineRecord.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing, without which nobody knows what the engine was built for. Copy it along, or {build}"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Check its permissions.") from error
    except ValueError as error:  # broken UTF-8 or JSON, or fields that are not a record's
        raise UserError(f"{path} is not an engine's record: {error}. Copy it again, or {build}") from error


def stale_reasons(record: EngineRecord, here: Here) -> list[str]:
    """Why an engine must not be used here, a sentence each; empty where it may."""
    reasons = []
    if record.engine_sha256 != here.engine_sha256:
        reasons.append("The file is not the one that was built: it was copied only in part, or changed.")
    if age := compare_versions(record.tensorrt, here.tensorrt):
        than = "newer" if age > 0 else "older"
        reasons.append(f"It was built by TensorRT {record.tensorrt}, {than} than {here.tensorrt}, which is here.")
    if (record.gpu, record.compute_capability) != (here.gpu, here.compute_capability):
        reasons.append(
            f"It was built for the GPU {record.gpu} (compute capability {record.compute_capability}), "
            f"here is {here.gpu} ({here.compute_capability})."
        )
    if record.plugin_sha256 != here.plugin_sha256:
        reasons.append("It was built with another plugin library than the one that is here.")
    if here.onnx_sha256 not in (None, record.onnx_sha256):
        reasons.append(f"{record.onnx} has changed since.")
    return reasons


def rebuild_command(record: EngineRecord, engine: Path) -> str:
    """The command that builds an engine again."""
    words = ["python", "-m", "runtime", "build"]
    if (engine.parent / MANIFEST_NAME).is_file() and engine.name == f"{record.info.name}.{record.precision}.engine":
        words += [str(engine.parent), "--precision", record.precision]
    else:
        onnx = Path(os.path.normpath(engine.parent / record.onnx))
        words += [str(onnx) if onnx.is_file() else "BUNDLE", "--precision", record.precision, "--out", str(engine)]
    if record.batches != (1,):
        words += ["--batch", ",".join(map(str, record.batches))]
    if record.plugin == "aot":
        words += ["--plugin", "aot"]
    return shlex.join(words)


def open_engine(path: Path, plugin: Path | None = None) -> OpenedEngine:
    """Open an engine file after its record was found to fit this machine and the files that are here.

    ``plugin`` is the operators' library; None looks for it. An engine that holds its kernels is given none. The
    engine's weights go into CUDA's current context, where there is none into the GPU's primary one. Raises UserError
    for an engine that is missing, broken or stale, and without TensorRT, driver, GPU or plugin library.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist. Build it on this device: python -m runtime build BUNDLE --out {path}")
    record = read_record(path)
    trt = import_tensorrt()
    library = None
    if record.plugin == "library":
        library = find_plugin(rules_of(trt.__version__).major, plugin, path.parent, (path.parent / record.onnx).parent)
    _refuse_stale(path, record, _here(path, record, trt.__version__, library))

    logger = logger_of(trt)
    logger.take_errors()  # of earlier calls, which this one's failure must not be blamed on
    runtime = make(trt.Runtime, logger)
    if library is not None:
        load_plugin(trt, library)
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        remedy = f"If nothing else helps, build it again: {rebuild_command(record, path)}"
        raise failure(f"TensorRT {trt.__version__} cannot open {path}", logger.take_errors(), remedy)
    return OpenedEngine(path, engine, record, logger, trt)


def _here(path: Path, record: EngineRecord, tensorrt: str, library: Path | None) -> Here:
    gpu = current_gpu()
    onnx = path.parent / record.onnx
    return Here(
        tensorrt=tensorrt,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        plugin_sha256="" if library is None else sha256_of(library),
        onnx_sha256=sha256_of(onnx) if onnx.is_file() else None,
        engine_sha256=sha256_of(path),
    )


def _refuse_stale(path: Path, record: EngineRecord, here: Here) -> None:
    if reasons := stale_reasons(record, here):
        raise UserError(f"{path} cannot be used. {' '.join(reasons)} Build it again: {rebuild_command(record, path)}")
