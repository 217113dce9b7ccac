"""The calibration of a network: what was measured on which images, in a file that a person can read.

It is tied to the ONNX file by its hash. From it and the ONNX file the FP16 and INT8 files can be made again without the
images.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import onnx

from calibration.images import CalibrationImages, ImageRecord
from calibration.ranges import TensorRange, collect_ranges, float_tensors
from calibration.thresholds import METHODS
from runtime.bundle import ONNX_METADATA_KEY, ModelInfo
from runtime.errors import UserError
from runtime.files import replace_file, sha256_of

__all__ = ["Calibration", "TensorRange", "calibrate", "read_calibration"]

_FORMAT = "hyperseg-calibration"
_FORMAT_VERSION = 1
_CALIBRATE_AGAIN = "Measure the ranges again: scripts/export.sh with --calibration-data."


@dataclass(frozen=True)
class Calibration:
    """The ranges of the tensors of the network ``model``, as the ONNX file of this hash computes them.

    ``source`` and ``seed`` say how ``images`` were chosen.
    """

    model: str
    onnx_sha256: str
    source: str
    seed: int
    images: tuple[ImageRecord, ...]
    tensors: dict[str, TensorRange]

    def thresholds(self, method: str) -> dict[str, float]:
        """Return the thresholds by one of METHODS of the tensors that have one."""
        return {name: tensor.thresholds[method] for name, tensor in self.tensors.items() if tensor.thresholds}

    def check(self, onnx_path: Path) -> None:
        """Raise UserError unless the file is the one that was measured, and all its tensors were."""
        sha256 = sha256_of(onnx_path)
        if sha256 != self.onnx_sha256:
            raise UserError(
                f"the calibration is one of {self.model} with the sha256 {self.onnx_sha256[:12]}..., but "
                f"{onnx_path.name} has {sha256[:12]}...: another network, or the same one exported from another "
                "checkpoint, at another size, with or without --logits or --unfused, by an older version of this "
                f"project, or by other tools. {_CALIBRATE_AGAIN}"
            )
        if lacking := sorted(float_tensors(onnx.load(onnx_path)).keys() ^ self.tensors.keys()):
            raise UserError(
                f"the calibration of {self.model} was changed by hand: it and {onnx_path.name} differ in the tensors "
                f"{', '.join(lacking[:3])}{', ...' if len(lacking) > 3 else ''}. {_CALIBRATE_AGAIN}"
            )

    def write(self, path: Path) -> None:
        """Write the file, complete or not at all, with a line for each image and each tensor."""
        head = {
            "format": _FORMAT,
            "version": _FORMAT_VERSION,
            "model": self.model,
            "onnx_sha256": self.onnx_sha256,
            "source": self.source,
            "seed": self.seed,
        }
        images = (json.dumps(dataclasses.asdict(record)) for record in self.images)
        tensors = (f"{json.dumps(name)}: {_line(tensor)}" for name, tensor in self.tensors.items())
        text = json.dumps(head, indent=2).removesuffix("\n}")
        text += f',\n  "images": [\n{_indented(images)}\n  ],\n  "tensors": {{\n{_indented(tensors)}\n  }}\n}}\n'
        with replace_file(path) as aside:
            aside.write_text(text, encoding="utf-8")


def calibrate(onnx_path: Path, images: CalibrationImages) -> Calibration:
    """Measure NAME.fp32.onnx of a bundle. Raises UserError as ``collect_ranges`` does."""
    model = onnx.load(onnx_path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return Calibration(
        model=ModelInfo.from_json(metadata[ONNX_METADATA_KEY]).name,
        onnx_sha256=sha256_of(onnx_path),
        source=images.source,
        seed=images.seed,
        images=images.records,
        tensors=collect_ranges(model, images),
    )


def read_calibration(path: Path) -> Calibration:
    """Read what :meth:`Calibration.write` wrote. Raises UserError for a file that is missing, broken or another's."""
    try:
        return _from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Give the NAME.calibration.json of a bundle.") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Check its permissions.") from error
    except ValueError as error:  # broken UTF-8 or JSON, or fields that are not a calibration's
        raise UserError(f"{path} is not a calibration this program can read: {error}. {_CALIBRATE_AGAIN}") from error


def _from_json(text: str) -> Calibration:
    fields = json.loads(text)
    if not isinstance(fields, dict) or fields.get("format") != _FORMAT:
        raise ValueError(f'it does not say "format": "{_FORMAT}"')
    if fields.get("version") != _FORMAT_VERSION:
        raise ValueError(f"its version is {fields.get('version')!r}, this program reads version {_FORMAT_VERSION}")
    try:
        return Calibration(
            model=str(fields["model"]),
            onnx_sha256=str(fields["onnx_sha256"]),
            source=str(fields["source"]),
            seed=int(fields["seed"]),
            images=tuple(ImageRecord(str(record["name"]), str(record["sha256"])) for record in fields["images"]),
            tensors={name: _tensor_range(name, tensor) for name, tensor in fields["tensors"].items()},
        )
    except KeyError as error:
        raise ValueError(f"the field {error} is missing") from None
    except (TypeError, AttributeError) as error:
        raise ValueError(f"a field has the wrong type: {error}") from None


def _tensor_range(name: str, fields: Any) -> TensorRange:
    largest = float(fields["largest"])
    thresholds = {method: float(fields[method]) for method in METHODS if method in fields}
    if not (isfinite(largest) and largest >= 0 and all(isfinite(t) and t > 0 for t in thresholds.values())):
        raise ValueError(f"the range of {name} is not one: {fields}")
    if thresholds and len(thresholds) < len(METHODS):
        raise ValueError(f"the range of {name} lacks {', '.join(sorted(set(METHODS) - thresholds.keys()))}")
    return TensorRange(largest, thresholds, tuple(str(layer) for layer in fields["layers"]))


def _line(tensor: TensorRange) -> str:
    return json.dumps({"largest": tensor.largest, **tensor.thresholds, "layers": list(tensor.layers)})


def _indented(lines: Iterable[str]) -> str:
    return ",\n".join(f"    {line}" for line in lines)
