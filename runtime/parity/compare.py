"""A whole run: open the reference and every network asked for, measure all of them, judge each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from runtime.bundle import TORCH_REFERENCE_NAME, Bundle
from runtime.device.description import describe_device
from runtime.errors import UserError
from runtime.files import sha256_of
from runtime.parity.accuracy import measure_accuracy
from runtime.parity.budgets import NOT_RUN, judge
from runtime.parity.layers import compare_layers
from runtime.parity.names import BACKENDS, PRECISIONS, NetworkName
from runtime.parity.pictures import Album
from runtime.parity.report import (
    COMPILED_OPERATORS,
    Comparison,
    Environment,
    Measured,
    ParityReport,
    installed_versions,
)
from runtime.parity.scenes import open_scenes
from runtime.parity.speed import measure_speed
from runtime.segmenter import Backend, open_backend

_TIMED_IMAGES = 4  # how long a frame takes does not depend on what it shows


@dataclass(frozen=True)
class Request:
    """What to compare, on what. ``data`` is a data set's name or a folder of images; ``threads`` None takes all."""

    backends: tuple[str, ...] = BACKENDS
    precisions: tuple[str, ...] = PRECISIONS
    data: str = "street"
    data_root: Path | None = None
    scenes: int = 50
    threads: int | None = None
    plugin: Path | None = None
    layers: bool = False


def compare(bundle: Bundle, request: Request) -> ParityReport:
    """Measure every network asked for and compare it with the reference.

    The reference is PyTorch, or, where ``torch`` is not among the backends (a device without it), ONNX Runtime in FP32.
    What cannot run is in the report with its reason. Raises UserError for a bundle that does not match its manifest,
    a reference that cannot run, and scenes that cannot be read.
    """
    bundle.verify()
    info = bundle.info
    threads = request.threads or os.cpu_count() or 1
    scenes = open_scenes(request.data, request.data_root, info, request.scenes)
    reference = _reference(request.backends)
    asked_for = [NetworkName(backend, precision) for backend in request.backends for precision in request.precisions]
    wanted = [name for name in asked_for if name != reference and name.backend != "torch"]
    with ExitStack() as stack:

        def opened(name: NetworkName) -> Backend:
            network = stack.enter_context(
                open_backend(
                    bundle.folder, name.backend, precision=name.precision, threads=threads, plugin=request.plugin
                )
            )
            network.labels(np.zeros((1, info.height, info.width, 3), np.uint8))  # the first run is where engines fail
            return network

        networks = {reference: opened(reference)}
        not_run = {}
        for name in wanted:
            try:
                networks[name] = opened(name)
            except UserError as error:
                not_run[name] = str(error)

        album = Album(reference, info.palette)
        accuracies = measure_accuracy(reference, networks, scenes, len(info.classes), album.consider)
        images = [scenes.load(index).image_rgb for index in range(min(_TIMED_IMAGES, scenes.count))]
        speeds, power_source = measure_speed(networks, images)

    layers = compare_layers(bundle, wanted, images[0], plugin=request.plugin) if request.layers else None
    measured = {}
    for name in networks:
        path = bundle.folder / _file_name(bundle, name)
        measured[name] = Measured(name, path.name, sha256_of(path), accuracies[name], speeds[name])
    return ParityReport(
        manifest=bundle.manifest,
        environment=Environment(
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            threads=threads,
            device=describe_device(),
            versions=installed_versions() | _compiled_operators(networks),
        ),
        data=scenes.title,
        protocol=scenes.protocol,
        scenes=scenes.count,
        no_truth=scenes.no_truth,
        power_source=power_source,
        reference=measured[reference],
        comparisons=tuple(
            _judged(measured[name], measured[reference])
            if name in measured
            else Comparison(name, NOT_RUN, not_run[name])
            for name in wanted
        ),
        layers=layers,
        pictures=album.pages,
    )


def _compiled_operators(networks: Mapping[NetworkName, Backend]) -> dict[str, str]:
    """Say which networks ran with more than what their file and ONNX Runtime hold: that changes their speed."""
    titles = [name.title for name, network in networks.items() if network.uses_operators]
    return {COMPILED_OPERATORS: f"in {', '.join(titles)}"} if titles else {}


def _reference(backends: tuple[str, ...]) -> NetworkName:
    for backend in ("torch", "onnxruntime"):
        if backend in backends:
            return NetworkName(backend, "fp32")
    raise UserError(
        "there is no reference to compare with. Add torch to --backends, or onnxruntime where PyTorch is not installed."
    )


def _judged(measured: Measured, reference: Measured) -> Comparison:
    status, reason = judge(measured.name.precision, measured.accuracy, reference.accuracy)
    return Comparison(measured.name, status, reason, measured)


def _file_name(bundle: Bundle, name: NetworkName) -> str:
    if name.backend == "torch":
        return TORCH_REFERENCE_NAME
    ending = "engine" if name.backend == "tensorrt" else "onnx"
    return f"{bundle.info.name}.{name.precision}.{ending}"
