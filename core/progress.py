"""Keeps placeholders up to date without ever holding a job up."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.jobs import Job
    from core.ports import Messenger

log = logging.getLogger(__name__)


class Progress:
    """Shows each job's latest state; a state overtaken while Discord is slow is skipped."""

    def __init__(self, messenger: Messenger) -> None:
        self._messenger = messenger
        self._latest: dict[str, Job] = {}
        self._showing: dict[str, asyncio.Task[None]] = {}

    def show(self, job: Job) -> None:
        """Have the job's placeholder brought up to date soon."""
        self._latest[job.id] = job
        if job.id not in self._showing:
            task = asyncio.create_task(self._show(job.id), name=f"placeholder {job.id}")
            self._showing[job.id] = task

    async def finish(self, job: Job) -> None:
        """Drop what is not shown yet and wait out what is under way: the end comes last."""
        self._latest.pop(job.id, None)
        task = self._showing.get(job.id)
        if task is not None:
            await asyncio.wait([task])

    async def _show(self, job_id: str) -> None:
        try:
            while job := self._latest.pop(job_id, None):
                await self._show_once(job)
        finally:
            del self._showing[job_id]

    async def _show_once(self, job: Job) -> None:
        try:
            await self._messenger.show(job)
        except Exception:
            log.exception("job %s: its placeholder could not be brought up to date", job.id)
