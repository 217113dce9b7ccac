"""Files and folders that appear complete or not at all: write aside, then rename."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import UserError, writing


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def refuse_unwritable(folder: Path) -> None:
    """Make the folder and raise UserError if no file can be written there: before work that takes minutes."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes ``path``'s place, on any failure it is deleted.

    Raises UserError where the folder cannot be written or the disk is full.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays last: OpenCV and ffmpeg choose the format by it.
        aside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
        try:
            yield aside
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path, owned: Collection[str]) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success it takes ``path``'s place, on any failure it is deleted.

    ``owned`` are the names in an old folder that the new one replaces; whatever else lies there moves along, so that
    nothing of the user's is lost. Raises UserError where the place cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file; name a folder that is new, or one written by the same command.")
        aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        aside.mkdir()
        try:
            yield aside
            if path.exists():
                path.rename(old)
            aside.rename(path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            if old.exists() and not path.exists():
                old.rename(path)
            raise
        if old.exists():
            for kept in [entry for entry in old.iterdir() if entry.name not in owned]:
                kept.rename(path / kept.name)
            shutil.rmtree(old)
