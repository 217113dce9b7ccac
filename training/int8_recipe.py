"""The int8 recipe: which layers run in INT8. `calibration` searches and exports by it, `fit` fine-tunes by it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.errors import UserError
from runtime.files import replace_file

_FORMAT = "hyperseg-int8-recipe"
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class Int8Recipe:
    """Which layers of a network run in INT8, and how their thresholds are chosen.

    ``layers`` are PyTorch module paths such as ``backbone.trunk.conv_stem``, ``model`` is the variant that has them,
    ``method`` says how a threshold is taken from the values seen in calibration (e.g. ``percentile``), ``note`` is for
    people. Raises ValueError for a layer that is named twice.
    """

    model: str
    method: str
    layers: tuple[str, ...]
    note: str = ""

    def __post_init__(self) -> None:
        if twice := sorted({layer for layer in self.layers if self.layers.count(layer) > 1}):
            raise ValueError(f"it names {', '.join(twice)} twice")

    def write(self, path: Path) -> None:
        """Write the recipe as JSON, one layer a line; complete or not at all. UserError where it cannot be written."""
        fields = {"format": _FORMAT, "version": _FORMAT_VERSION, **asdict(self)}
        with replace_file(path) as aside:
            aside.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def read_int8_recipe(path: Path) -> Int8Recipe:
    """Read a recipe; raises UserError that says what is wrong with the file."""
    try:
        return _recipe(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(
            f"cannot read the int8 recipe {path}: {error.strerror}. `python -m calibration search` writes one."
        ) from error
    except ValueError as error:  # of json too, and of bytes that are no text
        raise UserError(
            f"{path} is no int8 recipe: {error}. Take one that `python -m calibration search` wrote."
        ) from error


def _recipe(fields: object) -> Int8Recipe:
    if not isinstance(fields, dict) or fields.get("format") != _FORMAT:
        raise ValueError(f'it does not say "format": "{_FORMAT}"')
    if fields.get("version") != _FORMAT_VERSION:
        raise ValueError(f"its version is {fields.get('version')!r}, this program reads version {_FORMAT_VERSION}")
    model, method, layers = (fields.get(name) for name in ("model", "method", "layers"))
    note = fields.get("note", "")
    if not all(isinstance(text, str) for text in (model, method, note)) or not model or not method:
        raise ValueError("model and method must be names, and note a text")
    if not isinstance(layers, list) or not all(isinstance(layer, str) for layer in layers):
        raise ValueError("layers must be a list of module paths")
    return Int8Recipe(str(model), str(method), tuple(layers), str(note))
