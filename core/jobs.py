"""The job and its state machine.

    held → queued → submitting → generating → fetching → posting → done

and the other ends. A timeout is not a verdict: only `submitting` may go back (to `queued`, and
only when the submit certainly made nothing).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from core.errors import DailiesError
    from core.video import VideoRequest


class State(StrEnum):
    """Where a job stands. Stored by its value."""

    HELD = "held"
    QUEUED = "queued"
    SUBMITTING = "submitting"
    GENERATING = "generating"
    FETCHING = "fetching"
    POSTING = "posting"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    IN_DOUBT = "in_doubt"

    @property
    def is_end(self) -> bool:
        """Whether nothing leads away from here."""
        return self not in ARROWS


ARROWS: dict[State, frozenset[State]] = {
    State.HELD: frozenset({State.QUEUED, State.REJECTED, State.CANCELLED, State.EXPIRED}),
    # From queued to queued: later.
    State.QUEUED: frozenset({State.QUEUED, State.SUBMITTING, State.CANCELLED, State.FAILED}),
    State.SUBMITTING: frozenset(
        {State.GENERATING, State.QUEUED, State.FAILED, State.IN_DOUBT, State.CANCELLED}
    ),
    State.GENERATING: frozenset({State.FETCHING, State.FAILED, State.EXPIRED, State.CANCELLED}),
    State.FETCHING: frozenset({State.POSTING, State.FAILED, State.CANCELLED}),
    State.POSTING: frozenset({State.DONE, State.FAILED}),
}

CANCELLABLE_AT_ONCE = frozenset({State.HELD, State.QUEUED})
CANCELLABLE_AT_A_PRICE = frozenset({State.SUBMITTING, State.GENERATING, State.FETCHING})


class StaleJob(Exception):
    """Another run, or a cancellation, has moved the job on: this run must stop touching it."""


@dataclass(frozen=True, slots=True)
class Job:
    """One row of `jobs`, as it was when it was read. Times are Unix seconds.

    Attributes:
        id: 16 hexadecimal digits; also the nonce of the clip's message.
        hold: credits taken from the guild's account until the job ends.
        fence: counts claims and arrows; an arrow with an old fence is refused.
        due_at: not before then does anything happen to the job.
        deadline: when the present state is given up (after one more look).
        body: exactly what is or was sent to the provider.
        submitted_at: when the submit's intent was committed, before it left.
        provider_job_id: the provider's id, from its answer or from its history.
        answer: the provider's last raw answer.
        captured: credits that the guild paid in the end.
        error: class name in `core.errors` of what ended the job.
        told_at: when the placeholder showed the end; until then the job is not finished with.
    """

    id: str
    interaction_id: int
    guild_id: int
    channel_id: int
    member_id: int
    placeholder_id: int | None
    request: VideoRequest
    provider: str
    model: str
    state: State
    hold: int
    fence: int
    worker: str | None
    created_at: float
    due_at: float
    deadline: float | None = None
    attempts: int = 0
    body: dict[str, Any] | None = None
    submitted_at: float | None = None
    provider_job_id: str | None = None
    answer: dict[str, Any] | None = None
    result_url: str | None = None
    cost: int | None = None
    cancel_requested_at: float | None = None
    posting_at: float | None = None
    message_id: int | None = None
    captured: int | None = None
    error: str | None = None
    error_detail: str = ""
    ended_at: float | None = None
    told_at: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the job has ended and everybody knows."""
        return self.told_at is not None

    @property
    def bill(self) -> int:
        """The credits that a made clip costs: the whole hold where the provider did not say."""
        return self.hold if self.cost is None else self.cost


class Changes(TypedDict, total=False):
    """What an arrow may write besides the state."""

    due_at: float
    deadline: float | None
    attempts: int
    body: dict[str, Any]
    submitted_at: float | None
    provider_job_id: str
    answer: dict[str, Any]
    result_url: str
    cost: int
    posting_at: float
    message_id: int
    error: str
    error_detail: str


def blame(error: DailiesError) -> Changes:
    """Return the changes that record why a job ended; words from outside may be broken text."""
    detail = error.detail[:500].encode("utf-8", "replace").decode("utf-8")
    return {"error": type(error).__name__, "error_detail": detail}
