"""TensorRT engines: the same as PyTorch, where their time goes, and frames end to end.

Everything runs in a process of its own, by the project's own commands, so that what crashes takes nothing else along.
Speed is that of cityscapes-m with random weights, on which it does not depend. Accuracy in FP16 and INT8 needs a
trained network: random weights have none to lose.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from trt_plugins.gpu.report import Failed, NotRun

NETWORK = "cityscapes-m"
SCENES = 10
CALIBRATION_IMAGES = 32
AOT, PLAIN = "fp16 aot", "fp16 without plugin"
ENGINES = ("fp32", "fp16", "int8", AOT, PLAIN)
COMPARED = ("fp32", "fp16", "int8", AOT)  # with PyTorch
ROOT = Path(__file__).parents[2]

# What is timed end to end: the argument of trt_plugins.gpu.end_to_end, and the engine if it is one.
NETWORKS = {
    "engine fp16": ("engine", "fp16"),
    "engine int8": ("engine", "int8"),
    "engine fp16 aot": ("engine", AOT),
    "TensorRT fp16 without plugin": ("engine", PLAIN),
    "PyTorch eager fp32": ("eager", None),
    "torch.compile fp16": ("compiled", None),
}
OURS = "engine fp16"

# For cityscapes-m on an H200: how many times as long another network's frame takes, and frames a second.
RATIO_AIMS = {"PyTorch eager fp32": 15.0, "TensorRT fp16 without plugin": 1.5}
FRAMES_PER_S_AIM = 1000.0
AIMED_AT = "H200"

# What the commands below import, beside torch.
_NEEDED_BY_PYTORCH = ("onnx", "onnxscript", "timm", "cv2")
_NEEDED = ("tensorrt", "pycuda", "cuda", "onnxruntime", *_NEEDED_BY_PYTORCH)
_TIMEOUT_S = 7200  # a build on a small board

Run = Callable[..., None]


def run_command(*command: str) -> None:
    """Run a command in the project's root. Raises Failed with the last that it said."""
    try:
        finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)}: not done after {_TIMEOUT_S} s", {}) from None
    if finished.returncode != 0:
        said = (finished.stderr.strip() or finished.stdout.strip()).splitlines()[-20:]
        raise Failed(f"{' '.join(command)}: exit code {finished.returncode}", {"said": said})


class Engines:
    """The bundle and the engines of one checkpoint in a folder, each made when somebody first asks for it.

    What could not be made is not tried again: who asks for it later gets NotRun. ``checkpoint`` None stands for random
    weights of NETWORK.
    """

    def __init__(self, folder: Path, checkpoint: Path | None = None, run: Run = run_command) -> None:
        self.folder = folder
        self.trained = checkpoint is not None
        self._given = checkpoint
        self._run = run
        self._made: dict[str, Path | None] = {}

    def checkpoint(self) -> Path:
        """The given one, or random weights."""
        return self._given or self._once("the checkpoint", self._random_checkpoint)

    def plugin(self) -> Path:
        """The plugin library for this TensorRT and GPU."""
        return self._once("the plugin library", self._plugin)

    def bundle(self) -> Path:
        """The bundle, in all precisions, with logits."""
        return self._once("the bundle", self._bundle)

    def engine(self, name: str) -> Path:
        """Return one of ENGINES. Raises NotRun where a package is missing."""
        _require_packages()
        return self._once(f"the engine {name}", partial(self._engine, name))

    def compare(self, name: str) -> dict[str, Any]:
        """Run the parity harness on an engine; returns what parity.json says. Raises Failed if a budget is missed."""
        if name != "fp32" and not self.trained:
            raise NotRun("random weights have no accuracy to lose: name a trained network, --checkpoint FILE")
        bundle, out = self.engine(name).parent, self.folder / f"parity {name}"
        precision = name.split()[0]
        self._run(
            *(sys.executable, "-m", "runtime.parity", str(bundle), "--backends", "tensorrt"),
            *("--precisions", precision, "--scenes", str(SCENES), "--out", str(out)),
            *(() if name == AOT else ("--plugin", str(self.plugin()))),
        )
        return {"engine": name, "parity": json.loads((out / "parity.json").read_text())}

    def profile(self, name: str) -> dict[str, Any]:
        """Time an engine's layers; the figures of ``layers.profile``."""
        return self._figures("trt_plugins.gpu.layers", f"layers {name}", str(self.engine(name)), self._library(name))

    def time_frames(self, name: str) -> dict[str, Any]:
        """Time one of NETWORKS; the figures of ``end_to_end.measure``."""
        kind, engine = NETWORKS[name]
        if engine is None:
            _require_packages(_NEEDED_BY_PYTORCH)
        path = self.checkpoint() if engine is None else self.engine(engine)
        return self._figures("trt_plugins.gpu.end_to_end", f"frames {name}", kind, str(path), self._library(engine))

    def _figures(self, module: str, name: str, *arguments: str | tuple[str, ...]) -> dict[str, Any]:
        out = self.folder / f"{name}.json"
        words = [word for part in arguments for word in ((part,) if isinstance(part, str) else part)]
        self._run(sys.executable, "-m", module, *words, "--json", str(out))
        figures: dict[str, Any] = json.loads(out.read_text())
        return figures

    def _library(self, engine: str | None) -> tuple[str, ...]:
        return () if engine in (None, AOT) else ("--plugin", str(self.plugin()))

    def _once(self, what: str, make: Callable[[], Path]) -> Path:
        if what not in self._made:
            self._made[what] = None
            self._made[what] = make()
        made = self._made[what]
        if made is None:
            raise NotRun(f"{what} could not be made, see above")
        return made

    def _random_checkpoint(self) -> Path:
        from training import create_model
        from training.checkpoint import save_model

        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        save_model(create_model(NETWORK), self.folder / "random.ckpt")
        return self.folder / "random.ckpt"

    def _plugin(self) -> Path:
        import tensorrt

        if shutil.which("cmake") is None:
            raise NotRun("cmake, which builds the plugin library, is not installed")
        major = tensorrt.__version__.split(".")[0]
        capability = "".join(map(str, torch.cuda.get_device_capability()))
        out = self.folder / "plugin"
        # TensorRT from pip has no headers: the project's own declarations do for 10 and 11.
        declared = ("--tensorrt-major", major) if int(major) >= 10 else ()
        self._run("scripts/build_plugin.sh", "--arch", capability, "--out", str(out), *declared)
        return out / f"tensorrt{major}/libhyperseg_plugins.so"

    def _bundle(self) -> Path:
        out = self.folder / "bundle"
        self._run(
            *(sys.executable, "-m", "calibration", "export", str(self.checkpoint()), "--out", str(out), "--logits"),
            *("--precision", "fp32,fp16,int8", "--calibration-data", "street"),
            *("--calibration-images", str(CALIBRATION_IMAGES)),
        )
        return out

    def _engine(self, name: str) -> Path:
        bundle, precision = self.bundle(), name.split()[0]
        model = bundle
        if name == AOT:
            _require_aot()
            model = self.folder / "bundle aot"
            shutil.copytree(bundle, model, ignore=shutil.ignore_patterns("*.engine*"), dirs_exist_ok=True)
        elif name == PLAIN:
            model = self._plain(bundle)
        network = next(bundle.glob("*.fp16.trt.onnx")).name.removesuffix(".fp16.trt.onnx")
        engine = (model if model.is_dir() else model.parent) / f"{network}.{precision}.engine"
        plugin = "aot" if name == AOT else str(self.plugin())
        self._run(
            *(sys.executable, "-m", "runtime", "build", str(model), "--precision", precision),
            *("--plugin", plugin, "--out", str(engine)),
        )
        return engine

    def _plain(self, bundle: Path) -> Path:
        """Write the FP16 file with standard operators in place of ours."""
        import onnx

        from export.plain import plain

        source = next(bundle.glob("*.fp16.trt.onnx"))
        out = self.folder / "plain" / source.name
        out.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(plain(onnx.load(source)), out)
        return out


def frames_table(time_frames: Callable[[str], dict[str, Any]], say: Callable[[str], None]) -> dict[str, Any]:
    """Time all NETWORKS, each on its own: a row for each that ran, and why the others did not.

    Raises Failed, with the rows, if one failed.
    """
    rows, not_run, failed = [], {}, {}
    for name in NETWORKS:
        say(f"end to end, {name}")
        try:
            rows.append({"name": name, **time_frames(name)})
        except NotRun as reason:
            not_run[name] = str(reason)
        except Failed as failure:
            failed[name] = {"reason": str(failure), **failure.figures}
        except Exception as error:  # as in report.attempt
            failed[name] = {"reason": f"{type(error).__name__}: {error}"}
    figures = {"network": NETWORK, "batch": 1, "networks": with_ratios(rows), "not_run": not_run, "failed": failed}
    if failed:
        raise Failed(f"{len(failed)} of {len(NETWORKS)}: {', '.join(failed)}", figures)
    if not rows:
        raise NotRun(next(iter(not_run.values())))
    return figures


def with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add how many times as long as our FP16 engine's a frame and the network alone take; None without that engine."""
    ours = next((row for row in rows if row["name"] == OURS), None)
    return [
        row
        | {
            "frame/ours": row["frame_ms"] / ours["frame_ms"] if ours else None,
            "network/ours": row["network_ms"] / ours["network_ms"] if ours else None,
        }
        for row in rows
    ]


def judge_aims(figures: dict[str, Any], device: str) -> dict[str, Any]:
    """Compare the rows of ``frames_table`` with the aims. Raises NotRun where there are none, Failed for a miss."""
    if AIMED_AT not in device:
        raise NotRun(f"the aims are for {NETWORK} on an {AIMED_AT}, this is {device}")
    rows = {row["name"]: row for row in figures.get("networks", ())}
    if missing := [name for name in (OURS, *RATIO_AIMS) if name not in rows]:
        raise NotRun(f"not timed: {', '.join(missing)}")
    aims = [
        {"name": f"{name}, frame/ours", "aim": aim, "reached": rows[name]["frame/ours"]}
        for name, aim in RATIO_AIMS.items()
    ]
    aims.append({"name": "frames a second", "aim": FRAMES_PER_S_AIM, "reached": rows[OURS]["frames_per_s"]})
    if missed := [aim["name"] for aim in aims if aim["reached"] < aim["aim"]]:
        raise Failed(f"missed: {'; '.join(missed)}", {"aims": aims})
    return {"aims": aims}


def _require_packages(needed: tuple[str, ...] = _NEEDED) -> None:
    if missing := [package for package in needed if find_spec(package) is None]:
        raise NotRun(f"not installed: {', '.join(missing)}")


def _require_aot() -> None:
    import tensorrt

    from runtime.backends.tensorrt.aot.compiler import check_compiler
    from runtime.backends.tensorrt.versions import check_aot_plugins
    from runtime.errors import UserError

    major, minor = torch.cuda.get_device_capability()
    try:
        check_aot_plugins(tensorrt.__version__)
        check_compiler(10 * major + minor)
    except UserError as error:
        raise NotRun(str(error)) from None
