"""What the core needs from the outside, each port as narrow as its user."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection
    from decimal import Decimal
    from pathlib import Path

    from core.errors import JobEnded
    from core.jobs import Changes, Job, State
    from core.ledger import Balance
    from core.video import VideoRequest


class Clock(Protocol):
    """The time of day."""

    def __call__(self) -> float:
        """Return Unix seconds."""
        ...


# --- Providers. ---


@dataclass(frozen=True, slots=True)
class Receipt:
    """A provider accepted a submit: its own id of the job, and its raw answer."""

    id: str
    answer: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Running:
    """The provider has not finished."""

    answer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Completed:
    """The clip can be downloaded. `billed_usd` is None where the provider does not say."""

    url: str
    billed_usd: Decimal | None
    answer: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider's own word that there will be no clip."""

    error: JobEnded
    answer: dict[str, Any]


class Provider(Protocol):
    """One paid video API. Every call has time limits of its own and never repeats a submit.

    Attributes:
        name: as in the catalog.
        submit_limit_s: after that many seconds the answer to a submit cannot come any more.
    """

    name: str
    submit_limit_s: float

    def build(self, request: VideoRequest, start_frame_url: str | None) -> dict[str, Any]:
        """Return the body of a submit: the same request always makes the same body."""
        ...

    async def upload(self, picture: Path) -> str:
        """Store a picture at the provider and return its address.

        Raises:
            NotSubmitted: may be tried again.
            JobEnded: a definite refusal.
        """
        ...

    async def submit(self, model: str, body: dict[str, Any]) -> Receipt:
        """Order one clip: the one call that costs money.

        Raises:
            NotSubmitted: it certainly made nothing.
            JobEnded: a definite refusal, nothing was made.
            SubmitInDoubt: anything else.
        """
        ...

    async def poll(self, provider_job_id: str) -> Running | Completed | Failed:
        """Ask how a job stands.

        Raises:
            PollFailed: no verdict this time.
        """
        ...

    async def find(self, model: str, body: dict[str, Any], since: float, until: float) -> list[str]:
        """Return the ids in the provider's history with this very body, submitted in between.

        Raises:
            PollFailed: the history could not be read.
        """
        ...


# --- Media. ---


class Fetcher(Protocol):
    """Downloads from addresses that others name, guardedly."""

    async def fetch(
        self,
        url: str,
        to: Path,
        *,
        max_bytes: int,
        timeout_s: float,
        hosts: frozenset[str] | None = None,
    ) -> None:
        """Write the file at `url` to `to`, whole or not at all.

        Raises:
            FetchError: one of its four kinds.
        """
        ...


class Picture(Protocol):
    """A normalised picture on disk."""

    @property
    def path(self) -> Path:
        """Its file, named by its content."""
        ...


class FrameMaker(Protocol):
    """Turns an image from outside into a start frame."""

    async def measure(self, source: Path) -> tuple[int, int]:
        """Return upright width and height in pixels, or raise BadImage."""
        ...

    async def make(self, source: Path, ratio: tuple[int, int]) -> Picture:
        """Check, strip and crop to `ratio`, or raise BadImage."""
        ...


class ClipChecker(Protocol):
    """Tells a whole, playable MP4 from everything else."""

    async def check(self, clip: Path) -> object:
        """Return normally if it is one.

        Raises:
            BadClip: it is none.
            ClipUnchecked: nobody can tell this time.
        """
        ...


# --- Discord. ---


class Messenger(Protocol):
    """How a job speaks in its channel."""

    async def show(self, job: Job) -> None:
        """Bring the placeholder up to date, if that is possible just now."""
        ...

    async def post(self, job: Job, clip: Path) -> int:
        """Post the clip once, with the job's id as nonce, and return the message's id.

        Raises:
            DeliveryFailed: it may or may not have been posted; look before trying again.
            Undeliverable: it can never be posted there.
        """
        ...

    async def find_post(self, job: Job) -> int | None:
        """Return the id of the message that already carries the job's clip, if there is one.

        Raises:
            DeliveryFailed: the channel could not be read this time.
            Undeliverable: the channel can never be read.
        """
        ...

    async def tell(self, job: Job) -> None:
        """Show the job's end where the member sees it, at least once.

        Raises:
            DeliveryFailed: try again later.
            Undeliverable: there is nobody to be told.
        """
        ...


# --- Storage. ---


class OrderStore(Protocol):
    """What the use cases of a member need to keep."""

    async def enqueue(self, job: Job, opening_credits: int) -> Job:
        """Hold the job's credits and store it, or return the interaction's earlier job.

        A guild seen for the first time starts with `opening_credits`.

        Raises:
            NotEnoughCredits: nothing was stored or held.
        """
        ...

    async def get(self, job_id: str) -> Job | None:
        """Return a job as it stands."""
        ...

    async def of_interaction(self, interaction_id: int) -> Job | None:
        """Return the job that an interaction has already made."""
        ...

    async def set_placeholder(self, job_id: str, message_id: int, now: float) -> None:
        """Remember which message shows the job's progress, and make a queued job due."""
        ...

    async def cancel_at_once(self, job_id: str, now: float) -> Job | None:
        """End a job that no provider has seen and release its hold; None if it is too late."""
        ...

    async def request_cancel(self, job_id: str, now: float) -> Job | None:
        """Mark a job that a provider may have; None if it cannot be cancelled any more."""
        ...

    async def balance(self, guild_id: int, opening_credits: int, now: float) -> Balance:
        """Return a guild's credits; one seen for the first time gets its opening credits."""
        ...


class WorkStore(Protocol):
    """What the worker needs: claims, and the fenced arrows. Each call is one transaction."""

    async def claim(
        self, worker: str, limit: int, now: float, driving: Collection[str] = ()
    ) -> list[Job]:
        """Take over jobs that are due, but for those that `worker` is already driving."""
        ...

    async def reload(self, job: Job) -> Job:
        """Return the job as it stands.

        Raises:
            StaleJob: another run has it.
        """
        ...

    async def move(self, job: Job, to: State, changes: Changes) -> Job:
        """Go along an arrow that ends nothing.

        Raises:
            StaleJob: another run has moved the job.
        """
        ...

    async def begin_posting(self, job: Job, changes: Changes) -> Job:
        """Go from fetching to posting, unless the member has cancelled meanwhile.

        Returns the job in `posting`, or still in `fetching` with the cancellation in it.
        """
        ...

    async def settle(self, job: Job, to: State, captured: int, now: float, changes: Changes) -> Job:
        """End the job and its hold: `captured` credits are spent, the rest is released."""
        ...

    async def told(self, job: Job, now: float) -> Job:
        """Record that the end was shown."""
        ...

    async def unclaimed(self, provider: str, ids: list[str]) -> list[str]:
        """Return those of a provider's job ids that no job of ours has."""
        ...

    async def has_rival(self, job: Job) -> bool:
        """Whether another submit with the same body is still without an answer."""
        ...
