"""The parts of a camera's address, ``kind://place?option=value&option=value``."""

from __future__ import annotations

import argparse
from collections.abc import Collection

from runtime.arguments import image_size, positive_int
from runtime.errors import UserError


def place_and_options(text: str, known: Collection[str], example: str) -> tuple[str, dict[str, str]]:
    """Split an address into what stands before the question mark, without the kind, and its options.

    Raises UserError for an option that is not ``known``, is given twice or has no value, with ``example`` to go by.
    """
    _, _, rest = text.partition("://")
    place, _, query = rest.partition("?")
    options: dict[str, str] = {}
    for pair in query.split("&") if query else []:
        name, equals, value = pair.partition("=")
        if name not in known or not equals or not value or name in options:
            raise UserError(
                f"{pair!r} in {text} is no option of this camera, or stands there twice. "
                f"There are: {', '.join(known)}. Write for instance '{example}'."
            )
        options[name] = value
    return place, options


def size_of(options: dict[str, str]) -> tuple[int, int] | None:
    """The option ``size``, HEIGHTxWIDTH. Raises UserError."""
    if "size" not in options:
        return None
    try:
        return image_size(options["size"])
    except argparse.ArgumentTypeError as error:
        raise UserError(f"the camera's size: {error}.") from error


def fps_of(options: dict[str, str]) -> int | None:
    """The option ``fps``, a whole number. Raises UserError."""
    if "fps" not in options:
        return None
    try:
        return positive_int(options["fps"])
    except argparse.ArgumentTypeError as error:
        raise UserError(f"the camera's fps: {error}.") from error
