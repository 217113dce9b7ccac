"""Does a test double promise only what the real module keeps? Names and signatures, compared one by one."""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType


def broken_promises(double: ModuleType, real: dict[str, str]) -> list[str]:
    """What the double has and the real module has not, or takes otherwise; empty if all is as promised.

    ``real`` is what ``RealBindings.names`` returns. What starts with an underscore is the double's own business, and so
    is an ``__init__`` with such a parameter. A function promises that it can be called with its parameters, by position
    and by name; everything else promises to be there.
    """
    return [broken for name, promised in _promises("", vars(double)) for broken in _compare(name, promised, real)]


def _promises(prefix: str, members: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, promised in members.items():
        is_ours = isinstance(promised, FunctionType) and any(p.startswith("_") for p in _parameters(promised))
        if is_ours or (name.startswith("_") and name != "__init__"):
            continue
        yield prefix + name, promised
        if isinstance(promised, type):
            inside = promised.__members__ if issubclass(promised, enum.Enum) else vars(promised)
            yield from _promises(f"{prefix}{name}.", inside)


def _compare(name: str, promised: object, real: dict[str, str]) -> list[str]:
    if name not in real:
        return [f"{name}: not there"]
    if not isinstance(promised, FunctionType):
        return []
    signatures = signatures_of(real[name])
    if any(_serves(promised, signature) for signature in signatures):
        return []
    return [f"{name}{inspect.signature(promised)}: the real one takes {signatures}"]


def _serves(promised: FunctionType, signature: list[tuple[str, bool]]) -> bool:
    """Whether calls that fit the double's parameters fit the real signature: (name, has a default) in order."""
    ours = [(name, parameter.default is not parameter.empty) for name, parameter in _parameters(promised).items()]
    if [name for name, _ in ours] != [name for name, _ in signature][: len(ours)]:
        return False
    optional = [has_default for _, has_default in signature]
    return all(optional[len(ours) :]) and all(
        theirs or not mine for (_, mine), theirs in zip(ours, optional, strict=False)
    )


def _parameters(function: FunctionType) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


def signatures_of(docstring: str) -> list[list[tuple[str, bool]]]:
    """The signatures in a pybind11 docstring, one per overload: (name, has a default) of each parameter."""
    signatures = []
    for line in docstring.splitlines():
        match = re.match(r"\s*(?:\d+\. )?\w+\((.*)\) ->", line)
        if match is not None:
            signatures.append([_parameter(text) for text in _split(match[1])])
    return signatures


def _parameter(text: str) -> tuple[str, bool]:
    return text.partition(":")[0].partition("=")[0].strip(), "=" in text


def _split(parameters: str) -> list[str]:
    """Split at the commas that stand in no brackets."""
    parts, depth = [""], 0
    for character in parameters:
        depth += (character in "([<{") - (character in ")]>}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]
