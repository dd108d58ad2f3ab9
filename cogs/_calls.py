"""Calls of discord.py with a time limit, and what their errors mean for a job.

A call is never cancelled: one that meets a global rate limit stops all others, sleeps, and lets
them go on; cancelled in that sleep, it would leave the bot mute for ever. What takes too long is
given up, but goes on, and the next call of the same name waits for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import discord

from core.errors import ChannelGone, ClipTooLarge, DeliveryFailed, PostRefused, Undeliverable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

# Discord's own codes (documented under "JSON error codes"), surer than the status beside them.
TOO_LARGE = frozenset({40005, 50045})
CHANNEL_GONE = frozenset(
    {
        10003,  # unknown channel
        10004,  # unknown guild
        50001,  # missing access
        50013,  # missing permission
        50083,  # archived thread
        160002,  # no reply without Read Message History
        160005,  # locked thread
    }
)
PASSING = frozenset(
    {
        40004,  # sending is switched off for a while
        40006,  # this feature is
        40333,  # Cloudflare's
        110001,  # not available yet
        130000,  # overloaded
    }
)


class Calls:
    """Makes calls, one of each name at a time.

    Attributes:
        limit_s: so long a call is waited for.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._tasks: dict[str, asyncio.Task[Any]] = {}

    async def make(self, name: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Make a call, after the one of this name that was given up.

        Raises:
            DeliveryFailed: it failed this time, or takes too long, and then goes on.
            Undeliverable: it will never succeed.
        """
        while name in self._tasks:
            await self._wait(name)
        task = asyncio.create_task(call(), name=name)
        self._tasks[name] = task
        task.add_done_callback(_has_succeeded)  # an error that nobody waits for is no news
        await self._wait(name)
        try:
            return task.result()
        except discord.HTTPException as error:
            raise _verdict(error) from error
        except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
            raise DeliveryFailed(type(error).__name__) from error

    async def join_or_make(self, name: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do the same, unless the call that was given up succeeds: then return its result."""
        if name in self._tasks:
            task: asyncio.Task[T] = await self._wait(name)
            if _has_succeeded(task):
                return task.result()
        return await self.make(name, call)

    async def earlier(self, name: str) -> int | None:
        """Return what the call of this name that was given up brought, or None.

        Raises:
            DeliveryFailed: it still goes on.
        """
        if name not in self._tasks:
            return None
        task = await self._wait(name)
        return task.result() if _has_succeeded(task) else None

    async def _wait(self, name: str) -> asyncio.Task[Any]:
        task = self._tasks[name]
        await asyncio.wait({task}, timeout=self._limit_s)
        if not task.done():
            raise DeliveryFailed("Discord did not answer in time")
        if self._tasks.get(name) is task:
            del self._tasks[name]
        return task


def _has_succeeded(task: asyncio.Task[Any]) -> bool:
    return not task.cancelled() and task.exception() is None


def _verdict(error: discord.HTTPException) -> DeliveryFailed | Undeliverable:
    """Judge an answer; without a code of Discord's it is somebody else's, or says nothing.

    "Unknown message" at a post means posted, then deleted: no second time.
    """
    if error.status == 413 or error.code in TOO_LARGE:  # noqa: PLR2004 — HTTP's number
        return ClipTooLarge(error.text)
    if error.code in CHANNEL_GONE:
        return ChannelGone(error.text)
    is_final = 400 <= error.status < 500 and error.status not in {401, 408, 429}  # noqa: PLR2004 — HTTP's numbers
    if error.code and error.code not in PASSING and is_final:
        return PostRefused(error.text)
    return DeliveryFailed(f"Discord answered {error.status}")
