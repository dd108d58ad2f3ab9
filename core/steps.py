"""What happens to a job in each of its states: one method a state, one step at a time.

Each step commits what it is about to do before it does it, so that a run which finds the job in
that state knows what may have happened (docs/ARCHITECTURE.md lists the crash windows).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import (
    DeliveryFailed,
    FetchError,
    FetchForbidden,
    FetchGone,
    FetchTooLarge,
    GenerationExpired,
    InternalTrouble,
    JobEnded,
    NotSubmitted,
    PollFailed,
    PostRefused,
    ResultGone,
    SubmitInDoubt,
    SubmitLost,
    Undeliverable,
)
from core.jobs import Changes, Job, StaleJob, State, blame
from core.polling import backoff_s
from core.ports import Completed, Failed, Running
from core.pricing import capture_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from decimal import Decimal
    from pathlib import Path

    from core.errors import DailiesError
    from core.ports import ClipChecker, Clock, Fetcher, Messenger, Provider, WorkStore

log = logging.getLogger(__name__)

CLIP_BYTES_MAX = 500_000_000
TRIES_MIN = 4
"""Failures in a row, in one run, before a deadline that has passed ends anything."""
GONE_MIN = 8
"""Times in a row, over a minute and a half, that a finished clip's file must be missing."""


@dataclass(frozen=True, slots=True)
class Timings:
    """How long each state may last, in seconds. Every deadline made of them is persisted.

    Attributes:
        queue_s: how long a provider that takes nothing is asked, from the order.
        doubt_s: how long a provider's history is asked after a submit in doubt.
        generation_s: from the submit; providers keep results for an hour.
        fetch_s: how long a finished clip's download is tried.
        posting_s: how long Discord is tried.
    """

    poll_s: float = 3.0
    queue_s: float = 6 * 60 * 60.0
    doubt_s: float = 120.0
    generation_s: float = 45 * 60.0
    fetch_s: float = 60 * 60.0
    posting_s: float = 60 * 60.0


@dataclass(slots=True)
class Steps:
    """Drives jobs through their states.

    Attributes:
        pause: sleeps, and is interrupted by raising when the worker stops.
        clips: folder of the fetched clips, one file a job.
    """

    store: WorkStore
    providers: Mapping[str, Provider]
    messenger: Messenger
    fetcher: Fetcher
    checker: ClipChecker
    frames: Path
    clips: Path
    clock: Clock
    pause: Callable[[float], Awaitable[None]]
    markup: Decimal
    timings: Timings

    async def take(self, job: Job, *, resumed: bool) -> Job:
        """Take one step and return the job as it stands then.

        `resumed` says that an earlier run may have done part of this state's work.

        Raises:
            StaleJob: another run has the job now.
        """
        match job.state:
            case State.QUEUED:
                return await self._submit(job)
            case State.SUBMITTING:
                return await self._reconcile(job)
            case State.GENERATING:
                return await self._generate(job)
            case State.FETCHING:
                return await self._fetch(job)
            case State.POSTING:
                return await self._post(job, resumed=resumed)
            case _:
                return await self._tell(job)

    # --- queued → submitting → generating ---

    async def _submit(self, job: Job) -> Job:
        if job.cancel_requested_at is not None:
            return await self._end(job, State.CANCELLED, captured=0)
        await self._pause_until(job.due_at)
        provider = self.providers[job.provider]
        try:
            body = await self._body(job, provider)
        except NotSubmitted as refusal:
            return await self._submit_later(job, refusal)
        except JobEnded as error:
            return await self._fail(job, error)
        return await self._submit_once(job, provider, body)

    async def _body(self, job: Job, provider: Provider) -> dict[str, object]:
        frame = job.request.start_frame
        url = await provider.upload(self.frames / frame) if frame else None
        return provider.build(job.request, url)

    async def _submit_once(self, job: Job, provider: Provider, body: dict[str, object]) -> Job:
        now = self.clock()
        give_up = now + provider.submit_limit_s + self.timings.doubt_s
        intent: Changes = {"body": body, "submitted_at": now, "deadline": give_up}
        job = await self.store.move(job, State.SUBMITTING, intent)
        try:
            return await self._order(job, provider, body)
        except SubmitInDoubt:
            return job
        except StaleJob:
            raise
        except Exception:
            # The caller knows the job only as it was before its intent: it could not go on.
            log.exception("job %s: what became of its submit was not recorded", job.id)
            return job

    async def _order(self, job: Job, provider: Provider, body: dict[str, object]) -> Job:
        """Send the one request that costs money, and record its outcome."""
        try:
            receipt = await provider.submit(job.model, body)
        except NotSubmitted as refusal:
            return await self._submit_later(job, refusal)
        except JobEnded as error:
            return await self._fail(job, error)
        return await self._accepted(job, {"provider_job_id": receipt.id, "answer": receipt.answer})

    async def _submit_later(self, job: Job, refusal: NotSubmitted) -> Job:
        if self.clock() >= job.created_at + self.timings.queue_s:
            return await self._fail(job, GenerationExpired(refusal.detail))
        attempts = job.attempts + 1
        wait_s = max(refusal.retry_after_s or 0.0, backoff_s(attempts + 1))
        changes: Changes = {
            "attempts": attempts,
            "due_at": self.clock() + wait_s,
            "submitted_at": None,
            "deadline": None,
        }
        return await self.store.move(job, State.QUEUED, changes)

    async def _accepted(self, job: Job, changes: Changes) -> Job:
        changes["deadline"] = (job.submitted_at or self.clock()) + self.timings.generation_s
        return await self.store.move(job, State.GENERATING, changes)

    async def _reconcile(self, job: Job) -> Job:
        """Find out, from the provider's own history, what became of a submit in doubt."""
        provider = self.providers[job.provider]
        submitted_at = job.submitted_at or job.created_at
        answer_until = submitted_at + provider.submit_limit_s
        await self._pause_until(answer_until)
        failures = 0
        while True:
            is_last_look = self.clock() >= (job.deadline or answer_until)
            try:
                found = await self._look_up(job, provider, submitted_at, answer_until)
                failures = 0
            except PollFailed:
                found, failures = [], failures + 1
                is_last_look = self._is_hopeless(job, failures)
            if len(found) == 1:
                return await self._accepted(job, {"provider_job_id": found[0]})
            if found or is_last_look:
                return await self._end(job, State.IN_DOUBT, captured=0, error=SubmitLost())
            await self.pause(max(self.timings.poll_s, backoff_s(failures)))

    async def _look_up(self, job: Job, provider: Provider, since: float, until: float) -> list[str]:
        """Return the records that can only be this job's; none while another job may own them."""
        ids = await provider.find(job.model, job.body or {}, since, until)
        # Asked only now, so that no rival can submit between the question and the look.
        if await self.store.has_rival(job):
            return []
        return await self.store.unclaimed(job.provider, ids)

    # --- generating → fetching ---

    async def _generate(self, job: Job) -> Job:
        failures = 0
        while True:
            is_last_poll = self.clock() >= (job.deadline or 0.0)
            try:
                outcome = await self._poll(job)
                failures = 0
            except PollFailed:
                outcome, failures = Running(), failures + 1
                is_last_poll = self._is_hopeless(job, failures)
            match outcome:
                case Completed():
                    return await self._completed(job, outcome)
                case Failed():
                    return await self._fail(job, outcome.error, {"answer": outcome.answer})
                case Running() if is_last_poll:
                    return await self._expire(job)
            await self.pause(max(self.timings.poll_s, backoff_s(failures)))

    async def _poll(self, job: Job) -> Running | Completed | Failed:
        return await self.providers[job.provider].poll(job.provider_job_id or "")

    async def _completed(self, job: Job, outcome: Completed) -> Job:
        changes: Changes = {
            "result_url": outcome.url,
            "answer": outcome.answer,
            "cost": capture_for(job.hold, outcome.billed_usd, self.markup),
            "deadline": self.clock() + self.timings.fetch_s,
        }
        return await self.store.move(job, State.FETCHING, changes)

    async def _expire(self, job: Job) -> Job:
        job = await self.store.reload(job)
        if job.cancel_requested_at is not None:
            return await self._end(job, State.CANCELLED, captured=job.hold)
        return await self._end(job, State.EXPIRED, captured=0, error=GenerationExpired())

    # --- fetching → posting ---

    async def _fetch(self, job: Job) -> Job:
        if job.cancel_requested_at is not None:
            captured = job.hold if job.cost is None else job.cost
            return await self._end(job, State.CANCELLED, captured=captured)
        try:
            await self._download(job)
            await self.checker.check(self.clip_of(job))
        except JobEnded as error:
            return await self._fail(job, error)
        now = self.clock()
        return await self.store.begin_posting(
            job, {"posting_at": now, "deadline": now + self.timings.posting_s}
        )

    async def _download(self, job: Job) -> None:
        failures = gone = 0
        while not self.clip_of(job).exists():
            try:
                await self._download_once(job)
            except (FetchForbidden, FetchTooLarge) as error:
                raise ResultGone(error.detail) from error
            except (FetchError, PollFailed) as error:
                failures += 1
                gone = gone + 1 if isinstance(error, FetchGone) else 0
                if gone >= GONE_MIN or self._is_hopeless(job, failures):
                    raise ResultGone(error.detail) from error
                await self.pause(backoff_s(failures))

    async def _download_once(self, job: Job) -> None:
        """Fetch the clip; where its address has died, ask the provider for a fresh one."""
        to = self.clip_of(job)
        to.parent.mkdir(parents=True, exist_ok=True)
        left_s = max(60.0, (job.deadline or 0.0) - self.clock())
        url = job.result_url or ""
        try:
            await self.fetcher.fetch(url, to, max_bytes=CLIP_BYTES_MAX, timeout_s=left_s)
        except FetchGone:
            outcome = await self._poll(job)
            if not isinstance(outcome, Completed) or outcome.url == url:
                raise
            await self.fetcher.fetch(outcome.url, to, max_bytes=CLIP_BYTES_MAX, timeout_s=left_s)

    def clip_of(self, job: Job) -> Path:
        """Return where a job's clip lies while it is on its way."""
        return self.clips / f"{job.id}.mp4"

    # --- posting → done ---

    async def _post(self, job: Job, *, resumed: bool) -> Job:
        failures = 0
        while True:
            is_last_look = self._is_hopeless(job, failures)
            try:
                if resumed or failures:
                    message_id = await self._post_unless_found(job, is_last_look=is_last_look)
                else:
                    message_id = await self._post_now(job)
            except JobEnded as error:
                return await self._fail(job, error)
            except DeliveryFailed as error:
                if is_last_look:
                    return await self._fail(job, PostRefused(error.detail))
                failures += 1
                await self.pause(backoff_s(failures))
            else:
                captured = job.hold if job.cost is None else job.cost
                return await self._end(
                    job, State.DONE, captured=captured, changes={"message_id": message_id}
                )

    async def _post_unless_found(self, job: Job, *, is_last_look: bool) -> int:
        """Look for an earlier try's post: the nonce forbids a second one only for minutes."""
        found = await self.messenger.find_post(job)
        if found is not None:
            return found
        if is_last_look:
            raise PostRefused("no answer in time")
        return await self._post_now(job)

    async def _post_now(self, job: Job) -> int:
        await self._download(job)
        return await self.messenger.post(job, self.clip_of(job))

    # --- the ends ---

    async def _fail(self, job: Job, error: DailiesError, changes: Changes | None = None) -> Job:
        """End without a clip; a member who had cancelled is told that, and pays nothing either."""
        job = await self.store.reload(job)
        if job.cancel_requested_at is not None:
            return await self._end(job, State.CANCELLED, captured=0, changes=changes)
        return await self._end(job, State.FAILED, captured=0, error=error, changes=changes)

    async def _end(
        self,
        job: Job,
        to: State,
        *,
        captured: int,
        error: DailiesError | None = None,
        changes: Changes | None = None,
    ) -> Job:
        recorded: Changes = {**(changes or {}), **(blame(error) if error else {})}
        return await self.store.settle(job, to, captured, self.clock(), recorded)

    async def _tell(self, job: Job) -> Job:
        """Show the end until it was shown, or until nobody can be reached any more."""
        self.clip_of(job).unlink(missing_ok=True)
        failures = 0
        while True:
            try:
                await self.messenger.tell(job)
            except Undeliverable:
                break
            except DeliveryFailed:
                failures += 1
                if self._is_hopeless(job, failures):
                    break
                await self.pause(backoff_s(failures))
            else:
                break
        return await self.store.told(job, self.clock())

    async def give_up(self, job: Job) -> Job:
        """End a job that our own faults keep from going on, and release its credits."""
        if job.state.is_end:
            return await self.store.told(job, self.clock())
        to = State.IN_DOUBT if job.state is State.SUBMITTING else State.FAILED
        return await self._end(job, to, captured=0, error=InternalTrouble(job.id))

    def is_overdue(self, job: Job) -> bool:
        """Whether the job's present state should have been over by now."""
        since = job.ended_at or job.created_at
        return self.clock() >= (job.deadline or since + self.timings.posting_s)

    def _is_hopeless(self, job: Job, failures: int) -> bool:
        """Beyond the deadline, and this run has tried often enough to know (the clock may jump)."""
        return failures >= TRIES_MIN and self.is_overdue(job)

    async def _pause_until(self, moment: float) -> None:
        wait_s = moment - self.clock()
        if wait_s > 0:
            await self.pause(wait_s)
