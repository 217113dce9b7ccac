"""The constructor call a published checkpoint carries as text: read as literals, never evaluated, only compared."""

from __future__ import annotations

import ast
import reprlib
from dataclasses import dataclass

from runtime.errors import UserError
from training.network.config import HyperSegConfig

_TRUNKS = {"tf_efficientnet_b1.aa_in1k": "efficientnet-b1", "tf_efficientnet_b3.aa_in1k": "efficientnet-b3"}
# They choose the start of a training or the handling of image pyramids, or size buffers; the network is the same.
_WITHOUT_EFFECT = {"pretrained", "inference_hflip", "inference_gather", "coords_res", "decoder_dropout"}
_LONGEST, _LONGEST_NAME = 20_000, 200


@dataclass(frozen=True)
class Architecture:
    """A call such as ``package.module.function('efficientnet-b1',levels=2)``, of which only literals were read."""

    function: str
    trunk: str | None
    arguments: dict[str, object]
    unread: tuple[str, ...]  # arguments that are no literals


def parse_architecture(arch: str | None) -> Architecture | str:
    """Read the call, or say in a few words why it cannot be read."""
    if arch is None:
        return "the file has no arch text"
    if len(arch) > _LONGEST:
        return f"arch is {len(arch)} characters long"
    try:
        call = ast.parse(arch.strip(), mode="eval").body
        function = _dotted(call.func) if isinstance(call, ast.Call) else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "arch is no Python expression"
    if not isinstance(call, ast.Call) or function is None or len(function) > _LONGEST_NAME:
        return "arch is no plain call of a named function"
    arguments, unread = {}, []
    for keyword in call.keywords:
        try:
            arguments[keyword.arg or "**"] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            unread.append(keyword.arg or "**")
    first = call.args[0] if call.args else None
    trunk = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
    return Architecture(function, trunk, arguments, tuple(unread))


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value)):
        return f"{owner}.{node.attr}"
    return None


def compare_architecture(arch: Architecture | str, config: HyperSegConfig, layout: str) -> list[str]:
    """Sentences on what the call says and where the file's tensors say otherwise.

    Raises UserError where it asks for a network that has the same tensors and computes something else.
    """
    if isinstance(arch, str):
        return [f"{arch}; the tensors alone say what the network is"]
    if arch.arguments.get("avg_pool", True) is not True:
        raise UserError(
            "arch says avg_pool=False: a context head without the average at its bottom, which has the same tensors "
            "as the published one and is not implemented here."
        )
    levels = len(config.kernel_sizes)
    expected: dict[str, object] = {
        "levels": config.context_levels,
        "out_feat_scale": config.reduction,
        "kernel_sizes": config.kernel_sizes,
        "level_channels": config.level_channels,
        "weight_groups": config.weight_groups,
        "expand_ratio": config.expand_ratio,
        "num_classes": config.num_classes,
        "unify_level": config.unify_level,
        "level_layers": 1,
        "decoder_groups": 1,
        "down_groups": 1,
        "flat_groups": 1,
        "with_out_fc": False,
        "avg_pool": True,
    }
    sentences = [f"arch says {arch.function}, trunk {arch.trunk!r}"]
    if f"hyperseg_{layout}" not in arch.function.split("."):
        sentences.append(f"the tensors are laid out as by hyperseg_{layout}, whatever arch says")
    if arch.trunk != _TRUNKS[config.backbone]:
        sentences.append(f"the tensors have the trunk {_TRUNKS[config.backbone]}, whatever arch says")
    for name, value in arch.arguments.items():
        if name in expected and not _agree(value, expected[name], levels):
            sentences.append(
                f"arch says {name}={reprlib.repr(value)}, the tensors {expected[name]!r}: the tensors count"
            )
    unknown = [name for name in arch.arguments if name not in expected and name not in _WITHOUT_EFFECT]
    if odd := [*unknown, *(name for name in arch.unread if name not in _WITHOUT_EFFECT)]:
        sentences.append(f"arch has arguments that this import does not know, and left aside: {', '.join(odd)}")
    if len(sentences) == 1:
        sentences.append("the tensors agree with arch")
    return sentences


def _agree(said: object, expected: object, levels: int) -> bool:
    """Compare; one number may stand for all levels, and the last level's channels are ignored for the classes."""
    if not isinstance(expected, tuple):
        return said == expected
    if isinstance(said, (int, float)):
        return all(value == said for value in expected)
    if not isinstance(said, (list, tuple)):
        return said is None  # the default, which is not in the call
    return tuple(said) == expected or (len(said) == levels and tuple(said[: len(expected)]) == expected)
