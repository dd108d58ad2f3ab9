"""Deletes start frames and clips that nothing needs any more."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 3600.0


def clear_leftovers(temporary: Path, folders: list[Path]) -> None:
    """Delete what a killed process was in the middle of; only one process may use the folders."""
    for folder in temporary.glob("*"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in folders:
        for part in folder.glob("*.part"):
            part.unlink(missing_ok=True)


async def sweep_for_ever(folders: list[Path], keep_s: float) -> None:
    """Delete files older than `keep_s` seconds, every hour; no job lives that long."""
    while True:
        deleted = await asyncio.to_thread(_sweep, folders, time.time() - keep_s)
        if deleted:
            log.info("deleted %d old files", deleted)
        await asyncio.sleep(SWEEP_EVERY_S)


def _sweep(folders: list[Path], oldest: float) -> int:
    files = [file for folder in folders for file in folder.glob("*")]
    return sum(_delete_if_old(file, oldest) for file in files)


def _delete_if_old(file: Path, oldest: float) -> bool:
    """Tell whether it was deleted; a file that is in use or gone already is left to next time."""
    try:
        if not file.is_file() or file.stat().st_mtime >= oldest:
            return False
        file.unlink()
    except OSError:
        return False
    return True
