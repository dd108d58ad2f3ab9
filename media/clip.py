"""Clips: is what a provider delivered a whole, playable MP4?"""

import asyncio
import logging
import os
import re
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe  # type: ignore[import-untyped]  # it has no hints

from core.errors import BadClip
from media import child
from media.boxes import ClipFacts, read_facts

__all__ = ["ClipChecker", "ClipFacts"]

_log = logging.getLogger(__name__)

# A minute of 1080p takes some 30 s of CPU; a busy machine must not make a paid clip a bad one.
_LIMITS = child.Limits(wall_s=180, cpu_s=90, memory_bytes=1 << 30, file_bytes=1)
# fmt: off
_INPUT_FLAGS = (
    "-nostdin", "-v", "error", "-xerror", "-max_alloc", "400000000", "-protocol_whitelist", "file",
    "-enable_drefs", "0", "-use_absolute_path", "0", "-max_pixels", "9000000", "-noautorotate",
    "-f", "mov", "-threads", "1",
)
# fmt: on
# Decode everything; print each frame's checksum after a header with the frames' real size.
_OUTPUT_FLAGS = ("-map", "0:v:0", "-map", "0:a:0?", "-f", "framecrc", "pipe:1")
_DIMENSIONS = re.compile(rb"^#dimensions 0: (\d+)x(\d+)$", re.MULTILINE)
_LOG_CAP = 300


class ClipChecker:
    """Checks clips: a walk over the boxes here, then a full decode in a limited child."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(os.cpu_count() or 1)

    async def check(self, clip: Path) -> ClipFacts:
        """Check a downloaded clip from its first box to its last frame.

        Raises:
            BadClip: it is not a whole MP4 with one H.264 video of sane size and length.
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
        argv = [ffmpeg, *_INPUT_FLAGS, "-i", f"file:{path}", *_OUTPUT_FLAGS]
        try:
            async with self._slots:
                return await child.run(argv, _LIMITS, cwd=path.parent)
        except child.ChildTimeout:
            raise BadClip("it took too long to check") from None
        except child.ChildKilled as error:
            _log.warning("ffmpeg was killed %s", error)
            raise BadClip("it does not decode") from None


def _dimensions(finished: child.Finished) -> tuple[int, int]:
    found = _DIMENSIONS.search(finished.stdout)
    if finished.returncode != 0 or not found:
        _log.info("ffmpeg refused a clip: %r", finished.stderr[-_LOG_CAP:])
        raise BadClip("it does not decode to its end")
    return int(found[1]), int(found[2])
