"""The use cases around one video: order it, cancel it."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import (
    BadImage,
    FetchError,
    FetchTooLarge,
    ImageUnreachable,
    NotEnoughCredits,
    TooBusy,
)
from core.jobs import CANCELLABLE_AT_A_PRICE, CANCELLABLE_AT_ONCE, Job, State
from core.pricing import hold_for
from core.video import VideoRequest, Wish, clean_prompt, nearest_aspect, ratio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from decimal import Decimal

    from core.catalog import Model
    from core.ports import Clock, Fetcher, FrameMaker, OrderStore

IMAGE_BYTES_MAX = 20_000_000
IMAGE_TIMEOUT_S = 30.0
IMAGES_MAX = 10
PLACEHOLDER_GRACE_S = 5.0
"""So long a new job waits for its placeholder, so that progress is never shown out of order."""
DISCORD_CDN = frozenset({"cdn.discordapp.com", "media.discordapp.net"})


class CancelOutcome(Enum):
    """What became of a wish to cancel."""

    CANCELLED = "cancelled"
    CANCELLING = "cancelling"
    NEEDS_CONFIRMATION = "needs confirmation"
    TOO_LATE = "too late"
    UNKNOWN = "unknown"
    NOT_YOURS = "not yours"


@dataclass(frozen=True, slots=True)
class Canceller:
    """Who wants to cancel, and from where."""

    guild_id: int
    member_id: int
    is_moderator: bool


@dataclass(slots=True)
class Videos:
    """Takes orders and cancellations.

    Attributes:
        nudge: tells the worker of this process that there is something to do.
        show: has a job's placeholder brought up to date.
        temporary: folder of images that are not checked yet.
    """

    store: OrderStore
    model: Model
    fetcher: Fetcher
    frames: FrameMaker
    clock: Clock
    nudge: Callable[[], None]
    show: Callable[[Job], None]
    temporary: Path
    markup: Decimal
    opening_credits: int
    _images: int = 0

    @property
    def hold(self) -> int:
        """The credits that one video needs to be available."""
        return hold_for(self.model, self.markup)

    def check(self, wish: Wish) -> None:
        """Refuse what can be told from the words alone.

        Raises:
            RequestRefused: one of its kinds.
        """
        self.model.check(self._request(wish))

    async def order(self, wish: Wish) -> Job:
        """Check the wish, hold its price and enqueue it as one job; call `placed` next.

        The same interaction always returns the same job.

        Raises:
            RequestRefused: one of its kinds; nothing was held.
        """
        earlier = await self.store.of_interaction(wish.interaction_id)
        if earlier is not None:
            return earlier
        request = self._request(wish)
        self.model.check(request)
        if wish.image_url is not None:
            await self._check_funds(wish.guild_id)
            async with self._image_slot():
                request = await self._with_start_frame(request, wish, wish.image_url)
        return await self.store.enqueue(self._job(wish, request), self.opening_credits)

    async def placed(self, job: Job, placeholder_id: int) -> None:
        """Start the job, now that the message which shows its progress is there."""
        await self.store.set_placeholder(job.id, placeholder_id, self.clock())
        self.nudge()
        now = await self.store.get(job.id)
        if now is not None and now.state is not State.QUEUED:
            self.show(now)  # Discord was slow: what the caller has shown is out of date

    async def cancel(self, job_id: str, who: Canceller, *, confirmed: bool) -> CancelOutcome:
        """Cancel a job: free while it is queued, at what the provider charges later."""
        job = await self.store.get(job_id)
        if job is None or job.guild_id != who.guild_id:
            return CancelOutcome.UNKNOWN
        if job.member_id != who.member_id and not who.is_moderator:
            return CancelOutcome.NOT_YOURS
        if job.state in CANCELLABLE_AT_ONCE and await self.store.cancel_at_once(
            job.id, self.clock()
        ):
            self.nudge()
            return CancelOutcome.CANCELLED
        return await self._cancel_at_a_price(job_id, confirmed=confirmed)

    async def _cancel_at_a_price(self, job_id: str, *, confirmed: bool) -> CancelOutcome:
        job = await self.store.get(job_id)
        if job is None or job.state not in CANCELLABLE_AT_A_PRICE:
            return CancelOutcome.TOO_LATE
        if job.cancel_requested_at is not None:
            return CancelOutcome.CANCELLING
        if not confirmed:
            return CancelOutcome.NEEDS_CONFIRMATION
        marked = await self.store.request_cancel(job_id, self.clock())
        if marked is None:
            return CancelOutcome.TOO_LATE
        self.show(marked)
        return CancelOutcome.CANCELLING

    async def _check_funds(self, guild_id: int) -> None:
        """Spare the work on an image that could not be paid for anyway; the hold decides later."""
        balance = await self.store.balance(guild_id, self.opening_credits, self.clock())
        if balance.available < self.hold:
            raise NotEnoughCredits(self.hold, balance.available)

    @asynccontextmanager
    async def _image_slot(self) -> AsyncIterator[None]:
        if self._images >= IMAGES_MAX:
            raise TooBusy
        self._images += 1
        try:
            yield
        finally:
            self._images -= 1

    def _request(self, wish: Wish) -> VideoRequest:
        return VideoRequest(
            prompt=clean_prompt(wish.prompt),
            aspect=wish.aspect or self.model.aspects[0],
            duration_s=wish.duration_s or self.model.durations_s[0],
            resolution=self.model.resolutions[0],
        )

    async def _with_start_frame(self, request: VideoRequest, wish: Wish, url: str) -> VideoRequest:
        """Download and normalise the image now, since Discord forgets it soon."""
        if wish.image_bytes > IMAGE_BYTES_MAX:
            raise BadImage(f"it is larger than {IMAGE_BYTES_MAX // 1_000_000} MB")
        with tempfile.TemporaryDirectory(dir=self.temporary) as folder:
            source = Path(folder) / "image"
            await self._download(url, source)
            aspect = wish.aspect or nearest_aspect(
                *await self.frames.measure(source), self.model.aspects
            )
            picture = await self.frames.make(source, ratio(aspect))
        return request.model_copy(update={"aspect": aspect, "start_frame": picture.path.name})

    async def _download(self, url: str, to: Path) -> None:
        try:
            await self.fetcher.fetch(
                url, to, max_bytes=IMAGE_BYTES_MAX, timeout_s=IMAGE_TIMEOUT_S, hosts=DISCORD_CDN
            )
        except FetchTooLarge as error:
            raise BadImage(f"it is larger than {IMAGE_BYTES_MAX // 1_000_000} MB") from error
        except FetchError as error:
            raise ImageUnreachable(error.detail) from error

    def _job(self, wish: Wish, request: VideoRequest) -> Job:
        now = self.clock()
        return Job(
            id=secrets.token_hex(8),
            interaction_id=wish.interaction_id,
            guild_id=wish.guild_id,
            channel_id=wish.channel_id,
            member_id=wish.member_id,
            placeholder_id=wish.placeholder_id,
            request=request,
            provider=self.model.provider,
            model=self.model.name,
            state=State.QUEUED,
            hold=self.hold,
            fence=0,
            worker=None,
            created_at=now,
            due_at=now + PLACEHOLDER_GRACE_S,
        )
