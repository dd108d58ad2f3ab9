"""Discord's gateway on the wire: identify, compression, shards, resume."""

import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.server import EMULATOR, GATEWAY, Config, Running, serve

FILM_CLUB, SECOND_UNIT = "1325736142000000000", "1325737000000000000"


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Running]:
    running = await serve(Config(tmp_path, port=0))
    yield running
    await running.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class Socket:
    """One gateway connection of a client that knows no library."""

    def __init__(self, raw: aiohttp.ClientWebSocketResponse, *, compressed: bool) -> None:
        self.raw = raw
        self._inflate = zlib.decompressobj() if compressed else None

    async def receive(self) -> Any:
        message = await self.raw.receive(timeout=5)
        if self._inflate is None:
            return json.loads(message.data)
        return json.loads(self._inflate.decompress(message.data))

    async def send(self, op: int, data: Any) -> None:
        await self.raw.send_json({"op": op, "d": data})

    async def identify(self, token: str, **data: Any) -> dict[str, Any]:
        """Identify and return READY."""
        await self.send(2, {"token": token, "intents": 1, "properties": {}} | data)
        ready: dict[str, Any] = await self.receive()
        return ready

    async def closed_with(self) -> int | None:
        while not self.raw.closed:
            await self.raw.receive(timeout=5)
        return self.raw.close_code


async def connect(http: aiohttp.ClientSession, sandbox: Running, compress: str = "") -> Socket:
    query = {"v": "10", "encoding": "json"} | ({"compress": compress} if compress else {})
    url = f"{sandbox.url.replace('http', 'ws')}/gateway/"
    socket = Socket(await http.ws_connect(url, params=query), compressed=bool(compress))
    hello = await socket.receive()
    assert (hello["op"], hello["d"]["heartbeat_interval"]) == (10, 41250)
    return socket


@pytest.mark.parametrize("compress", ["", "zlib-stream"])
async def test_identify(http: aiohttp.ClientSession, sandbox: Running, compress: str) -> None:
    socket = await connect(http, sandbox, compress)
    await socket.send(1, None)
    assert (await socket.receive())["op"] == 11
    ready = await socket.identify(sandbox.app[EMULATOR].token)
    assert (ready["t"], ready["s"]) == ("READY", 1)
    assert {guild["id"] for guild in ready["d"]["guilds"]} == {FILM_CLUB, SECOND_UNIT}
    assert ready["d"]["resume_gateway_url"].startswith("ws://127.0.0.1:")
    guild = await socket.receive()
    assert guild["t"] == "GUILD_CREATE"
    # Without the members intent a bot is told of itself only.
    assert [member["user"]["username"] for member in guild["d"]["members"]] == ["Dailies"]


@pytest.mark.parametrize(
    ("op", "data", "code"),
    [
        (2, {"token": "wrong", "intents": 1}, 4004),
        (2, {"token": "right", "intents": -1}, 4013),
        (2, {"token": "right", "intents": 1, "shard": [2, 2]}, 4010),
        (8, {}, 4003),
        (2, {"token": "x" * 5000}, 4002),
        (2, {"token": "right", "intents": 1, "shard": "x"}, 4002),
    ],
)
async def test_protocol_errors_close(
    http: aiohttp.ClientSession, sandbox: Running, op: int, data: Any, code: int
) -> None:
    socket = await connect(http, sandbox)
    token = sandbox.app[EMULATOR].token
    await socket.send(op, data | ({"token": token} if data.get("token") == "right" else {}))
    assert await socket.closed_with() == code
    assert not sandbox.app[GATEWAY].is_connected


async def test_a_shard_hears_of_its_guilds_only(
    http: aiohttp.ClientSession, sandbox: Running
) -> None:
    guilds = []
    for shard in range(2):
        socket = await connect(http, sandbox)
        ready = await socket.identify(sandbox.app[EMULATOR].token, shard=[shard, 2])
        guilds.append([guild["id"] for guild in ready["d"]["guilds"]])
    assert guilds == [[SECOND_UNIT], [FILM_CLUB]]


async def test_a_resume_replays_what_was_missed(
    http: aiohttp.ClientSession, sandbox: Running
) -> None:
    emulator, gateway = sandbox.app[EMULATOR], sandbox.app[GATEWAY]
    socket = await connect(http, sandbox)
    ready = await socket.identify(emulator.token, intents=1 | 1 << 9)
    gateway.cut()
    assert await socket.closed_with() == 1006
    assert not gateway.is_connected
    assert gateway.reaches(int(FILM_CLUB))
    channel = emulator.members.place(None, None, None).channel.id
    emulator.model.create_message(channel, int(emulator.bot()["id"]), "missed")
    socket = await connect(http, sandbox)
    session = {"token": emulator.token, "session_id": ready["d"]["session_id"], "seq": 1}
    await socket.send(6, session)
    replayed = [await socket.receive() for _ in range(4)]
    assert [packet["t"] for packet in replayed] == [
        "GUILD_CREATE",
        "GUILD_CREATE",
        "MESSAGE_CREATE",
        "RESUMED",
    ]
    assert [packet["s"] for packet in replayed] == [2, 3, 4, 5]
    assert replayed[2]["d"]["content"] == "missed"


@pytest.mark.parametrize("goodbye", [True, False])
async def test_a_lost_session_is_invalid(
    http: aiohttp.ClientSession, sandbox: Running, *, goodbye: bool
) -> None:
    token = sandbox.app[EMULATOR].token
    session_id = "unknown"
    if goodbye:
        socket = await connect(http, sandbox)
        session_id = (await socket.identify(token))["d"]["session_id"]
        await socket.raw.close(code=1000)
    socket = await connect(http, sandbox)
    await socket.send(6, {"token": token, "session_id": session_id, "seq": 1})
    packet = await socket.receive()
    assert (packet["op"], packet["d"]) == (9, False)
    assert (await socket.identify(token))["t"] == "READY"
