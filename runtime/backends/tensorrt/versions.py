"""What TensorRT 8.6, 10 and 11 want done differently; no other file asks which version it is.

From 10 on a network is strongly typed: the ONNX file alone decides where FP16 and INT8 are used. 8.6 decides by itself
and wants to be allowed to by flags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest
from types import ModuleType

from runtime.errors import UserError

PRECISIONS = ("fp32", "fp16", "int8")

_FIRST_WITH_AOT = "10.9"
_FIRST_TO_FIND_DOMAINS = "10.10"

_INSTALL = (
    "On a Jetson it comes with JetPack: make the virtual environment with --system-site-packages. "
    "Elsewhere: pip install tensorrt"
)
_FLAGS_OF_8 = {"fp32": (), "fp16": ("FP16",), "int8": ("FP16", "INT8")}


@dataclass(frozen=True)
class Rules:
    """How one major version builds.

    Flags are names in ``NetworkDefinitionCreationFlag`` and ``BuilderFlag``, preview features in ``PreviewFeature``.
    """

    major: int
    network_flags: tuple[str, ...]
    preview_features: tuple[str, ...]
    strongly_typed: bool
    has_progress_monitor: bool
    reads_portable_files: bool  # those for ONNX Runtime, in a newer opset than the *.trt.onnx files

    def builder_flags(self, precision: str) -> tuple[str, ...]:
        """The builder flags of a precision; none where the ONNX file decides."""
        return () if self.strongly_typed else _FLAGS_OF_8[precision]


_RULES = {
    8: Rules(
        major=8,
        network_flags=("EXPLICIT_BATCH",),
        preview_features=("PROFILE_SHARING_0806",),  # two frames in flight run by one profile; later always so
        strongly_typed=False,
        has_progress_monitor=False,
        reads_portable_files=False,
    ),
    10: Rules(
        major=10,
        network_flags=("STRONGLY_TYPED",),
        preview_features=(),
        strongly_typed=True,
        has_progress_monitor=True,
        reads_portable_files=True,
    ),
    11: Rules(
        major=11,
        network_flags=(),  # STRONGLY_TYPED is deprecated and without effect: there is nothing else
        preview_features=(),
        strongly_typed=True,
        has_progress_monitor=True,
        reads_portable_files=True,
    ),
}


def parse_version(text: str) -> tuple[int, ...]:
    """Read "10.16.1.11" as (10, 16, 1, 11); what follows the numbers is left out. Raises ValueError for other text."""
    match = re.match(r"\d+(\.\d+)*", text)
    if match is None:
        raise ValueError(f"{text!r} is no version")
    return tuple(int(number) for number in match[0].split("."))


def compare_versions(one: str, other: str) -> int:
    """-1, 0 or 1 where ``one`` is older than, equal to or newer than ``other``; 10.3 equals 10.3.0."""
    for a, b in zip_longest(parse_version(one), parse_version(other), fillvalue=0):
        if a != b:
            return -1 if a < b else 1
    return 0


def rules_of(version: str) -> Rules:
    """The rules of a TensorRT version. Raises UserError for one that this program does not know."""
    major = parse_version(version)[0]
    if major not in _RULES or compare_versions(version, "8.6") < 0:
        raise UserError(f"TensorRT {version} is not served, only 8.6, 10 and 11. Install one of these.")
    return _RULES[major]


def has_aot_plugins(version: str) -> bool:
    """Whether a version can keep kernels in an engine: 10.8 and older have no ``aot_impl``."""
    return compare_versions(version, _FIRST_WITH_AOT) >= 0


def check_aot_plugins(version: str) -> None:
    """Raise UserError for a version that keeps no kernels in an engine."""
    if not has_aot_plugins(version):
        raise UserError(
            f"TensorRT {version} cannot keep kernels in an engine: --plugin aot needs TensorRT {_FIRST_WITH_AOT} or "
            "newer (on a Jetson: JetPack 7). Build the plugin library (scripts/build_plugin.sh), and the engine "
            "without --plugin aot."
        )


def finds_domains(version: str) -> bool:
    """Whether the parser looks for an operator's plugin in the node's domain, too."""
    return compare_versions(version, _FIRST_TO_FIND_DOMAINS) >= 0


def import_tensorrt() -> ModuleType:
    """Import TensorRT's Python package. Raises UserError where it is missing, incomplete or of an unknown version."""
    try:
        import tensorrt
    except ModuleNotFoundError:
        raise UserError(f"TensorRT's Python package is not installed. {_INSTALL}") from None
    except ImportError as error:  # libnvinfer or one of CUDA's libraries does not open
        raise UserError(
            f"TensorRT's Python package is installed, but does not load: {error}. Its libraries, or the NVIDIA "
            f"driver's, are missing or of another version. {_INSTALL}"
        ) from error
    rules_of(tensorrt.__version__)
    return tensorrt  # type: ignore[no-any-return]
