"""Discord's gateway, version 10: sessions, heartbeats, resumes, compression, shards."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import secrets
import time
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any

from aiohttp import WSCloseCode, WSMsgType, web

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sandbox.discord.emulator import Emulator

log = logging.getLogger(__name__)

HEARTBEAT_S = 41.25
_REPLAY = 1000
_LOST_SESSIONS = 8
_MAX_PAYLOAD = 4096
_ALL_INTENTS = (1 << 26) - 1
# A bot that lost its socket a moment ago still gets what happens meanwhile, by its resume.
_GRACE_S = 5.0
_RESUMABLE = (WSCloseCode.OK, WSCloseCode.GOING_AWAY)
_DISPATCH, _HEARTBEAT, _IDENTIFY, _PRESENCE, _VOICE, _RESUME = 0, 1, 2, 3, 4, 6
_ACK_AFTER_S = 0.02
_INVALID, _HELLO, _ACK, _SOUNDS = 9, 10, 11, 31


class _Close(Exception):
    """The client broke the protocol: close with one of Discord's codes."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class _Session:
    """What a bot gets back when it resumes: its sequence, and what it may have missed."""

    def __init__(self, intents: int, shard: tuple[int, int]) -> None:
        self.id = secrets.token_hex(16)
        self.intents = intents
        self.shard = shard
        self.seq = 0
        self.sent: deque[dict[str, Any]] = deque(maxlen=_REPLAY)
        self.connection: _Connection | None = None
        self.lost_at = 0.0

    def takes(self, guild_id: int | None) -> bool:
        """Whether events of this guild belong to this shard; those of no guild go to the first."""
        number, count = self.shard
        return number == (0 if guild_id is None else (guild_id >> 22) % count)

    def dispatch(self, event: str, data: Any) -> None:
        """Number an event, keep it for a resume, and send it if somebody listens."""
        self.seq += 1
        packet = {"op": _DISPATCH, "t": event, "s": self.seq, "d": data}
        self.sent.append(packet)
        if self.connection is not None:
            self.connection.send(packet)

    def missed(self, seq: int) -> list[dict[str, Any]] | None:
        """Return the packets after `seq`; None where they are not kept any more."""
        missed = [packet for packet in self.sent if packet["s"] > seq]
        return missed if seq <= self.seq and len(missed) == self.seq - seq else None


class _Connection:
    """One websocket; a queue keeps the order of what is sent."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.WriteTransport | None,
        pack: Callable[[str], str | bytes],
    ) -> None:
        self.socket = socket
        self.transport = transport
        self.session: _Session | None = None
        self._pack = pack
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def send(self, packet: dict[str, Any]) -> None:
        self._queue.put_nowait(packet)

    def op(self, op: int, data: Any = None) -> None:
        self.send({"op": op, "d": data, "s": None, "t": None})

    async def pump(self) -> None:
        """Send what is queued, until the socket closes."""
        while True:
            packed = self._pack(json.dumps(await self._queue.get()))
            try:
                if isinstance(packed, bytes):
                    await self.socket.send_bytes(packed)
                else:
                    await self.socket.send_str(packed)
            except ConnectionError:
                return


class Gateway:
    """All sessions of all bots (all of one token)."""

    def __init__(self, emulator: Emulator, url: str) -> None:
        self._emulator = emulator
        self._url = url
        self._sessions: dict[str, _Session] = {}
        self._connections: set[_Connection] = set()
        emulator.listen(self._on_event)

    def routes(self) -> list[web.RouteDef]:
        """Return the websocket's routes."""
        return [web.get("/gateway", self._serve), web.get("/gateway/", self._serve)]

    @property
    def is_connected(self) -> bool:
        """Whether a bot has an identified session with an open socket."""
        return any(session.connection is not None for session in self._sessions.values())

    def reaches(self, guild_id: int) -> bool:
        """Whether an interaction in this guild finds a bot: connected, or just about to resume."""
        since = time.monotonic() - _GRACE_S
        return any(
            session.takes(guild_id) and (session.connection is not None or session.lost_at > since)
            for session in self._sessions.values()
        )

    def cut(self) -> None:
        """Break every connection without a word, as a network does."""
        for connection in list(self._connections):
            if connection.transport is not None:
                connection.transport.abort()

    async def close(self) -> None:
        """Close every socket as a server does that goes away."""
        for connection in list(self._connections):
            await connection.socket.close(code=WSCloseCode.GOING_AWAY)

    # --- events ---

    def _on_event(self, event: str, payload: Mapping[str, Any]) -> None:
        guild_id = payload.get("id") if event.startswith("GUILD_") else None
        guild_id = payload.get("guild_id", guild_id)
        for session in self._sessions.values():
            if session.takes(None if guild_id is None else int(guild_id)):
                self._dispatch(session, event, payload)

    def _dispatch(self, session: _Session, event: str, payload: Mapping[str, Any]) -> None:
        seen = self._emulator.render(event, payload, session.intents)
        if seen is not None:
            session.dispatch(event, seen)

    # --- one connection ---

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        if request.query.get("encoding", "json") != "json":
            raise web.HTTPBadRequest(text="Only encoding=json is emulated.")
        pack = _packer(request.query.get("compress"))
        socket = web.WebSocketResponse(compress=False, max_msg_size=1 << 20)
        await socket.prepare(request)
        connection = _Connection(socket, request.transport, pack)
        self._connections.add(connection)
        pump = asyncio.create_task(connection.pump())
        try:
            await self._converse(connection)
        except _Close as close:
            log.warning("gateway closed: %s %s", close.code, close.reason)
            await socket.close(code=close.code, message=close.reason.encode())
        finally:
            pump.cancel()
            self._connections.discard(connection)
            self._lose(connection)
        return socket

    async def _converse(self, connection: _Connection) -> None:
        connection.op(_HELLO, {"heartbeat_interval": int(HEARTBEAT_S * 1000), "_trace": []})
        while True:
            try:
                message = await connection.socket.receive(timeout=HEARTBEAT_S * 1.5)
            except TimeoutError:
                raise _Close(4009, "Session timed out.") from None
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            try:
                self._receive(connection, _decoded(message.data))
            except (AttributeError, KeyError, TypeError, ValueError):
                raise _Close(4002, "Error while decoding payload.") from None

    def _receive(self, connection: _Connection, packet: dict[str, Any]) -> None:
        op, data = packet.get("op"), packet.get("d")
        if op == _HEARTBEAT:
            # Clients note when they sent only after sending: no real answer overtakes that.
            asyncio.get_running_loop().call_later(_ACK_AFTER_S, connection.op, _ACK)
        elif op in (_IDENTIFY, _RESUME):
            if connection.session is not None:
                raise _Close(4005, "Already authenticated.")
            self._open(connection, op, data if isinstance(data, dict) else {})
        elif connection.session is None:
            raise _Close(4003, "Not authenticated.")
        elif op not in (_PRESENCE, _VOICE, _SOUNDS):
            log.error("the gateway's opcode %s is not emulated", op)
            raise _Close(4001, "Unknown opcode.")

    def _open(self, connection: _Connection, op: int, data: dict[str, Any]) -> None:
        if str(data.get("token", "")).removeprefix("Bot ") != self._emulator.token:
            raise _Close(4004, "Authentication failed.")
        if op == _IDENTIFY:
            self._identify(connection, data)
        else:
            self._resume(connection, data)

    def _identify(self, connection: _Connection, data: dict[str, Any]) -> None:
        intents = data.get("intents")
        if not isinstance(intents, int) or not 0 <= intents <= _ALL_INTENTS:
            raise _Close(4013, "Invalid intent(s).")
        number, count = data.get("shard") or (0, 1)
        if not 0 <= number < count:
            raise _Close(4010, "Invalid shard.")
        session = _Session(intents, (number, count))
        self._remember(session)
        session.connection, connection.session = connection, session
        guilds = [g for g in self._emulator.guild_events() if session.takes(int(g["id"]))]
        session.dispatch("READY", self._ready(session, guilds))
        for guild in guilds:
            self._dispatch(session, "GUILD_CREATE", guild)

    def _ready(self, session: _Session, guilds: list[dict[str, Any]]) -> dict[str, Any]:
        me = self._emulator.bot()
        return {
            "v": 10,
            "user": me | {"verified": True, "mfa_enabled": True, "email": None},
            "guilds": [{"id": guild["id"], "unavailable": True} for guild in guilds],
            "session_id": session.id,
            "session_type": "normal",
            "resume_gateway_url": self._url,
            "shard": list(session.shard),
            "application": {"id": me["id"], "flags": 0},
        }

    def _resume(self, connection: _Connection, data: dict[str, Any]) -> None:
        session = self._sessions.get(str(data.get("session_id")))
        missed = None if session is None else session.missed(int(data.get("seq") or 0))
        if session is None or missed is None:
            connection.op(_INVALID, data=False)
            return
        session.connection, connection.session = connection, session
        for packet in missed:
            connection.send(packet)
        session.dispatch("RESUMED", {"_trace": []})

    def _remember(self, session: _Session) -> None:
        lost = [item for item in self._sessions.values() if item.connection is None]
        if len(lost) >= _LOST_SESSIONS:
            del self._sessions[min(lost, key=lambda item: item.lost_at).id]
        self._sessions[session.id] = session

    def _lose(self, connection: _Connection) -> None:
        session = connection.session
        if session is None or session.connection is not connection:
            return
        session.connection, session.lost_at = None, time.monotonic()
        # A bot that says goodbye gives its session up.
        if connection.socket.close_code in _RESUMABLE:
            del self._sessions[session.id]


def _decoded(raw: str | bytes) -> dict[str, Any]:
    if len(raw) > _MAX_PAYLOAD:
        raise _Close(4002, "Payload too large.")
    packet: dict[str, Any] = json.loads(raw)
    return packet


def _packer(compress: str | None) -> Callable[[str], str | bytes]:
    """Return what turns a packet into a frame: one compressor a connection, flushed a packet."""
    if compress is None:
        return lambda text: text
    if compress == "zlib-stream":
        deflate = zlib.compressobj()
        return lambda text: deflate.compress(text.encode()) + deflate.flush(zlib.Z_SYNC_FLUSH)
    if compress == "zstd-stream":
        return _zstd_packer()
    raise web.HTTPBadRequest(text=f"compress={compress} is not emulated.")


def _zstd_packer() -> Callable[[str], bytes]:
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        raise web.HTTPBadRequest(text="The package zstandard is not installed.") from None
    stream = zstandard.ZstdCompressor().compressobj()
    block = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    return lambda text: stream.compress(text.encode()) + stream.flush(block)
