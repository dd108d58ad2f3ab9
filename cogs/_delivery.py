"""How a job speaks in its channel, with the bot's own token: interaction tokens die too early."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypedDict

import aiohttp
import discord

from cogs._cards import Cards, clip_file_name, clip_mark, clip_message, end_message
from cogs._views import job_buttons
from core.errors import ChannelGone, ClipTooLarge, DeliveryFailed, PostRefused, Undeliverable
from core.jobs import Job, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

log = logging.getLogger(__name__)

UPLOAD_LIMIT_S = 180.0
EDIT_LIMIT_S = 60.0
SEARCH_MESSAGES = 500
REQUEST_TOO_LARGE = 40005
UNKNOWN_MESSAGE = 10008


class DiscordMessenger:
    """The core's Messenger over one logged-in client."""

    def __init__(self, client: discord.Client, cards: Cards) -> None:
        self._client = client
        self._cards = cards

    async def show(self, job: Job) -> None:
        """See Messenger."""
        if job.placeholder_id is None:
            return
        try:
            await self._edit_placeholder(job, job.placeholder_id)
        except (DeliveryFailed, Undeliverable) as error:
            log.info("job %s: placeholder not brought up to date (%s)", job.id, error)

    async def post(self, job: Job, clip: Path) -> int:
        """See Messenger."""
        file = discord.File(
            clip, filename=clip_file_name(job), description=job.request.prompt[:1024]
        )
        async with _discord_errors(UPLOAD_LIMIT_S):
            message = await self._channel(job).send(
                clip_message(job),
                file=file,
                nonce=job.id,
                allowed_mentions=_only_requester(job),
                suppress_embeds=True,
                **_reply(job),
            )
        return message.id

    async def find_post(self, job: Job) -> int | None:
        """See Messenger."""
        since = discord.utils.snowflake_time(_snowflake(job.posting_at or job.created_at))
        async with _discord_errors(EDIT_LIMIT_S):
            async for message in self._channel(job).history(
                after=since, limit=SEARCH_MESSAGES, oldest_first=True
            ):
                if self._carries(message, job):
                    return message.id
        return None

    async def tell(self, job: Job) -> None:
        """See Messenger. The end of a posted clip is the clip itself."""
        if job.placeholder_id is not None and await self._edit_placeholder(job, job.placeholder_id):
            return
        if job.state is not State.DONE:
            await self._tell_anew(job)

    async def _tell_anew(self, job: Job) -> None:
        async with _discord_errors(EDIT_LIMIT_S):
            await self._channel(job).send(
                end_message(job), nonce=f"{job.id}-end", allowed_mentions=_only_requester(job)
            )

    async def _edit_placeholder(self, job: Job, message_id: int) -> bool:
        """Bring the placeholder up to date and return whether it is still there."""
        message = self._channel(job).get_partial_message(message_id)
        async with _discord_errors(EDIT_LIMIT_S):
            try:
                await message.edit(embed=self._cards.placeholder(job), view=job_buttons(job))
            except discord.NotFound as error:
                if error.code != UNKNOWN_MESSAGE:
                    raise
                return False
        return True

    def _carries(self, message: discord.Message, job: Job) -> bool:
        is_mine = self._client.user is not None and message.author.id == self._client.user.id
        return is_mine and any(
            file.filename.endswith(clip_mark(job)) for file in message.attachments
        )

    def _channel(self, job: Job) -> discord.PartialMessageable:
        return self._client.get_partial_messageable(job.channel_id, guild_id=job.guild_id)


class _Reply(TypedDict, total=False):
    reference: discord.MessageReference


def _reply(job: Job) -> _Reply:
    """Point back to the placeholder, if there is one; should it be deleted, post all the same."""
    if job.placeholder_id is None:
        return {}
    reference = discord.MessageReference(
        message_id=job.placeholder_id,
        channel_id=job.channel_id,
        guild_id=job.guild_id,
        fail_if_not_exists=False,
    )
    return {"reference": reference}


def _only_requester(job: Job) -> discord.AllowedMentions:
    return discord.AllowedMentions(
        everyone=False, roles=False, replied_user=False, users=[discord.Object(job.member_id)]
    )


def _snowflake(moment: float) -> int:
    """Return the first message id of a minute before `moment`, since two clocks are compared."""
    return (int((moment - 60) * 1000) - discord.utils.DISCORD_EPOCH) << 22


@asynccontextmanager
async def _discord_errors(limit_s: float) -> AsyncIterator[None]:
    """Turn what discord.py raises into: it may work later, or it never will."""
    try:
        async with asyncio.timeout(limit_s):
            yield
    except discord.HTTPException as error:
        raise _verdict(error) from error
    except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
        raise DeliveryFailed(type(error).__name__) from error


def _verdict(error: discord.HTTPException) -> DeliveryFailed | Undeliverable:
    """Judge an answer; "unknown message" at a post means posted, then deleted: no second time."""
    if error.status == 413 or error.code == REQUEST_TOO_LARGE:  # noqa: PLR2004 — HTTP's number
        return ClipTooLarge(error.text)
    if error.status in {401, 408, 429} or error.status >= 500:  # noqa: PLR2004 — HTTP's numbers
        return DeliveryFailed(f"Discord answered {error.status}")
    if error.status in {403, 404} and error.code != UNKNOWN_MESSAGE:
        return ChannelGone(error.text)
    return PostRefused(error.text)
