"""What members see and do, as Discord's own client lets them."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox.discord.world import (
    BackendError,
    ChannelHandle,
    Env,
    Guild,
    GuildHandle,
    Interaction,
    InteractionResult,
    MemberActor,
    Message,
    ResponseMessage,
    RoleHandle,
    SetupError,
    User,
    UserHandle,
    channel_accessible,
    command_access,
    message_payload,
    parse_option_input,
    walk_components,
    walk_to_subcommand,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandbox.discord.emulator import Emulator

_FIRST_RESPONSE_S = 3.0
_USER, _CHANNEL, _ROLE, _MENTIONABLE = 6, 7, 8, 9
_NUMBERS = (4, 10)
_BUTTON = 2
_ENTITY_SELECTS = {5: _USER, 6: _ROLE, 7: _MENTIONABLE, 8: _CHANNEL}


class ActionRefused(Exception):
    """Discord's own client would not let this member do that; the text is one sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Place:
    """A member in a channel of a guild."""

    guild: GuildHandle
    channel: ChannelHandle
    member: MemberActor


class Feed:
    """What one member sees in one channel, event by event; None ends it."""

    def __init__(self, channel_id: int, member_id: int) -> None:
        self.channel_id = channel_id
        self.member_id = member_id
        self.queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()


class _Actors(Env):
    """SimCord's stage for members; it is never started and never waits for a bot."""

    async def _settle_internal(self, **_: Any) -> None:
        return


class Members:
    """The members of a world, and who looks on."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._model = emulator.model
        self._feeds: set[Feed] = set()
        self._env = _Actors(None)  # type: ignore[arg-type]  # the bot lives in another process
        self._env.backend = emulator.model

    # --- see ---

    def describe(self) -> list[dict[str, Any]]:
        """Return guilds with their channels and members, as `/sandbox/world` shows them."""
        return [
            {
                "id": str(guild.id),
                "name": guild.name,
                "channels": [
                    {"id": str(item), "name": self._model.channels[item].name}
                    for item in guild.channel_ids
                ],
                "members": [
                    _member(user)
                    for user in sorted(self._people(guild), key=lambda user: (user.bot, user.id))
                ],
            }
            for guild in self._model.guilds.values()
        ]

    def _people(self, guild: Guild) -> list[User]:
        return [self._model.users[item] for item in guild.members]

    def place(self, guild: str | None, channel: str | None, member: str | None) -> Place:
        """Find a member in a channel by ids or names; what is None takes its default.

        Raises:
            ActionRefused: one of them does not exist, or the member cannot see the channel.
        """
        known_guild = _find("guild", self._model.guilds.values(), guild)
        rooms = [*known_guild.channel_ids, *known_guild.thread_ids]
        known_channel = _find("channel", [self._model.channels[item] for item in rooms], channel)
        user = _find("member", self._people(known_guild), member or "alice")
        if user.bot or not channel_accessible(self._model, known_channel.id, user.id):
            raise ActionRefused("forbidden", f"{user.name} cannot see #{known_channel.name}.")
        handle = GuildHandle(self._env, known_guild)
        return Place(
            handle,
            ChannelHandle(self._env, handle, known_channel),
            MemberActor(self._env, handle, UserHandle(self._env, user)),
        )

    def commands(self, place: Place) -> list[dict[str, Any]]:
        """Return the commands that the member can pick there, in Discord's full shape."""
        found = [
            command
            for kind in (1, 2, 3)
            for command in self._model.visible_commands(
                user_id=place.member.id, channel_id=place.channel.id, type=kind
            )
        ]
        commands: list[dict[str, Any]] = self._emulator.complete(found)
        return commands

    def subscribe(self, place: Place) -> Feed:
        """Open a feed; the messages that are there already come first, then `ready`."""
        feed = Feed(place.channel.id, place.member.id)
        for message in list(self._model.messages[feed.channel_id].values()):
            if message.visible_to(feed.member_id):
                feed.queue.put_nowait(self._message_event("create", message, feed, history=True))
        feed.queue.put_nowait({"event": "ready"})
        self._feeds.add(feed)
        return feed

    def unsubscribe(self, feed: Feed) -> None:
        """Close a feed."""
        self._feeds.discard(feed)

    def close(self) -> None:
        """End all feeds."""
        for feed in self._feeds:
            feed.queue.put_nowait(None)

    def tell_all(self, event: dict[str, Any]) -> None:
        """Put an event into every feed."""
        for feed in self._feeds:
            feed.queue.put_nowait(event)

    def message_changed(self, kind: str, message: Message, cause: int | None) -> None:
        """Tell of a message, and of the interaction by whose token it was changed."""
        for feed in self._feeds:
            if feed.channel_id == message.channel_id and message.visible_to(feed.member_id):
                feed.queue.put_nowait(self._message_event(kind, message, feed, cause=cause))

    def _message_event(
        self,
        kind: str,
        message: Message,
        feed: Feed,
        *,
        history: bool = False,
        cause: int | None = None,
    ) -> dict[str, Any]:
        if kind == "create" and message.interaction_metadata is not None:
            cause = int(message.interaction_metadata["id"])
        place = {"id": str(message.id), "channel_id": str(message.channel_id)}
        whole = message_payload(self._model, message, for_user=feed.member_id)
        return {
            "event": kind,
            "ephemeral": message.is_ephemeral,
            "interaction_id": None if cause is None else str(cause),
            "history": history,
            "message": place if kind == "delete" else self._emulator.complete(whole),
        }

    # --- act ---

    async def run_command(
        self, place: Place, name: str, options: dict[str, Any], target: str | None = None
    ) -> str:
        """Use a slash command, or a context menu on the message `target`; return the interaction.

        Raises:
            ActionRefused: Discord's client would not send it.
        """
        kind = 1 if target is None else 3
        root = self._command(place, name if target else name.split(maxsplit=1)[0], kind)
        with _as_refusal():
            if target is not None:
                shown = ResponseMessage(self._env, self._visible(place, target))
                result = await place.member.context_menu(place.channel, name, shown)
            else:
                leaf, _ = walk_to_subcommand(root, name.split()[1:])
                typed = self._typed_options(place, name, leaf, options)
                result = await place.member.slash(place.channel, name, **typed)
        return self._begun(result)

    async def use_component(
        self, place: Place, message_id: str, custom_id: str, values: list[Any]
    ) -> str:
        """Press a button or choose values in a select; return the interaction.

        Raises:
            ActionRefused: Discord's client would not send it.
        """
        message = self._visible(place, message_id)
        shown = ResponseMessage(self._env, message)
        kind = next(
            (c["type"] for c in walk_components(message.components) if _is(c, custom_id)), 0
        )
        with _as_refusal():
            if kind not in (0, _BUTTON):
                if kind in _ENTITY_SELECTS:
                    values = [self._handle(place, _ENTITY_SELECTS[kind], v) for v in values]
                result = await place.member.select(shown, values, custom_id=custom_id)
            else:
                result = await place.member.click(shown, custom_id=custom_id)
        return self._begun(result)

    async def submit_modal(self, place: Place, interaction_id: str, fields: dict[str, Any]) -> str:
        """Send the modal that an interaction opened; return the new interaction.

        Raises:
            ActionRefused: Discord's client would not send it.
        """
        record = self._model.interactions.get(int(interaction_id))
        if record is None or record.modal is None:
            raise ActionRefused("not_found", "No modal was opened by that interaction.")
        with _as_refusal():
            opened = InteractionResult(self._env, record)
            result = await place.member.submit_modal(opened, fields)
        return self._begun(result)

    def modal_shown(self, interaction_id: int) -> None:
        """Show a member the modal with which a bot answered."""
        record = self._model.interactions[interaction_id]
        event = {
            "event": "modal",
            "interaction_id": str(record.id),
            "modal": self._emulator.complete(record.modal),
        }
        self._tell(record, event)

    def _begun(self, result: InteractionResult) -> str:
        record = result._interaction  # noqa: SLF001 — SimCord shows its id nowhere else
        asyncio.get_running_loop().call_later(_FIRST_RESPONSE_S, self._expire, record)
        return str(record.id)

    def _expire(self, record: Interaction) -> None:
        if not record.responded:
            error = "The application did not respond"
            event = {"event": "failed", "interaction_id": str(record.id), "error": error}
            self._tell(record, event)

    def _tell(self, record: Interaction, event: dict[str, Any]) -> None:
        for feed in self._feeds:
            if (feed.channel_id, feed.member_id) == (record.channel_id, record.user_id):
                feed.queue.put_nowait(event)

    def _command(self, place: Place, name: str, kind: int) -> dict[str, Any]:
        root = self._model.find_command(name, place.guild.id, type=kind)
        if root is None:
            raise ActionRefused("no_command", f"The bot has no command {name!r}.")
        access = command_access(
            self._model, root, user_id=place.member.id, channel_id=place.channel.id
        )
        if not access.allowed:
            raise ActionRefused("forbidden", f"{place.member.name} may not use {name!r} here.")
        return root

    def _visible(self, place: Place, message_id: str) -> Message:
        stored = self._model.messages[place.channel.id].get(int(message_id))
        if stored is None or not stored.visible_to(place.member.id):
            raise ActionRefused("not_found", f"{place.member.name} sees no message {message_id}.")
        return stored

    def _typed_options(
        self, place: Place, name: str, leaf: dict[str, Any], options: dict[str, Any]
    ) -> dict[str, Any]:
        declared = {option["name"]: option for option in leaf.get("options") or []}
        return {
            key: self._typed(place, name, declared[key], value) if key in declared else value
            for key, value in options.items()
        }

    def _typed(self, place: Place, name: str, option: dict[str, Any], value: Any) -> Any:
        if option["type"] in (_USER, _CHANNEL, _ROLE, _MENTIONABLE):
            return self._handle(place, option["type"], str(value))
        if option["type"] in _NUMBERS and isinstance(value, str):
            return parse_option_input(name, option, value)
        return value

    def _handle(self, place: Place, kind: int, ref: str) -> Any:
        guild = self._model.guilds[place.guild.id]
        if kind == _CHANNEL:
            rooms = [self._model.channels[item] for item in guild.channel_ids]
            return ChannelHandle(self._env, place.guild, _find("channel", rooms, ref))
        users = self._people(guild)
        if kind == _ROLE or (kind == _MENTIONABLE and ref not in {str(u.id) for u in users}):
            return RoleHandle(self._env, place.guild, _find("role", guild.roles.values(), ref))
        user = UserHandle(self._env, _find("member", users, ref))
        return MemberActor(self._env, place.guild, user)


def _member(user: User) -> dict[str, Any]:
    return {
        "id": str(user.id),
        "name": user.name,
        "display_name": user.global_name or user.name,
        "bot": user.bot,
    }


def _is(component: dict[str, Any], custom_id: str) -> bool:
    return component.get("custom_id") == custom_id


def _find(kind: str, known: Iterable[Any], ref: str | None) -> Any:
    items = list(known)
    if ref is None and items:
        return items[0]
    for item in items:
        if ref in (str(item.id), item.name):
            return item
    raise ActionRefused("not_found", f"There is no {kind} {ref!r}.")


@contextmanager
def _as_refusal() -> Iterator[None]:
    """Turn what SimCord's actors refuse into one sentence with a code."""
    try:
        yield
    except SetupError as error:
        raise ActionRefused("invalid", f"{error}.") from None
    except BackendError as error:
        code = "not_found" if error.status == 404 else "forbidden"  # noqa: PLR2004 — HTTP's
        raise ActionRefused(code, f"{error.message}.") from None
