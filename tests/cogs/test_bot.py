"""The bot as a whole: its commands at Discord, and what members read when it fails."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from discord.gateway import DiscordWebSocket
from simcord import assert_error
from simcord.http import router
from sqlalchemy.exc import OperationalError

from cogs._bot import DailiesBot, cog_names
from core.errors import EmptyPrompt

if TYPE_CHECKING:
    from simcord import ChannelHandle, Env, InteractionResult, MemberActor
    from simcord.backend import Backend
    from sqlalchemy import Connection

    from storage.database import Database
    from tests.cogs.conftest import Order, Restart

Break = Callable[[str], Awaitable[None]]
Cut = Callable[[int], None]


@pytest.fixture
def lose_table(database: Database) -> Break:
    """Return what makes every later statement on a table fail."""

    def rename(connection: Connection, name: str) -> None:
        connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO lost")

    async def lose(name: str) -> None:
        await database.transaction(rename, name)

    return lose


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Cut:
    """Return what lets a connection break behind each of the next requests of an interaction."""
    whole = router.dispatch
    left = 0

    def cutting(backend: Backend, method: str, path: str, **request: Any) -> Any:
        nonlocal left
        reply = whole(backend, method, path, **request)
        if left and path.startswith(("/interactions/", "/webhooks/")):
            left -= 1
            raise aiohttp.ServerDisconnectedError
        return reply

    def start(count: int) -> None:
        nonlocal left
        left = count

    monkeypatch.setattr(router, "dispatch", cutting)
    return start


def registrations(env: Env) -> int:
    return sum(request.method == "PUT" for request in env.http_requests)


def reference(result: InteractionResult) -> str:
    """Return the reference in an answer that tells of a fault and gives nothing else away."""
    assert result.response is not None
    [card] = result.response.embeds
    words = str(card.description)
    assert not re.search("sqlite|no such table|Error|Traceback", words)
    [found] = re.findall(r"the reference `([0-9a-f]{8})`", words)
    return str(found)


def test_every_public_file_is_a_cog() -> None:
    assert cog_names() == ["budget", "video"]


def test_the_bot_asks_its_discord_for_the_gateway(simcord_env: Env) -> None:
    assert simcord_env.bot.is_ready()
    assert str(DiscordWebSocket.DEFAULT_GATEWAY) == "wss://gateway.simcord.invalid"


async def test_commands_are_registered_once(simcord_env: Env, restart: Restart) -> None:
    assert registrations(simcord_env) == 1
    await restart()
    assert registrations(simcord_env) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [("description", "Something older"), ("options", []), ("default_member_permissions", "8")],
)
async def test_commands_are_registered_again_when_discord_has_others(
    simcord_env: Env, restart: Restart, key: str, value: object
) -> None:
    command = simcord_env.backend.find_command("video", None)
    assert command is not None
    command[key] = value
    await restart()
    assert registrations(simcord_env) == 2


async def test_commands_can_be_registered_whatever_discord_has(simcord_env: Env) -> None:
    assert isinstance(simcord_env.bot, DailiesBot)
    assert not await simcord_env.bot.register_commands()
    assert await simcord_env.bot.register_commands(force=True)
    assert registrations(simcord_env) == 2


async def test_a_fault_in_a_command_is_told_with_the_reference_in_the_log(
    simcord_env: Env,
    alice: MemberActor,
    channel: ChannelHandle,
    lose_table: Break,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await lose_table("accounts")
    result = await alice.slash(channel, "budget")
    assert result.ephemeral
    [record] = [record for record in caplog.records if record.name == "cogs._errors"]
    assert reference(result) in record.getMessage()
    assert record.exc_info is not None
    assert_error(simcord_env, OperationalError)


async def test_a_fault_after_the_acknowledgement_replaces_the_placeholder(
    simcord_env: Env, alice: MemberActor, channel: ChannelHandle, lose_table: Break
) -> None:
    await lose_table("jobs")
    result = await alice.slash(channel, "video", prompt="a red fox")
    assert reference(result)
    assert len(channel.history()) == 1
    assert_error(simcord_env, OperationalError)


async def test_a_fault_behind_a_button_is_told_too(
    order: Order, alice: MemberActor, channel: ChannelHandle, lose_table: Break
) -> None:
    await order()
    await lose_table("jobs")
    result = await alice.click(channel.history()[0], label="Cancel")
    assert result.ephemeral
    assert reference(result)


@pytest.mark.usefixtures("repeat_answers")
async def test_a_button_whose_acknowledgement_is_said_twice_works(
    order: Order, alice: MemberActor, channel: ChannelHandle
) -> None:
    await order()
    result = await alice.click(channel.history()[0], label="Cancel")
    assert result.response is not None
    assert result.response.content == "Cancelled. Nothing was charged."


@pytest.mark.parametrize("command", ["budget", "video"])
async def test_a_member_is_not_left_with_an_acknowledgement_that_broke_off(
    simcord_env: Env, alice: MemberActor, channel: ChannelHandle, cut: Cut, command: str
) -> None:
    cut(1)
    options = {"prompt": "a red fox"} if command == "video" else {}
    assert reference(await alice.slash(channel, command, **options))
    assert_error(simcord_env, aiohttp.ServerDisconnectedError)


async def test_an_error_that_cannot_be_told_is_logged(
    simcord_env: Env,
    alice: MemberActor,
    channel: ChannelHandle,
    cut: Cut,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cut(2)
    await alice.slash(channel, "video", prompt=" ")
    assert "an error could not be told: Server disconnected" in caplog.text
    assert_error(simcord_env, EmptyPrompt)
