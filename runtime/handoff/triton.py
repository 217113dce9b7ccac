"""``python -m runtime triton``: a bundle as a model repository of NVIDIA's Triton Inference Server.

Layout and config.pbtxt follow Triton's documentation, "Model Repository" and "Model Configuration".
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.bundle import Bundle, open_bundle
from runtime.errors import UserError
from runtime.files import replace_folder, sha256_of
from runtime.segmenter import open_backend

CONFIG_NAME = "config.pbtxt"
PLUGIN_FOLDER = "plugin"
LOADER_SOURCE = Path(__file__).with_name("load_hyperseg.cpp")

_LABELS_NAME = "labels.txt"
_VERSION = "1"
_MARK = "# Written by `python -m runtime"
# The graph takes any batch in ONNX Runtime; how many requests Triton gathers is a matter of latency.
_ONNX_MAX_BATCH = 8


@dataclass(frozen=True)
class Engine:
    """A TensorRT engine that goes into a repository, with its plugin library unless it holds its kernels itself."""

    path: Path
    plugin: Path | None
    batches: tuple[int, ...]  # optimisation profile i is for batches[i] images


def write_model_repository(bundle: Bundle, precision: str, out: Path, *, plugin: Path | None = None) -> Path:
    """Write the model NAME into the repository ``out`` and return its folder ``out/NAME``.

    With an engine BUNDLE/NAME.PRECISION.engine it is one for the TensorRT backend, and the plugin library that the
    engine needs, if any, lies in the folder ``plugin``; without, it is the ONNX file for the ONNX Runtime backend.
    Other models in ``out``, and other versions of this one, stay. Raises UserError for a precision that the bundle
    lacks, an engine that does not fit its record or plugin library, and an ``out/NAME`` that this function did not
    write.
    """
    engine = find_engine(bundle, precision, plugin)
    if engine is None:
        source = bundle.onnx(precision)
        bundle.verify_file(source)
    config = model_config(bundle, has_logits(bundle), engine)
    folder = out / bundle.info.name
    refuse_foreign(folder, folder / CONFIG_NAME)
    with replace_folder(folder, owned={CONFIG_NAME, _LABELS_NAME, _VERSION, PLUGIN_FOLDER}) as aside:
        (aside / _VERSION).mkdir()
        (aside / CONFIG_NAME).write_text(config, encoding="utf-8")
        (aside / _LABELS_NAME).write_text("".join(f"{name}\n" for name in bundle.info.classes), encoding="utf-8")
        if engine is None:
            shutil.copyfile(source, aside / _VERSION / "model.onnx")
        else:
            shutil.copyfile(engine.path, aside / _VERSION / "model.plan")
        if engine is not None and engine.plugin is not None:
            (aside / PLUGIN_FOLDER).mkdir()
            shutil.copyfile(engine.plugin, aside / PLUGIN_FOLDER / "libhyperseg_plugins.so")
            shutil.copyfile(LOADER_SOURCE, aside / PLUGIN_FOLDER / LOADER_SOURCE.name)
    return folder


def find_engine(bundle: Bundle, precision: str, plugin: Path | None) -> Engine | None:
    """The bundle's engine of a precision, checked against its record; None where there is none.

    Whether it suits the machine that will serve it is not known here.
    """
    from runtime.backends.tensorrt.engine_file import read_record, rebuild_command
    from runtime.backends.tensorrt.plugin import find_plugin
    from runtime.backends.tensorrt.versions import rules_of

    path = bundle.folder / f"{bundle.info.name}.{precision}.engine"
    if not path.is_file():
        return None
    record = read_record(path)
    library = None
    if record.plugin == "library":
        library = find_plugin(rules_of(record.tensorrt).major, plugin, bundle.folder)
    remedy = f"Build it again: {rebuild_command(record, path)}"
    if sha256_of(path) != record.engine_sha256:
        raise UserError(f"{path} is not the file that was built: it was copied only in part, or changed. {remedy}")
    if library is not None and sha256_of(library) != record.plugin_sha256:
        raise UserError(f"{path} was built with another plugin library than {library}. {remedy}")
    return Engine(path, library, record.batches)


def has_logits(bundle: Bundle) -> bool:
    """Whether the bundle was exported with the logits as a second output."""
    precision = next(iter(bundle.precisions), "fp32")
    with open_backend(bundle.folder, "onnxruntime", precision=precision, operators=False) as backend:
        return backend.has_logits


def model_config(bundle: Bundle, logits: bool, engine: Engine | None) -> str:
    """The text of config.pbtxt."""
    info = bundle.info
    size = [info.height, info.width]
    outputs = [_tensor("labels", "TYPE_UINT8", size)]
    if logits:
        outputs.append(_tensor("logits", "TYPE_FP32", [len(info.classes), *size]))
    largest = _ONNX_MAX_BATCH if engine is None else largest_batch(engine)
    lines = [
        f"{_MARK} triton`, which replaces it.",
        f"name: {quoted(info.name)}",
        f"backend: {quoted('onnxruntime' if engine is None else 'tensorrt')}",
        f"max_batch_size: {largest}",
        "input [",
        _tensor("image", "TYPE_UINT8", [*size, 3]),
        "]",
        "output [",
        ",\n".join(outputs),
        "]",
    ]
    if engine is not None:
        # By default Triton uses profile 0 alone. Of those named here it takes one that fits the batch.
        profiles = [str(engine.batches.index(batch)) for batch in range(1, largest + 1)]
        lines.append(f"instance_group [ {{ kind: KIND_GPU count: 1 profile: {json.dumps(profiles)} }} ]")
    if largest > 1:
        lines.append("dynamic_batching { }")
    return "\n".join(lines) + "\n"


def largest_batch(engine: Engine) -> int:
    """The largest batch up to which the engine has a profile for every size, since Triton may send any.

    Raises UserError for an engine without one for a single image.
    """
    largest = 0
    while largest + 1 in engine.batches:
        largest += 1
    if largest == 0:
        raise UserError(
            f"{engine.path} has no optimisation profile for a batch of 1, but one request may come alone. Build the "
            "engine with --batch 1, or --batch 1,2,3,4 to have requests gathered."
        )
    return largest


def refuse_foreign(folder: Path, written: Path) -> None:
    """Raise UserError if a folder stands there that no command of this package wrote."""
    if folder.exists() and not (written.is_file() and written.read_text(errors="replace").startswith(_MARK)):
        raise UserError(
            f"{folder} exists and was not written by this command, so it is left alone. Choose another --out."
        )


def quoted(text: str) -> str:
    """A string of protobuf's text format."""
    return json.dumps(text, ensure_ascii=False)


def _tensor(name: str, data_type: str, dims: Sequence[int]) -> str:
    return f"  {{ name: {quoted(name)} data_type: {data_type} dims: {list(dims)} }}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``python -m runtime triton``."""
    parser.add_argument("bundle", type=Path, help="folder that scripts/export.sh wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model repository")
    parser.add_argument("--precision", default="fp32", metavar="P", help="default: %(default)s")
    parser.add_argument("--plugin", type=Path, metavar="LIB", help="the plugin library (default: looked for)")


def main(arguments: argparse.Namespace) -> None:
    """Write the repository, then say how to start Triton on it."""
    bundle = open_bundle(arguments.bundle)
    folder = write_model_repository(bundle, arguments.precision, arguments.out, plugin=arguments.plugin)
    print(f"Triton model: {folder}")
    plugin_folder = folder.resolve() / PLUGIN_FOLDER
    start = f"  tritonserver --model-repository={arguments.out.resolve()}"
    if plugin_folder.is_dir():
        print("Compile the loader of the plugin library where Triton runs, and start Triton with it (docs/handoff.md):")
        print(f"  cd {plugin_folder}")
        print(
            f"  g++ -O2 -shared -fPIC {LOADER_SOURCE.name} -o libload_hyperseg.so -I/usr/local/cuda/include -lnvinfer"
        )
        print(f"{start} --backend-config=tensorrt,plugins={plugin_folder}/libload_hyperseg.so")
    elif (folder / _VERSION / "model.plan").is_file():
        print("The engine holds the operators' kernels; start Triton on it:")
        print(start)
    else:
        print(
            f"There is no engine {bundle.info.name}.{arguments.precision}.engine in the bundle, so it is the ONNX file "
            f"for Triton's ONNX Runtime backend. For TensorRT: python -m runtime build {arguments.bundle} "
            f"--precision {arguments.precision}, then this command again."
        )
        print(start)
