"""Deletes start frames and clips that nothing needs any more."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 3600.0


async def sweep_for_ever(folders: list[Path], keep_s: float) -> None:
    """Delete files older than `keep_s` seconds, every hour; no job lives that long."""
    while True:
        deleted = await asyncio.to_thread(_sweep, folders, time.time() - keep_s)
        if deleted:
            log.info("deleted %d old files", deleted)
        await asyncio.sleep(SWEEP_EVERY_S)


def _sweep(folders: list[Path], oldest: float) -> int:
    old = [
        file
        for folder in folders
        for file in folder.glob("*")
        if file.is_file() and file.stat().st_mtime < oldest
    ]
    for file in old:
        file.unlink(missing_ok=True)
    return len(old)
