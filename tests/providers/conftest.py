"""A provider made of a script: a real HTTP server that answers what a test lays out."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from providers.segmind import Segmind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

KEY = "SG_0123456789abcdef"
HTML = "<!doctype html><title>Just a moment…</title><h1>Checking your browser</h1>"


@dataclass(frozen=True)
class Seen:
    """One request as it reached the server."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)


@dataclass
class Script:
    """The server. A path's answers are given in turn, its last one for ever."""

    origin: str = ""
    seen: list[Seen] = field(default_factory=list)
    _answers: dict[str, deque[Answer]] = field(default_factory=lambda: defaultdict(deque))

    def answers(self, path: str, *answers: Answer) -> None:
        self._answers[path].extend(answers)

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.seen]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append(
            Seen(request.method, request.path, dict(request.query), request.headers, body)
        )
        answers = self._answers[request.path]
        answer = answers.popleft() if len(answers) > 1 else answers[0]
        return await answer(request)


def reply(status: int = 200, body: object = "", headers: Mapping[str, str] = {}) -> Answer:
    """Answer with JSON; a text goes out as it is, as HTML where it begins like it."""

    async def answer(_: web.Request) -> web.Response:
        if isinstance(body, str):
            kind = "text/html" if body.startswith("<") else "text/plain"
            return web.Response(status=status, text=body, content_type=kind, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    return answer


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Lose the connection after the request has arrived."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hang_up_in_the_middle(request: web.Request) -> web.StreamResponse:
    """Announce a whole answer and lose the connection after half of it."""
    half = web.StreamResponse(headers={"Content-Length": "100"})
    await half.prepare(request)
    await half.write(b'{"request_id": "r1"')
    return await hang_up(request)


async def say_nothing(_: web.Request) -> web.StreamResponse:
    """Answer later than anybody waits."""
    await asyncio.sleep(3600)
    return web.Response()


async def drip(request: web.Request) -> web.StreamResponse:
    """Send a byte now and then, so that the connection is never silent for long."""
    dripping = web.StreamResponse()
    await dripping.prepare(request)
    while True:
        await dripping.write(b" ")
        await asyncio.sleep(0.02)


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    script = Script()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    script.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield script
    await runner.cleanup()


@asynccontextmanager
async def segmind_at(origin: str, submit_limit_s: float = 10) -> AsyncIterator[Segmind]:
    async with Segmind(
        KEY,
        base_url=origin,
        upload_url=f"{origin}/upload-asset",
        history_url=f"{origin}/request-history",
        submit_limit_s=submit_limit_s,
    ) as segmind:
        yield segmind


@pytest.fixture
async def segmind(script: Script) -> AsyncIterator[Segmind]:
    async with segmind_at(script.origin) as opened:
        yield opened
