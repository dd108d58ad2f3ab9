"""The background worker: claims jobs and drives each one, in a task of its own, to its end."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.jobs import StaleJob, State
from core.patience import backoff_s

if TYPE_CHECKING:
    from core.jobs import Job
    from core.ports import Clock, WorkStore
    from core.progress import Progress
    from core.steps import Steps

log = logging.getLogger(__name__)

TICK_S = 1.5
ALIVE_S = 15.0
SHUTDOWN_S = 8.0
TROUBLES_MAX = 8


class Stopping(Exception):
    """The worker stops: jobs go on from their recorded state in the next run."""


class Alarm:
    """Lets the worker sleep until there is something to do or it has to stop."""

    def __init__(self) -> None:
        self._nudged = asyncio.Event()
        self._stopped = asyncio.Event()

    def nudge(self) -> None:
        """Wake the claim loop."""
        self._nudged.set()

    def stop(self) -> None:
        """End every sleep, now and from now on."""
        self._stopped.set()
        self._nudged.set()

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    async def pause(self, seconds: float) -> None:
        """Sleep.

        Raises:
            Stopping: the worker stops.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return
        raise Stopping

    async def wait_for_work(self, seconds: float) -> None:
        """Return when nudged, and after `seconds` at the latest."""
        try:
            async with asyncio.timeout(seconds):
                await self._nudged.wait()
        except TimeoutError:
            return
        finally:
            self._nudged.clear()


@dataclass(slots=True)
class Worker:
    """Runs until its alarm is stopped.

    Attributes:
        jobs_max: how many jobs it drives at the same time; the others stay queued.
    """

    store: WorkStore
    steps: Steps
    progress: Progress
    alarm: Alarm
    clock: Clock
    jobs_max: int
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    _claimed_at: float = 0.0
    _driving: dict[asyncio.Task[None], str] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        """Whether the worker has lately been able to look for jobs."""
        return time.monotonic() - self._claimed_at < ALIVE_S

    async def run(self) -> None:
        """Claim and drive jobs; return when stopped, with side effects in progress ended."""
        while not self.alarm.is_stopped:
            try:
                await self._claim()
                self._claimed_at = time.monotonic()
            except Exception:
                log.exception("claiming failed; the next tick tries again")
            await self.alarm.wait_for_work(TICK_S)
        await self._finish()

    async def _claim(self) -> None:
        free_slots = self.jobs_max - len(self._driving)
        if free_slots <= 0:
            return
        driving = set(self._driving.values())
        for job in await self.store.claim(self.name, free_slots, self.clock(), driving):
            task = asyncio.create_task(self._drive(job), name=f"job {job.id}")
            self._driving[task] = job.id
            task.add_done_callback(self._undriven)

    def _undriven(self, task: asyncio.Task[None]) -> None:
        self._driving.pop(task, None)
        self.alarm.nudge()

    async def _drive(self, job: Job) -> None:
        """Take step after step; what goes wrong is tried again from the recorded state."""
        log.info("driving job %s from %s", job.id, job.state)
        resumed, troubles = True, 0
        try:
            while not job.is_settled:
                try:
                    job = await self._step(job, resumed=resumed, troubles=troubles)
                    if self._is_for_later(job):
                        break
                    resumed, troubles = False, 0
                except (Stopping, StaleJob):
                    raise
                except Exception:
                    resumed, troubles = True, troubles + 1
                    log.exception("job %s: trouble %d while %s", job.id, troubles, job.state)
                    await self.alarm.pause(backoff_s(troubles))
            log.info("job %s: %s", job.id, "settled" if job.is_settled else "later")
        except StaleJob:
            log.info("job %s was moved on by somebody else", job.id)
        except Stopping:
            log.info("job %s rests in %s until the next start", job.id, job.state)

    def _is_for_later(self, job: Job) -> bool:
        """Whether to let go of a job, so that it takes nobody's place until it is due."""
        is_waiting = job.state is State.QUEUED and job.due_at > self.clock()
        return is_waiting and job.cancel_requested_at is None

    async def _step(self, job: Job, *, resumed: bool, troubles: int) -> Job:
        if self.alarm.is_stopped and not job.state.is_end:
            raise Stopping
        if troubles:
            job = await self.store.reload(job)
        if job.state.is_end:
            await self.progress.finish(job)
        else:
            self.progress.show(job)
        try:
            return await self.steps.take(job, resumed=resumed)
        except (Stopping, StaleJob):
            raise
        except Exception:
            if troubles < TROUBLES_MAX or not self.steps.is_overdue(job):
                raise
            log.exception("job %s: given up", job.id)
            return await self.steps.give_up(job)

    async def _finish(self) -> None:
        """Let side effects in progress end, for a while."""
        if not self._driving:
            return
        _, late = await asyncio.wait(self._driving, timeout=SHUTDOWN_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
