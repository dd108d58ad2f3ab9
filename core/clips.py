"""The clips on their way from a provider to Discord: fetched, checked, kept as files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import (
    BadClip,
    ClipUnchecked,
    FetchError,
    FetchForbidden,
    FetchGone,
    FetchTooLarge,
    PollFailed,
    ResultGone,
)
from core.patience import GRACE_S, Patience

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from core.jobs import Job
    from core.ports import ClipChecker, Clock, Fetcher

CLIP_BYTES_MAX = 500_000_000
FETCH_S_MIN = 60.0
GONE_S = 600.0
"""So long a finished clip's file must be missing: file servers lag behind."""
BAD_CLIPS_MAX = 3
BAD_CLIP_WAIT_POLLS = 5


@dataclass(slots=True)
class Clips:
    """Brings clips to disk. A file under its final name is whole and checked.

    Attributes:
        pause: sleeps, and is interrupted by raising when the worker stops.
        poll_s: seconds between two looks at a provider.
    """

    folder: Path
    fetcher: Fetcher
    checker: ClipChecker
    clock: Clock
    pause: Callable[[float], Awaitable[None]]
    poll_s: float

    def path_of(self, job: Job) -> Path:
        """Return where a job's clip lies."""
        return self.folder / f"{job.id}.mp4"

    def drop(self, job: Job) -> None:
        """Delete a job's clip, if there is one."""
        self.path_of(job).unlink(missing_ok=True)
        self._unchecked(job).unlink(missing_ok=True)

    async def obtain(self, job: Job, new_url: Callable[[], Awaitable[str | None]]) -> Path:
        """Return the job's clip, fetching it if it is not there.

        `new_url` asks the provider for the clip's present address: None while it has none.

        Raises:
            ResultGone: the file cannot be had.
            BadClip: what is served is, time and again, no playable video.
        """
        patience = Patience(self.clock, job.deadline or 0.0, GRACE_S)
        gone_since, bad_clips = None, 0
        while not self.path_of(job).exists():
            try:
                await self._fetch(job, new_url)
                await self._check(job)
            except (FetchForbidden, FetchTooLarge) as error:
                raise ResultGone(error.detail) from error
            except BadClip:
                bad_clips += 1
                if bad_clips == BAD_CLIPS_MAX:
                    raise
                await self.pause(self.poll_s * BAD_CLIP_WAIT_POLLS)
            except (FetchError, PollFailed, ClipUnchecked) as error:
                patience.fail()
                is_gone = isinstance(error, FetchGone)
                gone_since = (gone_since or self.clock()) if is_gone else None
                if patience.is_over or (gone_since and self.clock() - gone_since >= GONE_S):
                    raise ResultGone(error.detail) from error
                await self.pause(patience.wait_s)
        return self.path_of(job)

    async def _fetch(self, job: Job, new_url: Callable[[], Awaitable[str | None]]) -> None:
        """Fetch the clip; where its address has died, ask the provider for a fresh one."""
        if self._unchecked(job).exists():
            return
        url = job.result_url or ""
        try:
            await self._fetch_from(url, job)
        except FetchGone:
            fresh = await new_url()
            if fresh is None or fresh == url:
                raise
            await self._fetch_from(fresh, job)

    async def _fetch_from(self, url: str, job: Job) -> None:
        to = self._unchecked(job)
        to.parent.mkdir(parents=True, exist_ok=True)
        left_s = max(FETCH_S_MIN, (job.deadline or 0.0) - self.clock())
        await self.fetcher.fetch(url, to, max_bytes=CLIP_BYTES_MAX, timeout_s=left_s)

    async def _check(self, job: Job) -> None:
        try:
            await self.checker.check(self._unchecked(job))
        except BadClip:
            self._unchecked(job).unlink(missing_ok=True)
            raise
        self._unchecked(job).replace(self.path_of(job))

    def _unchecked(self, job: Job) -> Path:
        return self.folder / f"{job.id}.unchecked.mp4"
