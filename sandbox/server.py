"""One loopback server: Discord, the providers, the control API and the page."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from sandbox.books import Books
from sandbox.control import Control
from sandbox.discord import cdn
from sandbox.discord.emulator import Emulator
from sandbox.discord.gateway import Gateway
from sandbox.discord.rest import Rest
from sandbox.faults import Faults
from sandbox.providers import segmind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.typedefs import Handler, Middleware

_HOST = "127.0.0.1"
_PAGE = Path(__file__).parent / "page"
_SEGMIND_KEY = "sandbox-segmind-key"
_POLL_S = 3.0
_SHORTEST_POLL_S = 0.2
_LARGEST_BODY = 64 * 1024 * 1024
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

EMULATOR = web.AppKey("emulator", Emulator)
GATEWAY = web.AppKey("gateway", Gateway)
BOOKS = web.AppKey("books", Books)


@dataclass(frozen=True)
class Config:
    """What the sandbox is started with.

    Attributes:
        folder: a folder of the sandbox's own, for the files that it serves.
        port: on 127.0.0.1; 0 takes a free one.
        speed: divides the providers' latencies.
        quiet: say only what is wrong with the sandbox itself, not what it refused.
    """

    folder: Path
    port: int = 8090
    speed: float = 10.0
    quiet: bool = False

    @property
    def url(self) -> str:
        """The server's origin."""
        return f"http://{_HOST}:{self.port}"


class Running:
    """A started sandbox."""

    def __init__(self, config: Config, app: web.Application, runner: web.AppRunner) -> None:
        self.url = config.url
        self.app = app
        self._speed = config.speed
        self._runner = runner

    def environment(self) -> dict[str, str]:
        """Return the settings of a bot that works against this sandbox."""
        return {
            "DISCORD_TOKEN": self.app[EMULATOR].token,
            "DISCORD_API_URL": f"{self.url}/api/v10",
            "SEGMIND_API_KEY": _SEGMIND_KEY,
            "SEGMIND_BASE_URL": f"{self.url}/segmind",
            "SEGMIND_UPLOAD_URL": f"{self.url}/segmind/upload-asset",
            "SEGMIND_HISTORY_URL": f"{self.url}/segmind/request-history",
            "DEFAULT_GUILD_CREDITS": "10000",
            "POLL_INTERVAL_S": f"{max(_SHORTEST_POLL_S, _POLL_S / self._speed):g}",
        }

    async def commands_registered(self) -> None:
        """Wait until a bot is connected and has registered commands."""
        gateway, emulator = self.app[GATEWAY], self.app[EMULATOR]
        while not (gateway.is_connected and emulator.has_commands):  # noqa: ASYNC110 — no one event
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Stop serving, whoever still listens."""
        await self._runner.cleanup()


def listen(port: int) -> socket.socket:
    """Take a port of 127.0.0.1, or any free one for 0.

    Raises:
        OSError: the port is taken.
    """
    return socket.create_server((_HOST, port))


async def serve(config: Config, listener: socket.socket | None = None) -> Running:
    """Start the sandbox, on `listener` if its port is taken already.

    Raises:
        OSError: the port or the folder cannot be used.
    """
    listener = listener or listen(config.port)
    config = replace(config, port=listener.getsockname()[1])
    app = build_app(config)
    # No access log: addresses carry interaction tokens.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return Running(config, app, runner)


def build_app(config: Config) -> web.Application:
    """Compose the sandbox; `config.port` must be the port that it will be served on."""
    if config.quiet:
        logging.getLogger("sandbox").setLevel(logging.ERROR)
    books, faults = Books(), Faults()
    emulator = Emulator(config.folder / "cdn", books, config.url)
    gateway = Gateway(emulator, f"ws://{_HOST}:{config.port}/gateway")
    provider = segmind.EmulatedSegmind(
        books, config.speed, config.folder / "segmind", f"{config.url}/segmind", _SEGMIND_KEY
    )
    app = web.Application(
        middlewares=[_guard(config.port), faults.middleware], client_max_size=_LARGEST_BODY
    )
    app[EMULATOR], app[GATEWAY], app[BOOKS] = emulator, gateway, books
    app.add_routes(Rest(emulator, f"ws://{_HOST}:{config.port}/gateway").routes())
    app.add_routes(gateway.routes())
    app.add_routes(cdn.routes(emulator.attachments))
    app.add_routes(Control(emulator, gateway, books, faults, config.speed).routes())
    app.add_routes(segmind.routes(provider))
    app.router.add_get("/{path:.*}", _page)

    async def hang_up(_: web.Application) -> None:
        emulator.members.close()
        await gateway.close()

    async def provider_life(_: web.Application) -> AsyncIterator[None]:
        yield
        await provider.close()

    app.on_shutdown.append(hang_up)
    app.cleanup_ctx.append(provider_life)
    return app


def _guard(port: int) -> Middleware:
    """Refuse other sites' pages: by name (DNS rebinding), and by origin where something changes."""
    hosts = {f"{_HOST}:{port}", f"localhost:{port}"}
    origins = {f"http://{host}" for host in hosts}

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers.get("Host") not in hosts:
            raise web.HTTPMisdirectedRequest(text="This sandbox answers on loopback only.")
        changes = request.path.startswith("/sandbox/") and request.method not in ("GET", "HEAD")
        if changes and request.headers.get("Origin", next(iter(origins))) not in origins:
            raise web.HTTPForbidden(text="The sandbox takes orders from its own page only.")
        return await handler(request)

    return guard


async def _page(request: web.Request) -> web.StreamResponse:
    file = (_PAGE / (request.match_info["path"] or "index.html")).resolve()
    if not (file.is_relative_to(_PAGE.resolve()) and file.is_file()):
        raise web.HTTPNotFound(headers=_PAGE_HEADERS)
    return web.FileResponse(file, headers=_PAGE_HEADERS)
