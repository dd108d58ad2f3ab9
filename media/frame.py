"""Start frames: a member's picture becomes a plain, upright JPEG without metadata."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from core.errors import BadImage
from media import child
from media._files import part_beside, publish

log = logging.getLogger(__name__)

SOURCE_BYTES_MAX = 20_000_000
"""The largest picture that is looked at."""

CHILD = Path(__file__).with_name("_frame_child.py")
REFUSED = 3
LIMITS = child.Limits(wall_s=15, cpu_s=10, memory_bytes=1 << 30, file_bytes=SOURCE_BYTES_MAX)
BROKEN = "the file is broken or cut short"
DETAIL_MAX = 200


@dataclass(frozen=True, slots=True)
class Frame:
    """A start frame as a provider gets it: a JPEG of `width` x `height` pixels."""

    path: Path
    width: int
    height: int


class FrameMaker:
    """Makes start frames in child processes and keeps them in `folder`, named by their content."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder.resolve()
        # More at once would only be slower, and each may take a gigabyte.
        self._slots = asyncio.Semaphore(os.cpu_count() or 1)

    async def measure(self, source: Path) -> tuple[int, int]:
        """Tell a picture's upright width and height, in pixels, from its header.

        Raises:
            BadImage: it cannot be a start frame.
        """
        return await self._run(source)

    async def make(self, source: Path, ratio: tuple[int, int]) -> Frame:
        """Turn a picture into a start frame, cropped about its centre to `ratio` (across, down).

        The frame's longest side has 1,920 pixels at most.

        Raises:
            BadImage: it cannot be a start frame.
        """
        across, down = ratio
        with part_beside(self._folder / "frame") as part:
            width, height = await self._run(source, str(part), f"{across}:{down}")
            path = await asyncio.to_thread(_store, part)
        return Frame(path, width, height)

    async def _run(self, source: Path, *arguments: str) -> tuple[int, int]:
        path = await asyncio.to_thread(_check_size, source)
        # -P: the script's folder holds our modules, not its own.
        argv = [sys.executable, "-P", str(CHILD), str(path), *arguments]
        try:
            async with self._slots:
                finished = await child.run(argv, LIMITS, cwd=self._folder)
        except child.ChildTimeout:
            raise BadImage("it took too long to read") from None
        except child.ChildKilled as error:
            log.warning("the picture's child was killed %s", error)
            raise BadImage(BROKEN) from None
        return _read_answer(finished)


def _check_size(source: Path) -> Path:
    size = source.stat().st_size
    if size == 0:
        raise BadImage("the file is empty")
    if size > SOURCE_BYTES_MAX:
        raise BadImage(f"it is larger than {SOURCE_BYTES_MAX // 10**6} MB")
    return source.resolve()


def _read_answer(finished: child.Finished) -> tuple[int, int]:
    answer = finished.stdout.decode("ascii", "replace")
    if finished.returncode == REFUSED:
        raise BadImage(answer[:DETAIL_MAX])
    if finished.returncode != 0:
        log.info("the picture's child failed: %r", finished.stderr[-DETAIL_MAX:])
        raise BadImage(BROKEN)
    width, height = map(int, answer.split())
    return width, height


def _store(part: Path) -> Path:
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    path = part.with_name(f"{digest}.jpg")
    publish(part, path)
    return path
