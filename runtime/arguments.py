"""Argument types that the command lines share."""

from __future__ import annotations

import argparse
import re


def image_size(text: str) -> tuple[int, int]:
    """Read HxW, e.g. 512x1024, as (height, width)."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write HEIGHTxWIDTH, e.g. 512x1024")
    return int(match[1]), int(match[2])


def positive_int(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)
