"""ONNX file to TensorRT engine, for the GPU of this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from runtime.backends.tensorrt import aot
from runtime.backends.tensorrt.engine_file import ENGINE_SUFFIX, EngineRecord, write_record
from runtime.backends.tensorrt.gpu import current_gpu
from runtime.backends.tensorrt.logger import Logger, failure, likely_cause, logger_of, make
from runtime.backends.tensorrt.model_file import EXPORT_AGAIN, ModelFile, engine_beside, read_model
from runtime.backends.tensorrt.plugin import find_plugin, load_plugin
from runtime.backends.tensorrt.progress import Progress, create_monitor, killed_by_ctrl_c, run_with_bar
from runtime.backends.tensorrt.versions import Rules, check_aot_plugins, import_tensorrt, rules_of
from runtime.errors import UserError
from runtime.files import refuse_unwritable, replace_file, sha256_of

TIMING_CACHE_NAME = "timing.cache"

_INPUT = "image"
_OPERATOR = r"\b(DPW\w+|LabelHead): "  # how our operators begin what they say; the parser knows only that they refused


@dataclass(frozen=True)
class BuildOptions:
    """How to build. Every batch gets an optimisation profile, and with it kernels, for exactly that many images.

    One profile for a range of batches would be chosen for one of them and slower for the others; a program feeds one or
    two sizes that it knows. ``workspace_mib`` None leaves TensorRT all memory of the GPU for trying kernels. ``plugin``
    "aot" makes an engine that holds the operators' kernels itself and needs no library, from TensorRT 10.9 on.
    """

    precision: str = "fp32"
    batches: tuple[int, ...] = (1,)
    workspace_mib: int | None = None
    timing_cache: Path | None = None  # None: timing.cache beside the engine
    plugin: Path | Literal["aot"] | None = None  # None looks for the library


@dataclass(frozen=True)
class Built:
    """What a build made."""

    engine: Path
    record: EngineRecord
    warnings: tuple[str, ...]  # TensorRT's


def build_engine(
    model: Path,
    out: Path | None = None,
    options: BuildOptions = BuildOptions(),
    *,
    say: Callable[[str], None] = lambda note: None,
) -> Built:
    """Build the engine of a bundle folder or .onnx file, with its record; both appear complete or not at all.

    ``out`` is by default NAME.PRECISION.engine beside the ONNX file. ``say`` is told what the user should know. Raises
    UserError for anything that cannot be read, built or written, KeyboardInterrupt after Ctrl-C.
    """
    file = read_model(model, options.precision)
    engine = out or engine_beside(file.path)
    if engine.suffix != ENGINE_SUFFIX:
        raise UserError(f"{engine} is no name for an engine; give one that ends in {ENGINE_SUFFIX}.")
    timing_cache = options.timing_cache or engine.with_name(TIMING_CACHE_NAME)
    for path in (engine, timing_cache):
        if path.is_dir():
            raise UserError(f"{path} is a folder; give the name of a file.")
        refuse_unwritable(path.parent)
    trt = import_tensorrt()
    rules = rules_of(trt.__version__)
    if options.plugin == "aot":
        check_aot_plugins(trt.__version__)
    gpu = current_gpu()
    library = None
    if options.plugin != "aot":
        library = find_plugin(rules.major, options.plugin, engine.parent, file.path.parent)
    if file.stripped and not rules.reads_portable_files:
        raise UserError(
            f"TensorRT {trt.__version__} would misread {file.path}, written in a newer ONNX opset than it knows. Give "
            "the bundle folder, or its file made for TensorRT (*.trt.onnx)."
        )
    if file.stripped:
        say(f"{file.path.name} holds function bodies of {', '.join(file.stripped)}: TensorRT gets it without them.")

    logger = logger_of(trt)
    logger.take_errors(), logger.take_warnings()  # of earlier calls
    builder = make(trt.Builder, logger)
    if library is None:
        file = dataclasses.replace(file, content=aot.prepare(trt, gpu.compute_capability, file.content))
    else:
        load_plugin(trt, library)
    network, _ = parse_network(trt, builder, rules, file, logger)
    config = builder.create_builder_config()
    for flag in rules.builder_flags(options.precision):
        config.set_flag(getattr(trt.BuilderFlag, flag))
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default: FP32 with 10 bits of mantissa instead of 23
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that a profile can name the nodes of a layer
    for feature in rules.preview_features:
        config.set_preview_feature(getattr(trt.PreviewFeature, feature), True)
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    _add_profiles(builder, config, network, file, options.batches)
    _use_timing_cache(config, timing_cache, logger, say)

    plan = _run(trt, rules, builder, network, config)
    if plan is None:
        raise failure(f"TensorRT {trt.__version__} cannot build {file.path}", logger.take_errors())
    with replace_file(timing_cache) as aside:
        aside.write_bytes(config.get_timing_cache().serialize())
    record = EngineRecord(
        info=file.info,
        precision=options.precision,
        batches=options.batches,
        tensorrt=trt.__version__,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        plugin="aot" if library is None else "library",
        plugin_sha256="" if library is None else sha256_of(library),
        onnx=os.path.relpath(file.path, engine.parent),
        onnx_sha256=file.sha256,
        engine_sha256=hashlib.sha256(plan).hexdigest(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    with replace_file(engine) as aside:
        aside.write_bytes(plan)
        write_record(record, engine)
    return Built(engine, record, tuple(logger.take_warnings()))


def parse_network(trt: ModuleType, builder: Any, rules: Rules, file: ModelFile, logger: Logger) -> tuple[Any, Any]:
    """Make the network of an ONNX file; returns it with its parser. Raises UserError with the parser's errors."""
    flags = 0
    for flag in rules.network_flags:
        flags |= 1 << int(getattr(trt.NetworkDefinitionCreationFlag, flag))
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(file.content):
        said = logger.take_errors()
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)] or said
        errors += [text for text in said if text not in errors and re.search(_OPERATOR, text)]
        listed = "".join(f"\n  {error}" for error in errors)
        raise UserError(f"TensorRT {trt.__version__} cannot read {file.path}:{listed}\n{likely_cause(errors)}".rstrip())
    return network, parser


def _add_profiles(builder: Any, config: Any, network: Any, file: ModelFile, batches: Sequence[int]) -> None:
    image_nhwc = (file.info.height, file.info.width, 3)
    shapes = [tuple(network.get_input(index).shape) for index in range(network.num_inputs)]
    if len(shapes) != 1 or shapes[0][1:] != image_nhwc or network.get_input(0).name != _INPUT:
        raise UserError(
            f"{file.path} does not have the one input {_INPUT} [N, {file.info.height}, {file.info.width}, 3] but "
            f"inputs of the shapes {[list(shape) for shape in shapes]}. {EXPORT_AGAIN}"
        )
    batch = shapes[0][0]
    if batch >= 0:
        if tuple(batches) != (batch,):
            raise UserError(f"{file.path} was exported for batches of {batch} alone. Write --batch {batch}.")
        return
    for batch in batches:
        profile = builder.create_optimization_profile()
        shape = (batch, *image_nhwc)
        profile.set_shape(_INPUT, shape, shape, shape)
        config.add_optimization_profile(profile)


def _use_timing_cache(config: Any, path: Path, logger: Logger, say: Callable[[str], None]) -> None:
    """Let TensorRT take up the timings of earlier builds, which saves most of a build's time."""
    cache = None
    if path.is_file():
        cache = config.create_timing_cache(path.read_bytes())
        if cache is None or not config.set_timing_cache(cache, False):
            cache = None
            logger.take_errors()  # they concern the cache alone
            say(f"{path} is broken, or of another TensorRT or GPU: its timings are not used, and replaced by new ones.")
    if cache is None:
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _run(trt: ModuleType, rules: Rules, builder: Any, network: Any, config: Any) -> Any:
    """Build, interruptibly; returns the serialised engine, or None where TensorRT's logger says why there is none."""
    if not rules.has_progress_monitor:
        with killed_by_ctrl_c():
            return builder.build_serialized_network(network, config)
    progress = Progress()
    config.progress_monitor = create_monitor(trt, progress)
    return run_with_bar(lambda: builder.build_serialized_network(network, config), progress)
