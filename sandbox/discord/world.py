"""SimCord's model of Discord, made to stand: real time, files on disk, two guilds.

SimCord is made for tests inside one process: its clock is virtual, its logs are unbounded, its
tokens can be guessed, and it says nothing of ephemeral messages.

This is the only file that imports SimCord; the others take its names from here. Most of its modules
are not under its promise of stability: the version is pinned exactly, an upgrade begins here.
"""

from __future__ import annotations

import base64
import mimetypes
import re
import secrets
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import discord
from PIL import Image
from simcord import Env, InteractionResult, MemberActor, ResponseMessage
from simcord._clock import Clock
from simcord.backend import Backend
from simcord.backend.access import channel_accessible
from simcord.backend.cdn import CDN_BASE, CdnStore
from simcord.backend.command_access import command_access
from simcord.backend.errors import BackendError, SetupError
from simcord.backend.models import Guild, Interaction, Message, User
from simcord.backend.serializers import (
    guild_create_payload,
    message_payload,
    user_payload,
)
from simcord.builders import ChannelHandle, GuildHandle, RoleHandle, UserHandle
from simcord.components import walk_components
from simcord.http.router import RouteNotImplemented, UnsupportedField, dispatch
from simcord.intents import censor_message, prune_guild_create, required_intent
from simcord.interactions import parse_option_input, walk_to_subcommand

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sandbox.discord.cdn import Attachments

__all__ = [
    "CDN_BASE",
    "BackendError",
    "ChannelHandle",
    "Clock",
    "Env",
    "Guild",
    "GuildHandle",
    "Interaction",
    "InteractionResult",
    "MemberActor",
    "Message",
    "ResponseMessage",
    "RoleHandle",
    "RouteNotImplemented",
    "SetupError",
    "UnsupportedField",
    "User",
    "UserHandle",
    "censor_message",
    "channel_accessible",
    "command_access",
    "dispatch",
    "guild_create_payload",
    "message_payload",
    "parse_option_input",
    "prune_guild_create",
    "required_intent",
    "user_payload",
    "walk_components",
    "walk_to_subcommand",
]

BOT_NAME = "Dailies"
APPLICATION_ID = 1325701112223334445
# Two shards would take one guild each.
_GUILDS = {
    "Film Club": (1325736142000000000, ("general", "clips")),
    "Second Unit": (1325737000000000000, ("general",)),
}
_MEMBERS = {"alice": "Alice", "bob": "Bob", "mod": "Mod", "owner": "Owner"}
_MODERATOR = discord.Permissions(
    kick_members=True,
    ban_members=True,
    moderate_members=True,
    manage_messages=True,
    manage_threads=True,
    view_audit_log=True,
)
_BOT = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    create_private_threads=True,
    embed_links=True,
    attach_files=True,
    read_message_history=True,
)
_LOGGED = 200


class Observer(Protocol):
    """Who is told of what changes."""

    def message_changed(self, kind: str, message: Message) -> None:
        """A message was changed; `kind` is create, update or delete."""

    def commands_changed(self) -> None:
        """A bot registered commands."""


class _Clock(Clock):
    """Real time; but while the world is built a fixed calendar, so that its ids never change."""

    def __init__(self) -> None:
        super().__init__()
        self._building: datetime | None = datetime(2025, 1, 6, 9, tzinfo=UTC)

    def now(self) -> datetime:
        if self._building is None:
            return datetime.now(UTC)
        self._building += timedelta(seconds=61, milliseconds=3)
        return self._building

    def go_live(self) -> None:
        self._building = None


class _Files(CdnStore):
    """SimCord's file store, with the files on disk and the names that Discord would give them."""

    def __init__(self, attachments: Attachments) -> None:
        super().__init__()
        self._attachments = attachments

    def store_attachment(
        self, attachment_id: int, channel_id: int, filename: str, data: bytes, description: Any
    ) -> dict[str, Any]:
        path = self._attachments.put(attachment_id, data)
        name = re.sub(r"[^\w.\-]", "_", filename, flags=re.ASCII)
        url = f"{CDN_BASE}/attachments/{channel_id}/{attachment_id}/{name}"
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return {
            "id": str(attachment_id),
            "filename": name,
            "description": description,
            "size": len(data),
            "url": url,
            "proxy_url": url,
            "content_type": kind,
            **(_dimensions(path) if kind.startswith("image/") else {}),
        }


def _dimensions(path: Path) -> dict[str, int]:
    try:
        with Image.open(path) as image:
            return {"width": image.width, "height": image.height}
    except (OSError, ValueError, Image.DecompressionBombError):
        return {}


class Model(Backend):
    """SimCord's backend, with every change of a message told to the world.

    Its own events leave out ephemeral messages, which a gateway never carries but a member sees.
    """

    def __init__(self, attachments: Attachments, observer: Observer) -> None:
        self._observer = observer
        clock = _Clock()
        super().__init__(clock=clock)
        self.cdn = _Files(attachments)
        del self.users[self.bot_user.id]
        # An application and its bot user share one id on today's Discord.
        self.application_id = APPLICATION_ID
        self.bot_user = User(id=self.reserve_id(APPLICATION_ID), name=BOT_NAME, bot=True)
        self.users[self.bot_user.id] = self.bot_user
        _build(self)
        clock.go_live()
        # SimCord keeps everything it ever said.
        self.transcript = deque(maxlen=_LOGGED)  # type: ignore[assignment]  # it only appends
        self.http_requests = deque(maxlen=_LOGGED)  # type: ignore[assignment]  # likewise

    def new_interaction(self, *args: Any, **kwargs: Any) -> Interaction:
        """Give the interaction a token that nobody can guess."""
        record = super().new_interaction(*args, **kwargs)
        del self.interaction_tokens[record.token]
        plain = f"interaction:{record.id}:{secrets.token_urlsafe(60)}"
        record.token = base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")
        self.interaction_tokens[record.token] = record.id
        return record

    def commit_message(self, message: Message, *, broadcast: bool = True) -> Message:
        """Tell of a new message."""
        committed = super().commit_message(message, broadcast=broadcast)
        self._observer.message_changed("create", committed)
        return committed

    def edit_message(self, channel_id: int, message_id: int, fields: dict[str, Any]) -> Message:
        """Refuse to leave nothing, which SimCord allows; tell of the edit."""
        before = self.get_message(channel_id, message_id)
        kept = (
            fields.get(name, getattr(before, name))
            for name in ("content", "embeds", "components", "attachments", "poll", "stickers")
        )
        if not any(kept):
            raise BackendError(400, 50006, "Cannot send an empty message")
        message = super().edit_message(channel_id, message_id, fields)
        self._observer.message_changed("update", message)
        return message

    def delete_message(self, channel_id: int, message_id: int) -> None:
        """Tell of a deleted message."""
        message = self.get_message(channel_id, message_id)
        super().delete_message(channel_id, message_id)
        self._observer.message_changed("delete", message)

    def bulk_delete_messages(self, channel_id: int, message_ids: Iterable[int]) -> list[int]:
        """Tell of each deleted message."""
        before = dict(self.messages.get(channel_id, {}))
        deleted = super().bulk_delete_messages(channel_id, message_ids)
        for message_id in deleted:
            self._observer.message_changed("delete", before[message_id])
        return deleted

    def register_commands(
        self, guild_id: int | None, payloads: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Tell of the new commands."""
        registered = super().register_commands(guild_id, payloads)
        self._observer.commands_changed()
        return registered


def _build(model: Backend) -> None:
    users = {name: model.make_user(name, global_name=shown) for name, shown in _MEMBERS.items()}
    for name, (guild_id, channels) in _GUILDS.items():
        guild = model.create_guild(name, id=guild_id, owner_id=users["owner"].id)
        managed = next(role for role in guild.roles.values() if role.managed)
        managed.permissions = _BOT.value
        moderators = model.create_role(guild.id, "Moderators", permissions=_MODERATOR.value)
        for user in (users["alice"], users["bob"]):
            model.add_member(guild.id, user.id)
        model.add_member(guild.id, users["mod"].id, roles=[moderators.id])
        for channel in channels:
            model.create_channel(guild.id, channel)
