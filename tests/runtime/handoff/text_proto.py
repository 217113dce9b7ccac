"""A reader of protobuf's text format, as much of it as Triton's and DeepStream's configurations use."""

from __future__ import annotations

import json
import re
from typing import Any

TOKEN = re.compile(r'\s*(?:#[^\n]*\n\s*)*("(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"#]+)')


def read(text: str) -> dict[str, Any]:
    """Messages become dictionaries, repeated fields lists. Raises ValueError where the text is not in the format."""
    tokens, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"cannot read {text[position : position + 20]!r}")
        tokens.append(match[1])
        position = match.end()
    fields = _message(tokens, end=None)
    if tokens:
        raise ValueError(f"{tokens} is left over")
    return fields


def _message(tokens: list[str], end: str | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    while tokens and tokens[0] != end:
        name = tokens.pop(0)
        if not re.fullmatch(r"[a-z_]\w*", name) or name in fields:
            raise ValueError(f"{name!r} is no name of a field, or stands twice")
        if tokens[0] == ":":
            tokens.pop(0)
        elif tokens[0] not in "{[":
            raise ValueError(f"there is no value for {name}")
        fields[name] = _value(tokens)
    if end is not None:
        _take(tokens, end)
    return fields


def _value(tokens: list[str]) -> Any:
    token = tokens.pop(0)
    if token == "{":
        return _message(tokens, "}")
    if token == "[":
        values = []
        while tokens[0] != "]":
            values.append(_value(tokens))
            if tokens[0] != "]":
                _take(tokens, ",")
        _take(tokens, "]")
        return values
    if token.startswith('"'):
        return json.loads(token)
    return float(token) if "." in token else int(token) if token.lstrip("-").isdecimal() else token


def _take(tokens: list[str], expected: str) -> None:
    if not tokens or tokens.pop(0) != expected:
        raise ValueError(f"{expected} is missing")
