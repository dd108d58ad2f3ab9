"""What REST and gateway ask: the world behind them, its payloads completed, its books kept."""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import discord

from sandbox.books import Books, Post
from sandbox.discord import refusals, shapes
from sandbox.discord.cdn import Attachments
from sandbox.discord.members import Members
from sandbox.discord.refusals import Refusal
from sandbox.discord.world import (
    APPLICATION_ID,
    CDN_BASE,
    BackendError,
    Interaction,
    Message,
    Model,
    RouteNotImplemented,
    UnsupportedField,
    User,
    censor_message,
    dispatch,
    guild_create_payload,
    prune_guild_create,
    required_intent,
    user_payload,
)

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

UPLOAD_LIMIT = 10 * 1024 * 1024
"""Bytes a file may have, for members and for the bot (a guild without boosts)."""


@dataclass
class Upload:
    """A file of a REST call, as SimCord reads it."""

    filename: str
    fp: io.BytesIO
    description: str | None = None


@dataclass
class Call:
    """A REST call, decoded. `cause` is the interaction by whose token it is made."""

    method: str
    path: str
    json: Any = None
    params: dict[str, str] = field(default_factory=dict)
    files: list[Upload] = field(default_factory=list)
    reason: str | None = None
    nonce: str | None = None
    cause: int | None = None


class Emulator:
    """Two guilds, four members and a bot, alive in real time.

    Attributes:
        token: the bot's token.
        members: what members see and do.
    """

    def __init__(self, folder: Path, books: Books, base_url: str) -> None:
        self._base_url = base_url
        self._books = books
        self._call: Call | None = None
        self.attachments = Attachments(folder)
        self.token = f"{base64.b64encode(str(APPLICATION_ID).encode()).decode()}.sandbox.token"
        self.model = Model(self.attachments, self)
        self.members = Members(self)

    # --- REST ---

    def request(self, call: Call) -> Any:
        """Answer a REST call with complete payloads.

        Raises:
            Refusal: Discord's error answer.
        """
        self._call = call
        try:
            return self.complete(self._dispatch(call))
        except RouteNotImplemented:
            raise refusals.not_found() from None
        except BackendError as error:
            raise _translated(error) from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            log.warning("a body that SimCord cannot read", exc_info=True)
            raise refusals.invalid_form("", "INVALID", repr(error)) from None
        finally:
            self._call = None

    def _dispatch(self, call: Call) -> Any:
        body = call.json
        while True:
            try:
                return dispatch(
                    self.model,
                    call.method,
                    call.path,
                    json=body,
                    params=call.params,
                    files=call.files,
                    reason=call.reason,
                )
            except UnsupportedField as unknown:
                names = ", ".join(unknown.fields)
                log.error("ignored unknown fields %s", names)  # noqa: TRY400 — no fault of ours
                slimmer = _without(body, unknown.fields)
                if slimmer == body:
                    raise
                body = slimmer

    def complete(self, payload: Any) -> Any:
        """Return a payload in Discord's full shape, with signed addresses of this server."""
        return shapes.complete(payload, self._address)

    def _address(self, text: str) -> str:
        if not text.startswith(CDN_BASE):
            return text
        return f"{self._base_url}/cdn{self.attachments.signed(text.removeprefix(CDN_BASE))}"

    def interaction(self, interaction_id: int) -> Interaction | None:
        """Return the record of an interaction."""
        return self.model.interactions.get(interaction_id)

    def check_webhook(self, token: str) -> int | None:
        """Return the interaction that a webhook token belongs to; None for a channel's webhook.

        Raises:
            Refusal: the token is unknown or expired, or the interaction was not answered yet.
        """
        if token in self.model.webhook_tokens:
            return None
        record = self.interaction(self.model.interaction_tokens.get(token, 0))
        if record is None or (record.expires_at or "") <= self.model.now_iso():
            raise refusals.invalid_webhook_token()
        if not record.responded:
            raise refusals.unknown_webhook()
        return record.id

    def has_message(self, channel_id: int, message_id: int) -> bool:
        """Whether a reply may point at this message."""
        message = self.model.messages.get(channel_id, {}).get(message_id)
        return message is not None and not message.is_ephemeral

    def bot_may(self, channel_id: int, permission: str) -> bool:
        """Whether the bot has a permission in a channel (true where the channel is unknown)."""
        channel = self.model.channels.get(channel_id)
        if channel is None or channel.guild_id is None:
            return True
        bits = self.model.compute_permissions(channel.guild_id, APPLICATION_ID, channel_id)
        return bool(getattr(discord.Permissions(bits), permission))

    def registered_commands(self, guild_id: int | None) -> list[dict[str, Any]]:
        """Return the raw registrations of a scope, without what Discord adds."""
        return list(self.model.commands.get(guild_id, {}).values())

    @property
    def has_commands(self) -> bool:
        """Whether a bot has registered any."""
        return any(self.model.commands.values())

    def bot(self) -> dict[str, Any]:
        """Return the bot's user."""
        return self._user(self.model.bot_user)

    def owner(self) -> dict[str, Any]:
        """Return the user that owns the application."""
        first = next(iter(self.model.guilds.values()))
        return self._user(self.model.users[first.owner_id])

    def _user(self, user: User) -> dict[str, Any]:
        whole: dict[str, Any] = self.complete(user_payload(user))
        return whole

    # --- gateway ---

    def listen(self, listener: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Call `listener` with every gateway event, raw; `render` makes it presentable."""
        self.model.subscribers.append(listener)

    def guild_events(self) -> list[dict[str, Any]]:
        """Return the raw GUILD_CREATE payload of every guild."""
        return [dict(guild_create_payload(self.model, g)) for g in self.model.guilds.values()]

    def render(
        self, event: str, payload: Mapping[str, Any], intents_value: int
    ) -> dict[str, Any] | None:
        """Return what a session with these intents receives; None if nothing."""
        intents = discord.Intents.none()
        intents.value = intents_value
        gate = required_intent(event, payload)
        if gate is not None and not getattr(intents, gate):
            return None
        if event == "INTERACTION_CREATE":
            payload = shapes.interaction(dict(payload), UPLOAD_LIMIT)
        seen: dict[str, Any] = self.complete(payload)
        if event == "MESSAGE_CREATE" and self._call is not None and self._call.nonce is not None:
            seen["nonce"] = self._call.nonce
        if event == "GUILD_CREATE":
            prune_guild_create(seen, intents, APPLICATION_ID)
        if not intents.message_content:
            self._censor(event, seen)
        return seen

    def _censor(self, event: str, payload: dict[str, Any]) -> None:
        if event in ("MESSAGE_CREATE", "MESSAGE_UPDATE"):
            censor_message(payload, APPLICATION_ID, backend=self.model)
        elif event == "INTERACTION_CREATE":
            shown = [payload.get("message"), *_resolved(payload, "messages")]
            for message in filter(None, shown):
                censor_message(message, APPLICATION_ID, backend=self.model, exempt_root=True)

    # --- changes (the model tells) ---

    def commands_changed(self) -> None:
        """Tell everybody that there are other commands now."""
        self.members.tell_all({"event": "commands"})

    def message_changed(self, kind: str, message: Message) -> None:
        """Tell members, keep the books, and forget the files of what is deleted."""
        cause = None if self._call is None else self._call.cause
        self.members.message_changed(kind, message, cause)
        if message.author_id == APPLICATION_ID:
            self._keep_books(kind, message)
        if kind == "delete":
            for attachment in message.attachments:
                self.attachments.drop(int(attachment["id"]))

    def _keep_books(self, kind: str, message: Message) -> None:
        names = [str(item["filename"]) for item in message.attachments]
        message_id = str(message.id)
        if kind == "create":
            guild_id = self.model.channels[message.channel_id].guild_id
            self._books.posts.append(
                Post(
                    guild_id=None if guild_id is None else str(guild_id),
                    channel_id=str(message.channel_id),
                    message_id=message_id,
                    nonce=None if self._call is None else self._call.nonce,
                    attachments=names,
                    at=self.model.clock.now().timestamp(),
                )
            )
            return
        # The newest posts are the ones that change.
        post = next(item for item in reversed(self._books.posts) if item.message_id == message_id)
        post.attachments = names
        post.deleted = kind == "delete"


def _translated(error: BackendError) -> Refusal:
    """Turn SimCord's error into Discord's answer: it sends no error tree, and 50006 nowhere."""
    form = "Invalid Form Body: "
    if not error.message.startswith(form):
        return Refusal(error.status, error.code, error.message, error.errors)
    detail = error.message.removeprefix(form)
    if detail == "Cannot send an empty message":
        return Refusal(400, 50006, detail)
    return refusals.invalid_form("", "INVALID", detail)


def _without(body: Any, names: list[str]) -> Any:
    """Drop keys where SimCord looks for unknown ones: the body, its items, a callback's data."""
    if isinstance(body, list):
        return [_without(item, names) for item in body]
    if not isinstance(body, dict):
        return body
    kept = {key: value for key, value in body.items() if key not in names}
    return {key: _without(value, names) if key == "data" else value for key, value in kept.items()}


def _resolved(payload: dict[str, Any], kind: str) -> list[Any]:
    return list((payload.get("data", {}).get("resolved") or {}).get(kind, {}).values())
