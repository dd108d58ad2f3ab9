"""What takes Discord too long: real discord.py over a real wire to a server that dawdles."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import discord
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from discord.http import Route

from cogs._calls import Calls
from cogs._delivery import DiscordMessenger
from core.errors import ChannelGone, DeliveryFailed
from core.jobs import Job, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ME = {"id": "1", "username": "dailies", "avatar": None, "discriminator": "0"}
APPLICATION = {
    "id": "1",
    "name": "dailies",
    "icon": None,
    "description": "",
    "verify_key": "x",
    "owner": ME,
    "bot_public": True,
    "bot_require_code_grant": False,
    "flags": 0,
}
MESSAGE = {
    "id": "77",
    "channel_id": "22",
    "type": 0,
    "content": "",
    "author": ME,
    "attachments": [],
    "embeds": [],
    "mentions": [],
    "mention_roles": [],
    "mention_everyone": False,
    "timestamp": "2026-01-01T00:00:00+00:00",
    "edited_timestamp": None,
    "tts": False,
    "pinned": False,
}

MakeJob = Callable[..., Job]


class SlowDiscord:
    """Takes messages at once and answers when its door is open.

    Attributes:
        rate_limit_s: if set, the next message meets a global rate limit of so many seconds.
    """

    def __init__(self) -> None:
        self.door = asyncio.Event()
        self.rate_limit_s = 0.0
        self.methods: list[str] = []

    async def message(self, request: web.Request) -> web.Response:
        self.methods.append(request.method)
        await request.read()
        if self.rate_limit_s:
            limit = {"message": "slow down", "retry_after": self.rate_limit_s, "global": True}
            self.rate_limit_s = 0.0
            return plain_json(limit, status=429)
        await self.door.wait()
        return plain_json([] if request.method == "GET" else MESSAGE)

    async def called(self) -> None:
        while not self.methods:
            await asyncio.sleep(0.01)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/users/@me", me)
        app.router.add_get("/oauth2/applications/@me", application)
        app.router.add_route("*", "/channels/{path:.*}", self.message)
        return app


async def me(_request: web.Request) -> web.Response:
    return plain_json(ME)


async def application(_request: web.Request) -> web.Response:
    return plain_json(APPLICATION)


def plain_json(payload: object, status: int = 200) -> web.Response:
    """discord.py wants this content type without a charset, and a Via beside a 429."""
    headers = {"Content-Type": "application/json", "Via": "1.1 google"}
    return web.Response(body=json.dumps(payload).encode(), status=status, headers=headers)


@pytest.fixture
async def slow() -> SlowDiscord:
    return SlowDiscord()


@pytest.fixture
async def client(
    slow: SlowDiscord, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[discord.Client]:
    async with TestServer(slow.app()) as server:
        monkeypatch.setattr(Route, "BASE", str(server.make_url("")).rstrip("/"))
        async with discord.Client(intents=discord.Intents.none()) as client:
            await client.login("x")
            yield client
            slow.door.set()


@pytest.fixture
def messenger(client: discord.Client) -> DiscordMessenger:
    return DiscordMessenger(client, usual_wait_s=52.0, limit_s=0.2)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"\0\0\0\x18ftypmp42 and so on")
    return file


async def test_giving_up_in_a_global_rate_limit_does_not_silence_the_bot(
    slow: SlowDiscord, client: discord.Client, messenger: DiscordMessenger, make_job: MakeJob
) -> None:
    slow.door.set()
    slow.rate_limit_s = 0.5
    await messenger.show(make_job(placeholder_id=77))
    assert len(slow.methods) == 1
    await DiscordMessenger(client, 52.0, limit_s=5.0).tell(make_job(placeholder_id=77))
    assert len(slow.methods) == 3


async def test_a_post_that_was_given_up_is_not_made_again(
    slow: SlowDiscord, messenger: DiscordMessenger, make_job: MakeJob, clip: Path
) -> None:
    job = make_job()
    for _ in range(2):
        with pytest.raises(DeliveryFailed):
            await messenger.post(job, clip)
    with pytest.raises(DeliveryFailed):
        await messenger.find_post(job)
    slow.door.set()
    assert await messenger.post(job, clip) == 77
    assert slow.methods == ["POST"]


@pytest.mark.parametrize("arrives_before_the_search", [True, False])
async def test_a_post_that_was_given_up_is_found_however_late_it_arrives(
    slow: SlowDiscord,
    messenger: DiscordMessenger,
    make_job: MakeJob,
    clip: Path,
    arrives_before_the_search: bool,  # noqa: FBT001 — a parameter of pytest's
) -> None:
    job = make_job()
    with pytest.raises(DeliveryFailed):
        await messenger.post(job, clip)
    slow.door.set()
    if arrives_before_the_search:
        await asyncio.sleep(0.1)
    assert await messenger.find_post(job) == 77
    assert slow.methods == ["POST"]


async def test_a_post_goes_on_when_the_worker_stops(
    slow: SlowDiscord, messenger: DiscordMessenger, make_job: MakeJob, clip: Path
) -> None:
    job = make_job()
    step = asyncio.create_task(messenger.post(job, clip))
    await slow.called()
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    slow.door.set()
    assert await messenger.find_post(job) == 77


async def test_an_end_is_told_once_however_often_it_is_tried(
    slow: SlowDiscord, messenger: DiscordMessenger, make_job: MakeJob
) -> None:
    job = make_job(state=State.CANCELLED, captured=0)
    with pytest.raises(DeliveryFailed):
        await messenger.tell(job)
    slow.door.set()
    await messenger.tell(job)
    assert slow.methods == ["POST"]


async def test_a_call_waits_for_the_one_before_it() -> None:
    calls, door, done = Calls(limit_s=0.05), asyncio.Event(), list[str]()

    async def old() -> None:
        await door.wait()
        done.append("old")

    async def new() -> None:
        done.append("new")

    for call in (old, new):
        with pytest.raises(DeliveryFailed):
            await calls.make("edit", call)
    await calls.make("another edit", new)
    door.set()
    await asyncio.gather(calls.make("edit", new), calls.make("edit", new))
    assert done == ["new", "old", "new", "new"]


async def test_a_call_that_failed_after_it_was_given_up_is_made_again() -> None:
    calls, door = Calls(limit_s=0.05), asyncio.Event()

    async def refused() -> int:
        await door.wait()
        raise ChannelGone

    async def sent() -> int:
        return 77

    with pytest.raises(DeliveryFailed):
        await calls.join_or_make("post", refused)
    door.set()
    assert await calls.join_or_make("post", sent) == 77


async def test_what_took_too_long_counts_when_it_succeeds() -> None:
    """A slow search must end some day, not begin anew each time."""
    calls, made = Calls(limit_s=0.05), 0

    async def search() -> int | None:
        nonlocal made
        made += 1
        await asyncio.sleep(0.12)
        return None

    with pytest.raises(DeliveryFailed):
        await calls.join_or_make("search", search)
    with pytest.raises(DeliveryFailed):
        await calls.join_or_make("search", search)
    assert await calls.join_or_make("search", search) is None
    assert made == 1
