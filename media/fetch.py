"""The one guarded fetcher: every download whose address came from outside goes through it."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO, Self

import aiohttp

from core.errors import FetchFailed, FetchForbidden, FetchGone, FetchTooLarge
from media._addresses import AddressRules, CheckedResolver, parse
from media._files import part_beside, publish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp.abc import AbstractResolver
    from yarl import URL

REDIRECTS_MAX = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
GONE = frozenset({401, 403, 404, 410})
OK = 200
BYTES_PER_S_MIN = 10_000


class GuardedFetcher:
    """Downloads files from addresses that strangers chose.

    Everything is https on port 443 at public addresses, except exactly the `loopback_origins`
    (such as "http://127.0.0.1:8090"). Close it, or use it as an async context manager.

    Args:
        loopback_origins: origins on this machine that may be fetched.
        resolver: what looks names up; the system's by default. Its answers are checked.
        floor_window_s: seconds over which a body must come at 10 kB/s at least.
    """

    def __init__(
        self,
        *,
        loopback_origins: frozenset[str] = frozenset(),
        resolver: AbstractResolver | None = None,
        floor_window_s: float = 10.0,
    ) -> None:
        self._rules = AddressRules(loopback_origins)
        self._resolver = resolver
        self._floor_window_s = floor_window_s
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def fetch(
        self,
        url: str,
        to: Path,
        *,
        max_bytes: int,
        timeout_s: float,
        hosts: frozenset[str] | None = None,
    ) -> None:
        """Download `url` to the file `to`, which appears whole or not at all.

        The errors' texts name the host at most: the rest of a URL may hold a signature.

        Args:
            url: where from; up to three redirects are followed, each checked like the first.
            to: where to, in a folder that exists.
            max_bytes: cap on the body.
            timeout_s: seconds for everything together.
            hosts: if given, the only host names (lower case) besides the loopback origins.

        Raises:
            FetchForbidden: the address, or one that it leads to, is none that we fetch from.
            FetchTooLarge: the body is larger than the cap.
            FetchGone: the server answered 401, 403, 404 or 410.
            FetchFailed: everything else; may be tried again.
        """
        start = parse(url)
        try:
            async with asyncio.timeout(timeout_s), self._open(start, hosts) as response:
                _check_answer(response, max_bytes)
                await self._save(response, to, max_bytes)
        except (aiohttp.ClientError, OSError) as error:
            # Without its text and cause: aiohttp's hold the full URL. Time-outs are OSErrors too.
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise FetchFailed(f"{reason} ({start.raw_host})") from None

    @asynccontextmanager
    async def _open(
        self, url: URL, hosts: frozenset[str] | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        for _ in range(REDIRECTS_MAX + 1):
            self._rules.check_url(url, hosts)
            async with self._session().get(url, allow_redirects=False) as response:
                if response.status not in REDIRECTS:
                    yield response
                    return
                url = _redirect(url, response.headers.get("Location", ""))
        raise FetchFailed(f"more than {REDIRECTS_MAX} redirects from {url.raw_host}")

    async def _save(self, response: aiohttp.ClientResponse, to: Path, max_bytes: int) -> None:
        with part_beside(to) as part:
            with part.open("xb") as file:
                await self._copy(response.content, file, max_bytes)
            await asyncio.to_thread(publish, part, to)

    async def _copy(self, body: aiohttp.StreamReader, file: BinaryIO, max_bytes: int) -> None:
        floor = _Floor(self._floor_window_s)
        received = 0
        async for chunk in body.iter_any():
            received += len(chunk)
            if received > max_bytes:
                raise FetchTooLarge(f"more than {max_bytes} bytes")
            floor.check(len(chunk))
            file.write(chunk)

    def _session(self) -> aiohttp.ClientSession:
        """Open the session at its first use, when a loop is sure to run."""
        if self._opened is None:
            connector = aiohttp.TCPConnector(
                resolver=CheckedResolver(self._resolver or aiohttp.ThreadedResolver(), self._rules),
                socket_factory=self._rules.open_socket,
                use_dns_cache=False,
            )
            self._opened = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_read=self._floor_window_s),
            )
        return self._opened


class _Floor:
    """Ends a body that drips: one byte now and then would satisfy every read's own time limit."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._since_s = time.monotonic()
        self._bytes = 0

    def check(self, size: int) -> None:
        self._bytes += size
        passed_s = time.monotonic() - self._since_s
        if passed_s < self._window_s:
            return
        if self._bytes < BYTES_PER_S_MIN * passed_s:
            raise FetchFailed(f"slower than {BYTES_PER_S_MIN} bytes per second")
        self._since_s, self._bytes = time.monotonic(), 0


def _check_answer(response: aiohttp.ClientResponse, max_bytes: int) -> None:
    if response.status in GONE:
        raise FetchGone(f"HTTP {response.status} from {response.url.raw_host}")
    if response.status != OK:
        raise FetchFailed(f"HTTP {response.status} from {response.url.raw_host}")
    if (response.content_length or 0) > max_bytes:
        raise FetchTooLarge(f"more than {max_bytes} bytes")


def _redirect(url: URL, location: str) -> URL:
    target = parse(location, base=url)
    if url.scheme == "https" and target.scheme != "https":
        raise FetchForbidden("a redirect leads from https to http")
    return target
