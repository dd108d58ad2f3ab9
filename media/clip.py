"""Clips: is what a provider delivered a whole, playable MP4?"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from typing import TYPE_CHECKING

from imageio_ffmpeg import get_ffmpeg_exe  # type: ignore[import-untyped]  # it has no hints

from core.errors import BadClip, ClipUnchecked
from media import child
from media.boxes import ClipFacts, read_facts

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

# A minute of 1080p takes some 30 s of CPU.
LIMITS = child.Limits(wall_s=180, cpu_s=90, memory_bytes=1 << 30, file_bytes=1)
# fmt: off
INPUT_FLAGS = (
    "-nostdin", "-v", "error", "-xerror", "-max_alloc", "400000000", "-protocol_whitelist", "file",
    "-enable_drefs", "0", "-use_absolute_path", "0", "-max_pixels", "9000000", "-noautorotate",
    "-f", "mov", "-threads", "1",
)
# fmt: on
# Decode everything; print each frame's checksum after a header with the frames' real size.
OUTPUT_FLAGS = ("-map", "0:v:0", "-map", "0:a:0?", "-f", "framecrc", "pipe:1")
# How ffmpeg ends after SIGTERM, which a stopping service sends to all of its processes, or SIGXCPU.
STOPPED = 255
DIMENSIONS = re.compile(rb"^#dimensions 0: (\d+)x(\d+)$", re.MULTILINE)
LOG_BYTES_MAX = 300


class ClipChecker:
    """Checks clips: a walk over the boxes here, then a full decode in a limited child."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(os.cpu_count() or 1)

    async def check(self, clip: Path) -> ClipFacts:
        """Check a downloaded clip from its first box to its last frame.

        Raises:
            BadClip: it is not a whole MP4 with one H.264 video of sane size and length.
            ClipUnchecked: ffmpeg was stopped before its verdict, by a signal or by the time. What
                its CPU limit stopped is among these, for it looks like any other signal.
        """
        facts = await asyncio.to_thread(read_facts, clip)
        size = _dimensions(await self._decode(clip))
        if size != (facts.width, facts.height):
            raise BadClip(f"its index says {facts.width} x {facts.height}, its frames do not")
        return facts

    async def _decode(self, clip: Path) -> child.Finished:
        # The first call runs a command to try ffmpeg out; the library remembers the answer.
        ffmpeg = await asyncio.to_thread(get_ffmpeg_exe)
        path = await asyncio.to_thread(clip.resolve)
        argv = [ffmpeg, *INPUT_FLAGS, "-i", f"file:{path}", *OUTPUT_FLAGS]
        try:
            async with self._slots:
                finished = await child.run(argv, LIMITS, cwd=path.parent)
        except (child.ChildTimeout, child.ChildKilled) as error:
            raise ClipUnchecked(f"ffmpeg was stopped: {error}") from None
        if finished.returncode == STOPPED:
            raise ClipUnchecked("ffmpeg was told to stop")
        return finished


def _dimensions(finished: child.Finished) -> tuple[int, int]:
    found = DIMENSIONS.search(finished.stdout)
    if finished.returncode != 0 or not found:
        log.info("ffmpeg refused a clip: %r", finished.stderr[-LOG_BYTES_MAX:])
        raise BadClip("it does not decode to its end")
    return int(found[1]), int(found[2])
