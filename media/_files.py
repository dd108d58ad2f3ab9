"""Files appear whole under their name, or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def part_beside(to: Path) -> Iterator[Path]:
    """Give a unique name in the same folder to write to; what is left there goes at the end."""
    part = to.with_name(f"{to.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def publish(part: Path, to: Path) -> None:
    """Move a finished part to its name, so that it is whole there even after a power cut."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(to)
    if os.name == "posix":  # Windows cannot open a folder.
        _sync_folder(to.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
