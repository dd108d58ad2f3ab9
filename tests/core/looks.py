"""What the tests of steps look at, and the wishes they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from core.ledger import IN_DOUBT, Balance
from core.video import VideoRequest
from storage.tables import accounts
from tests.core.world import CREDITS, TIMINGS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from core.jobs import Job
    from tests.core.world import World

RELEASED = Balance(CREDITS, 0, 0)
FRESH_URL = "https://cdn.example/fresh.mp4"
DOUBT_ENDS_S = 60.0 + TIMINGS.doubt_s
"""From the submit: its own time limit, then the search in the history."""


async def in_doubt_account(world: World) -> int:
    """Return what is booked as perhaps billed for jobs in doubt."""
    balance = await world.database.transaction(
        lambda connection: connection.scalar(
            select(accounts.c.balance).where(accounts.c.name == IN_DOUBT)
        )
    )
    return balance or 0


def cancelling(world: World, job: Job) -> Callable[[], Awaitable[object]]:
    """Return an event: the member has confirmed the cancellation."""

    async def cancel() -> None:
        assert await world.store.request_cancel(job.id, world.clock()) is not None

    return cancel


def seeing(world: World, job: Job, seen: list[Job]) -> Callable[[], Awaitable[object]]:
    """Return an event: look at what is committed at this moment."""

    async def look() -> None:
        seen.append(await world.see(job))

    return look


def with_start_frame() -> VideoRequest:
    return VideoRequest(
        prompt="a fox", aspect="1:1", duration_s=5, resolution="720p", start_frame="ab.jpg"
    )
