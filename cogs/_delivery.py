"""How a job speaks in its channel, with the bot's own token: interaction tokens die too early."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypedDict

import discord

from cogs._calls import Calls
from cogs._cards import clip_file_name, clip_mark, clip_message, end_message, placeholder_card
from cogs._views import job_buttons
from core.errors import ChannelGone, DeliveryFailed, PostRefused, Undeliverable
from core.jobs import Job, State

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

CALL_LIMIT_S = 180.0
"""Well above what a call may sleep for a rate limit (the client's `max_ratelimit_timeout`)."""
SEARCH_MAX = 5000
UNKNOWN_MESSAGE = 10008


class DiscordMessenger:
    """The core's Messenger over one logged-in client.

    Attributes:
        usual_wait_s: seconds that a clip usually takes, for the countdown.
        limit_s: so long Discord is waited for.
    """

    def __init__(
        self, client: discord.Client, usual_wait_s: float, limit_s: float = CALL_LIMIT_S
    ) -> None:
        self._client = client
        self._usual_wait_s = usual_wait_s
        self._calls = Calls(limit_s)

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
        return await self._calls.join_or_make(_post_of(job), lambda: self._send_clip(job, clip))

    async def find_post(self, job: Job) -> int | None:
        """See Messenger."""
        sent = await self._calls.earlier(_post_of(job))
        if sent is not None:
            return sent
        return await self._calls.join_or_make(f"search {job.id}", lambda: self._search(job))

    async def tell(self, job: Job) -> None:
        """See Messenger. The end of a posted clip is the clip itself."""
        if job.placeholder_id is not None and await self._is_shown(job, job.placeholder_id):
            return
        if job.state is not State.DONE:
            await self._calls.join_or_make(f"end {job.id}", lambda: self._send_end(job))

    async def _is_shown(self, job: Job, message_id: int) -> bool:
        """Show the end in the placeholder; where that cannot be edited, a new message may pass."""
        try:
            return await self._edit_placeholder(job, message_id)
        except Undeliverable as error:
            log.info("job %s: its placeholder cannot be edited (%s)", job.id, error)
            return False

    async def _edit_placeholder(self, job: Job, message_id: int) -> bool:
        """Bring the placeholder up to date and return whether it is still there."""
        return await self._calls.make(f"placeholder {job.id}", lambda: self._edit(job, message_id))

    async def _send_clip(self, job: Job, clip: Path) -> int:
        file = discord.File(
            clip, filename=clip_file_name(job), description=job.request.prompt[:1024]
        )
        message = await self._channel(job).send(
            clip_message(job),
            file=file,
            nonce=job.id,
            allowed_mentions=_only_requester(job),
            suppress_embeds=True,
            **_reply(job),
        )
        return message.id

    async def _send_end(self, job: Job) -> int:
        message = await self._channel(job).send(
            end_message(job), nonce=f"{job.id}-end", allowed_mentions=_only_requester(job)
        )
        return message.id

    async def _edit(self, job: Job, message_id: int) -> bool:
        message = self._channel(job).get_partial_message(message_id)
        card = placeholder_card(job, self._usual_wait_s)
        try:
            await message.edit(embed=card, view=job_buttons(job))
        except discord.NotFound as error:
            if error.code != UNKNOWN_MESSAGE:
                raise
            return False
        return True

    async def _search(self, job: Job) -> int | None:
        """Look at all that came after the order, by Discord's own clock, backwards from now."""
        order = discord.Object((job.placeholder_id or job.interaction_id) - 1)
        seen = 0
        async for message in self._channel(job).history(
            after=order, limit=SEARCH_MAX, oldest_first=False
        ):
            if self._carries(message, job):
                return message.id
            seen += 1
        if not self._may_read(job):
            raise ChannelGone("the channel's history can no longer be read")
        if seen == SEARCH_MAX:
            raise PostRefused("too much was posted since to see whether it is there already")
        return None

    def _carries(self, message: discord.Message, job: Job) -> bool:
        is_mine = self._client.user is not None and message.author.id == self._client.user.id
        return is_mine and any(
            file.filename.endswith(clip_mark(job)) for file in message.attachments
        )

    def _may_read(self, job: Job) -> bool:
        """Tell an empty channel from one whose history Discord silently withholds."""
        channel = self._client.get_channel(job.channel_id)
        if not isinstance(channel, (discord.abc.GuildChannel, discord.Thread)):
            return True
        return channel.permissions_for(channel.guild.me).read_message_history

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


def _post_of(job: Job) -> str:
    return f"post {job.id}"
