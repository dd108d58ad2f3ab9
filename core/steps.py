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
    GenerationExpired,
    InternalTrouble,
    JobEnded,
    NoOrdersTaken,
    NotSubmitted,
    PollFailed,
    PostRefused,
    SubmitInDoubt,
    SubmitLost,
    Undeliverable,
)
from core.jobs import Changes, Job, StaleJob, State, blame
from core.patience import GRACE_S, Patience, backoff_s
from core.ports import Completed, Failed, Receipt, Running
from core.pricing import capture_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from decimal import Decimal
    from pathlib import Path

    from core.clips import Clips
    from core.errors import DailiesError
    from core.ports import Clock, Messenger, Provider, WorkStore

log = logging.getLogger(__name__)

PAUSE_S_MAX = 15 * 60.0
MUTE_S = 24 * 60 * 60.0
"""Beyond the deadline: so long it is tried to find out whether a clip was posted."""

SubmitOutcome = Receipt | NotSubmitted | JobEnded | SubmitInDoubt


@dataclass(frozen=True, slots=True)
class Timings:
    """How long each state may last, in seconds. Every deadline made of them is persisted.

    Attributes:
        queue_s: how old an order may be when it is sent.
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
        frames: folder of the start frames.
    """

    store: WorkStore
    providers: Mapping[str, Provider]
    messenger: Messenger
    clips: Clips
    frames: Path
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
        if self.clock() >= job.created_at + self.timings.queue_s:
            return await self._fail(job, NoOrdersTaken())
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
        give_up_at = now + provider.submit_limit_s + self.timings.doubt_s
        intent: Changes = {"body": body, "submitted_at": now, "deadline": give_up_at}
        job = await self.store.move(job, State.SUBMITTING, intent)
        outcome = await _outcome_of_submit(provider, job.model, body)
        return await self._record(job, outcome)

    async def _record(self, job: Job, outcome: SubmitOutcome) -> Job:
        """Write down what a submit came to, as often as it takes; if in vain, it is in doubt."""
        grace_s = GRACE_S if isinstance(outcome, Receipt) else 0.0
        patience = Patience(self.clock, job.deadline or 0.0, grace_s)
        while not patience.is_over:
            try:
                return await self._record_once(job, outcome)
            except StaleJob:
                raise
            except Exception:
                log.exception("job %s: what became of its submit is not recorded yet", job.id)
                patience.fail()
                await self.pause(patience.wait_s)
        return job

    async def _record_once(self, job: Job, outcome: SubmitOutcome) -> Job:
        match outcome:
            case Receipt(id=provider_job_id, answer=answer):
                accepted: Changes = {"provider_job_id": provider_job_id, "answer": answer}
                return await self._accepted(job, accepted)
            case NotSubmitted():
                return await self._submit_later(job, outcome)
            case JobEnded():
                return await self._fail(job, outcome)
            case SubmitInDoubt():
                return job

    async def _submit_later(self, job: Job, refusal: NotSubmitted) -> Job:
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
        patience = self._patience(job)
        while True:
            is_late = patience.is_late
            try:
                found = await self._look_up(job, provider, submitted_at, answer_until)
                patience.answered()
            except PollFailed:
                found = []
                patience.fail()
            if len(found) == 1:
                return await self._accepted(job, {"provider_job_id": found[0]})
            if found or patience.is_over or (is_late and not patience.failures):
                return await self._end(job, State.IN_DOUBT, captured=0, error=SubmitLost())
            await self.pause(max(self.timings.poll_s, patience.wait_s))

    async def _look_up(self, job: Job, provider: Provider, since: float, until: float) -> list[str]:
        """Return the records that can only be this job's; none while another job may own them."""
        ids = await provider.find(job.model, job.body or {}, since, until)
        # Asked only now, so that no rival can submit between the question and the look.
        if await self.store.has_rival(job):
            return []
        return await self.store.unclaimed(job.provider, ids)

    # --- generating → fetching ---

    async def _generate(self, job: Job) -> Job:
        patience = self._patience(job)
        while True:
            is_late = patience.is_late
            try:
                outcome = await self._poll(job)
                patience.answered()
            except PollFailed:
                outcome = Running()
                patience.fail()
            match outcome:
                case Completed():
                    return await self._completed(job, outcome)
                case Failed():
                    return await self._fail(job, outcome.error, {"answer": outcome.answer})
                case Running() if patience.is_over or (is_late and not patience.failures):
                    return await self._expire(job)
            await self.pause(max(self.timings.poll_s, patience.wait_s))

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
            return await self._end(job, State.CANCELLED, captured=job.bill)
        try:
            await self._clip(job)
        except JobEnded as error:
            return await self._fail(job, error)
        now = self.clock()
        return await self.store.begin_posting(
            job, {"posting_at": now, "deadline": now + self.timings.posting_s}
        )

    async def _clip(self, job: Job) -> Path:
        async def new_url() -> str | None:
            outcome = await self._poll(job)
            return outcome.url if isinstance(outcome, Completed) else None

        return await self.clips.obtain(job, new_url)

    # --- posting → done ---

    async def _post(self, job: Job, *, resumed: bool) -> Job:
        patience = self._patience(job)
        while True:
            try:
                if resumed or patience.failures:
                    message_id = await self._post_unless_found(job, is_last_look=patience.is_over)
                else:
                    message_id = await self._post_now(job)
            except JobEnded as error:
                return await self._fail(job, error)
            except DeliveryFailed as error:
                if self._is_mute(job):
                    return await self._fail(job, PostRefused(error.detail))
                patience.fail()
                await self.pause(patience.wait_s)
            else:
                return await self._posted(job, message_id)

    async def _post_unless_found(self, job: Job, *, is_last_look: bool) -> int:
        """Look for an earlier try's post: the nonce forbids a second one only for minutes."""
        found = await self.messenger.find_post(job)
        if found is not None:
            return found
        if is_last_look:
            raise PostRefused("no answer in time")
        return await self._post_now(job)

    async def _post_now(self, job: Job) -> int:
        return await self.messenger.post(job, await self._clip(job))

    async def _posted(self, job: Job, message_id: int) -> Job:
        changes: Changes = {"message_id": message_id}
        return await self._end(job, State.DONE, captured=job.bill, changes=changes)

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
        self.clips.drop(job)
        until = (job.ended_at or job.created_at) + self.timings.posting_s
        patience = Patience(self.clock, until, GRACE_S)
        while not patience.is_over:
            try:
                await self.messenger.tell(job)
            except Undeliverable:
                break
            except DeliveryFailed:
                patience.fail()
                await self.pause(patience.wait_s)
            else:
                break
        return await self.store.told(job, self.clock())

    async def give_up(self, job: Job) -> Job:
        """End a job that our own faults keep from going on, and release its credits.

        What may stand in the channel already is looked for first.
        """
        if job.state.is_end:
            return await self.store.told(job, self.clock())
        if job.state is State.POSTING and (found := await self._find_at_last(job)):
            return await self._posted(job, found)
        to = State.IN_DOUBT if job.state is State.SUBMITTING else State.FAILED
        return await self._end(job, to, captured=0, error=InternalTrouble(job.id))

    async def _find_at_last(self, job: Job) -> int | None:
        try:
            return await self.messenger.find_post(job)
        except DeliveryFailed:
            if not self._is_mute(job):
                raise
            return None
        except Exception:
            log.exception("job %s: its post cannot even be looked for", job.id)
            return None

    def _is_mute(self, job: Job) -> bool:
        """Whether Discord has said nothing for so long that the credits must not wait for it."""
        return self.clock() >= (job.deadline or 0.0) + MUTE_S

    def is_overdue(self, job: Job) -> bool:
        """Whether the job's present state should have been over by now."""
        since = job.ended_at or job.created_at
        return self.clock() >= (job.deadline or since + self.timings.posting_s)

    def _patience(self, job: Job) -> Patience:
        return Patience(self.clock, job.deadline or 0.0, GRACE_S)

    async def _pause_until(self, moment: float) -> None:
        """Wait, but never longer than any wait of ours: an older clock may have set the moment."""
        wait_s = min(moment - self.clock(), PAUSE_S_MAX)
        if wait_s > 0:
            await self.pause(wait_s)


async def _outcome_of_submit(
    provider: Provider, model: str, body: dict[str, object]
) -> SubmitOutcome:
    """Send the one request that costs money; what nobody foresaw leaves it in doubt."""
    try:
        return await provider.submit(model, body)
    except (NotSubmitted, JobEnded, SubmitInDoubt) as outcome:
        return outcome
    except Exception as error:
        log.exception("a submit ended in a way that nobody foresaw")
        return SubmitInDoubt(type(error).__name__)
