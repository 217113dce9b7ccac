"""The bundle: one folder per exported model, described by its ``manifest.json``."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.files import replace_file, sha256_of

MANIFEST_NAME = "manifest.json"
TORCH_REFERENCE_NAME = "model.pt2"
ONNX_METADATA_KEY = "hyperseg"

_FORMAT = "hyperseg-bundle"
_FORMAT_VERSION = 1
_EXPORT_AGAIN = "Export the checkpoint again with scripts/export.sh."


@dataclass(frozen=True)
class ModelInfo:
    """What the runtime has to know about a network; stored in the manifest and in the ONNX file's metadata.

    ``palette`` holds one RGB colour per class. ``mean`` and ``std`` apply to RGB values in [0, 1]. ``height`` and
    ``width`` are the network's input size in pixels.
    """

    name: str
    variant: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    height: int
    width: int
    operator_version: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= 256:
            raise ValueError(f"{len(self.classes)} classes; labels are uint8, so 1 to 256 are possible")
        if len(self.palette) != len(self.classes) or any(len(colour) != 3 for colour in self.palette):
            raise ValueError("the palette must hold one RGB colour per class")
        if len(self.mean) != 3 or len(self.std) != 3:
            raise ValueError("mean and std must hold one number per RGB channel")
        if self.height < 1 or self.width < 1:
            raise ValueError(f"the input size {self.height}x{self.width} is empty")

    def to_json(self) -> str:
        """One line of JSON, for the ONNX file's metadata."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ModelInfo:
        """The inverse of :meth:`to_json`. Raises ValueError where the text is not a model's description."""
        return cls.from_fields(json.loads(text))

    @classmethod
    def from_fields(cls, fields: Any) -> ModelInfo:
        """Build from decoded JSON, whose lists become tuples. Raises ValueError for missing or mistyped fields."""
        try:
            return cls(
                name=str(fields["name"]),
                variant=str(fields["variant"]),
                classes=tuple(str(name) for name in fields["classes"]),
                palette=tuple((int(red), int(green), int(blue)) for red, green, blue in fields["palette"]),
                mean=tuple(float(value) for value in fields["mean"]),
                std=tuple(float(value) for value in fields["std"]),
                height=int(fields["height"]),
                width=int(fields["width"]),
                operator_version=int(fields["operator_version"]),
            )
        except KeyError as error:
            raise ValueError(f"the field {error} is missing") from None
        except TypeError as error:
            raise ValueError(f"a field has the wrong type: {error}") from None


@dataclass(frozen=True)
class Manifest:
    """The contents of ``manifest.json``. ``files`` maps file names to sha256, ``tools`` names to versions."""

    info: ModelInfo
    checkpoint_sha256: str
    training_data: str
    files: dict[str, str]
    tools: dict[str, str]
    created: str  # ISO 8601, UTC

    def write(self, folder: Path) -> None:
        """Write ``folder/manifest.json``, complete or not at all."""
        fields = {"format": _FORMAT, "version": _FORMAT_VERSION, **dataclasses.asdict(self)}
        with replace_file(folder / MANIFEST_NAME) as aside:
            aside.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read the text of a manifest. Raises ValueError that says what is wrong with it."""
        fields = json.loads(text)
        if not isinstance(fields, dict) or fields.get("format") != _FORMAT:
            raise ValueError(f'it does not say "format": "{_FORMAT}"')
        if fields.get("version") != _FORMAT_VERSION:
            raise ValueError(f"its version is {fields.get('version')!r}, this program reads version {_FORMAT_VERSION}")
        try:
            files = {str(name): str(sha256) for name, sha256 in fields["files"].items()}
            tools = {str(name): str(version) for name, version in fields["tools"].items()}
            if strays := [name for name in files if Path(name).name != name]:
                raise ValueError(f"it names a file outside the bundle: {strays[0]}")
            return cls(
                info=ModelInfo.from_fields(fields["info"]),
                checkpoint_sha256=str(fields["checkpoint_sha256"]),
                training_data=str(fields["training_data"]),
                files=files,
                tools=tools,
                created=str(fields["created"]),
            )
        except KeyError as error:
            raise ValueError(f"the field {error} is missing") from None
        except AttributeError:
            raise ValueError("its files and tools must be objects") from None


@dataclass(frozen=True)
class Bundle:
    """A bundle folder and its manifest. Open one with :func:`open_bundle`."""

    folder: Path
    manifest: Manifest

    @property
    def info(self) -> ModelInfo:
        """The model's description."""
        return self.manifest.info

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions of the ONNX files in the bundle, in the manifest's order."""
        prefix, suffix = f"{self.info.name}.", ".onnx"
        middles = [name[len(prefix) : -len(suffix)] for name in self.manifest.files if name.endswith(suffix)]
        return tuple(middle for middle in middles if middle and "." not in middle)

    def onnx(self, precision: str = "fp32") -> Path:
        """The ONNX file of a precision. Raises UserError if the bundle has none of it."""
        if precision not in self.precisions:
            available = ", ".join(self.precisions) or "none"
            raise UserError(
                f"{self.folder} has no ONNX file of precision {precision!r}; it has: {available}. "
                f"Choose one of these, or export the checkpoint again with --precision {precision}."
            )
        return self.folder / f"{self.info.name}.{precision}.onnx"

    @property
    def torch_reference(self) -> Path:
        """The unfolded PyTorch network (``model.pt2``). Raises UserError if the bundle has none."""
        if TORCH_REFERENCE_NAME not in self.manifest.files:
            raise UserError(f"{self.folder} has no {TORCH_REFERENCE_NAME}. {_EXPORT_AGAIN}")
        return self.folder / TORCH_REFERENCE_NAME

    def verify(self) -> None:
        """Raise UserError unless every file of the manifest is there with the hash the manifest gives."""
        for name in self.manifest.files:
            self.verify_file(self.folder / name)

    def verify_file(self, path: Path) -> None:
        """Raise UserError unless this file of the bundle is there with the hash the manifest gives."""
        if not path.is_file():
            raise UserError(f"{path} is missing, though the bundle's manifest lists it. {_EXPORT_AGAIN}")
        if sha256_of(path) != self.manifest.files[path.name]:
            raise UserError(
                f"{path} does not match the sha256 in the bundle's manifest: it was changed, or copied only in part. "
                f"Copy the bundle again. If that does not help: {_EXPORT_AGAIN}"
            )


def open_bundle(path: Path | str) -> Bundle:
    """Open a bundle folder by reading its manifest; :meth:`Bundle.verify` checks the files.

    Raises UserError if the folder or its manifest is missing, broken or of an unknown version.
    """
    folder = Path(path)
    if not folder.is_dir():
        happened = "is a file, not a bundle folder" if folder.exists() else "does not exist"
        raise UserError(f"{folder} {happened}. Give the folder that scripts/export.sh wrote.")
    manifest_path = folder / MANIFEST_NAME
    try:
        return Bundle(folder, Manifest.from_json(manifest_path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(
            f"{folder} is not a bundle: it has no {MANIFEST_NAME}. Give the folder that scripts/export.sh wrote."
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {manifest_path}: {error.strerror}. Check its permissions.") from error
    except ValueError as error:  # broken UTF-8 or JSON, or fields that are not a manifest's
        raise UserError(f"{manifest_path} is not a manifest this program can read: {error}. {_EXPORT_AGAIN}") from error
