"""The HTTP server: for now its health, for container platforms and monitors."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping


@asynccontextmanager
async def serving(bind: str, checks: Mapping[str, Callable[[], bool]]) -> AsyncIterator[None]:
    """Serve on `host:port` while the context is open; an empty `bind` serves nothing.

    Raises:
        OSError: the address is taken or is none of this machine.
    """
    if not bind:
        yield
        return
    app = web.Application()
    app.router.add_get("/healthz", _health(checks))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        host, _, port = bind.rpartition(":")
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        yield
    finally:
        await runner.cleanup()


def _health(
    checks: Mapping[str, Callable[[], bool]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """200 when every part is well, 503 otherwise; the body says which is not."""

    async def health(_request: web.Request) -> web.Response:
        results = {name: check() for name, check in checks.items()}
        return web.json_response(results, status=200 if all(results.values()) else 503)

    return health
