"""The fetcher against a real server on loopback, and against addresses made to trick it."""

from __future__ import annotations

import asyncio
import gzip
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from core.errors import FetchFailed, FetchForbidden, FetchGone, FetchTooLarge
from media._addresses import AddressRules, is_public
from media.fetch import GuardedFetcher, _redirect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CAP = 1_000_000


@dataclass
class Site:
    """A server on a port of its own; counts what reached it."""

    origin: str = ""
    pages: dict[str, Handler] = field(default_factory=dict)
    hits: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.hits.append(request.raw_path)
        self.headers.append(dict(request.headers))
        return await self.pages[request.path](request)

    def answer(self, path: str, **response: object) -> str:
        async def handler(_: web.Request) -> web.StreamResponse:
            return web.Response(**response)  # type: ignore[arg-type]  # the tests spell it right

        self.pages[path] = handler
        return self.origin + path

    def redirect(self, path: str, to: str) -> str:
        return self.answer(path, status=302, headers={"Location": to})


async def serve() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_get("/{path:.*}", site.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    site.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield site
    await runner.cleanup()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async for started in serve():
        yield started


@pytest.fixture
async def inner_site() -> AsyncIterator[Site]:
    """What must never be reached: a server on loopback that no setting names."""
    async for started in serve():
        yield started


@pytest.fixture
async def fetcher(site: Site) -> AsyncIterator[GuardedFetcher]:
    origins = frozenset({site.origin})
    async with GuardedFetcher(loopback_origins=origins, floor_window_s=0.3) as opened:
        yield opened


async def get(fetcher: GuardedFetcher, url: str, to: Path, *, timeout_s: float = 5) -> None:
    await fetcher.fetch(url, to, max_bytes=CAP, timeout_s=timeout_s)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def nothing_in(folder: Path) -> bool:
    return not names_in(folder)


@asynccontextmanager
async def answering(raw: bytes) -> AsyncIterator[str]:
    """A server that sends these bytes whatever it is asked, and hangs up; its origin."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def named(origin: str) -> GuardedFetcher:
    return GuardedFetcher(loopback_origins=frozenset({origin}))


# --- What works. ---


async def test_a_file_arrives_whole(fetcher: GuardedFetcher, site: Site, tmp_path: Path) -> None:
    url = site.answer("/clip", body=b"x" * CAP)
    await get(fetcher, url + "?sig=a%2Fb%20c", tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == b"x" * CAP
    assert names_in(tmp_path) == ["clip.mp4"]
    assert site.hits == ["/clip?sig=a%2Fb%20c"]  # A signed URL is sent as it came.


async def test_three_redirects_are_followed(
    fetcher: GuardedFetcher, site: Site, tmp_path: Path
) -> None:
    site.answer("/3", body=b"here")
    url = site.redirect("/0", "/1")
    site.redirect("/1", "2")
    site.redirect("/2", site.origin + "/3")
    await get(fetcher, url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"here"
    assert site.hits == ["/0", "/1", "/2", "/3"]


async def test_a_file_of_that_name_is_replaced(
    fetcher: GuardedFetcher, site: Site, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"old and longer")
    await get(fetcher, site.answer("/", body=b"new"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"new"


async def test_a_gzip_bomb_stays_folded(
    fetcher: GuardedFetcher, site: Site, tmp_path: Path
) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    url = site.answer("/", body=bomb, headers={"Content-Encoding": "gzip"})
    await get(fetcher, url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == bomb
    assert site.headers[0]["Accept-Encoding"] == "identity"


async def test_loopback_by_name_works_where_it_is_named(site: Site, tmp_path: Path) -> None:
    origin = site.origin.replace("127.0.0.1", "localhost")
    site.answer("/", body=b"here")
    async with named(origin) as fetcher:
        await get(fetcher, origin + "/", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"here"


# --- What the server may do to us. ---


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_gone(fetcher: GuardedFetcher, site: Site, tmp_path: Path, status: int) -> None:
    with pytest.raises(FetchGone, match=str(status)):
        await get(fetcher, site.answer("/", status=status), tmp_path / "file")
    assert nothing_in(tmp_path)


@pytest.mark.parametrize("status", [204, 206, 304, 429, 500, 503])
async def test_failed(fetcher: GuardedFetcher, site: Site, tmp_path: Path, status: int) -> None:
    with pytest.raises(FetchFailed, match=str(status)):
        await get(fetcher, site.answer("/", status=status), tmp_path / "file")
    assert nothing_in(tmp_path)


async def test_an_announced_length_over_the_cap_is_refused(
    fetcher: GuardedFetcher, site: Site, tmp_path: Path
) -> None:
    with pytest.raises(FetchTooLarge):
        await get(fetcher, site.answer("/", body=bytes(CAP + 1)), tmp_path / "file")
    assert nothing_in(tmp_path)


async def test_a_giant_is_refused_by_its_length_alone(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"
    async with answering(answer) as origin, named(origin) as fetcher:
        with pytest.raises(FetchTooLarge):
            await get(fetcher, origin, tmp_path / "file")


async def test_an_endless_body_is_cut_at_the_cap(
    fetcher: GuardedFetcher, site: Site, tmp_path: Path
) -> None:
    sent = 0

    async def pour(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(100_000))
            sent += 100_000

    site.pages["/"] = pour
    with pytest.raises(FetchTooLarge):
        await get(fetcher, site.origin + "/", tmp_path / "file")
    assert nothing_in(tmp_path)
    assert sent < 20 * CAP  # What the sockets' buffers hold, not what it had to give.


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 50)
        await asyncio.sleep(0.05)


async def stall(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await asyncio.sleep(60)
    return response


@pytest.mark.parametrize("page", [drip, stall])
async def test_a_slow_body_is_given_up(
    fetcher: GuardedFetcher, site: Site, tmp_path: Path, page: Handler
) -> None:
    site.pages["/"] = page
    async with asyncio.timeout(3):
        with pytest.raises(FetchFailed):
            await get(fetcher, site.origin + "/", tmp_path / "file", timeout_s=60)
    assert nothing_in(tmp_path)


async def test_the_deadline_holds_for_everything_together(
    fetcher: GuardedFetcher, site: Site, tmp_path: Path
) -> None:
    async def slowly_around(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        raise web.HTTPFound("/")

    site.pages["/"] = slowly_around
    with pytest.raises(FetchFailed, match="TimeoutError"):
        await get(fetcher, site.origin + "/", tmp_path / "file", timeout_s=0.5)


RAW = {
    "short of its length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
    "short of its end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "no http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "hangs up": b"",
}


@pytest.mark.parametrize("answer", RAW.values(), ids=RAW.keys())
async def test_a_broken_answer_fails(tmp_path: Path, answer: bytes) -> None:
    async with answering(answer) as origin, named(origin) as fetcher:
        with pytest.raises(FetchFailed) as caught:
            await get(fetcher, origin + "/?signature=secret", tmp_path / "file")
    assert nothing_in(tmp_path)
    assert "secret" not in str(caught.value)


async def test_nobody_listening_fails(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with named(origin) as fetcher:
            with pytest.raises(FetchFailed, match="Connect call failed"):
                await get(fetcher, origin, tmp_path / "file")


async def test_a_cancelled_fetch_leaves_no_part(
    fetcher: GuardedFetcher, site: Site, tmp_path: Path
) -> None:
    site.pages["/"] = drip
    task = asyncio.create_task(get(fetcher, site.origin + "/", tmp_path / "file"))
    while nothing_in(tmp_path):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert nothing_in(tmp_path)


# --- Where it must not go. ---

FORBIDDEN = [
    "http://example.com/",
    "https://example.com:8443/",
    "https://example.com:80/",
    "http://example.com:443/",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://@example.com/",
    "file:///etc/passwd",
    "ftp://example.com/",
    "data:text/plain,x",
    "//example.com/",
    "example.com",
    "",
    "https://",
    "https:///x",
    "https://:443/",
    "https://example.com:99999/",
    "https://example.com:/x y",
    "https://example.com\\@127.0.0.1/",
    "https://ex\r\nample.com/",
    "https://exämple.com/",
    "https://127%2e0.0.1/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://0/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://127.0.0.1./",
    "https://16843009/",  # 1.1.1.1 as a number: public, but no form that is needed.
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.64.0.1/",
    "https://0.0.0.0/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:8.8.8.8]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:1:2::]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[2606:4700::1%25eth0]/",
    "https://[fc00::1]/",
    "https://[ff02::1]/",
    "http://localhost/",
    "http://127.0.0.1:1/",
]


@pytest.mark.parametrize("url", FORBIDDEN)
async def test_a_forbidden_address_is_refused(
    fetcher: GuardedFetcher, tmp_path: Path, url: str
) -> None:
    with pytest.raises(FetchForbidden):
        await get(fetcher, url, tmp_path / "file", timeout_s=1)
    assert nothing_in(tmp_path)


# Without those that are a relative path or a relative host, and what no header can hold.
TARGETS = [url for url in FORBIDDEN if ":" in url and "\r" not in url]


@pytest.mark.parametrize("url", TARGETS)
async def test_a_redirect_to_a_forbidden_address_is_refused(
    fetcher: GuardedFetcher, site: Site, tmp_path: Path, url: str
) -> None:
    with pytest.raises(FetchForbidden):
        await get(fetcher, site.redirect("/", url), tmp_path / "file", timeout_s=1)
    assert len(site.hits) == 1


async def test_only_the_named_origin_of_loopback_is_fetched(
    fetcher: GuardedFetcher, site: Site, inner_site: Site, tmp_path: Path
) -> None:
    port = URL(site.origin).port
    inwards = [
        inner_site.answer("/"),
        f"http://localhost:{port}/",
        f"http://user@127.0.0.1:{port}/",
        f"https://127.0.0.1:{port}/",
        site.redirect("/away", inner_site.origin + "/"),
    ]
    for url in inwards:
        with pytest.raises(FetchForbidden):
            await get(fetcher, url, tmp_path / "file")
    assert inner_site.hits == []
    assert site.hits == ["/away"]


async def test_a_redirect_loop_ends(fetcher: GuardedFetcher, site: Site, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="3 redirects"):
        await get(fetcher, site.redirect("/", "/"), tmp_path / "file")
    assert len(site.hits) == 4


async def test_hosts_restrict_the_address_and_its_redirects(
    fetcher: GuardedFetcher, site: Site, tmp_path: Path
) -> None:
    hosts = frozenset({"cdn.discordapp.com"})
    for url in ("https://example.com/", site.redirect("/", "https://example.com/")):
        with pytest.raises(FetchForbidden, match="host"):
            await fetcher.fetch(url, tmp_path / "file", max_bytes=1, timeout_s=1, hosts=hosts)
    AddressRules(frozenset()).check_url(URL("https://CDN.discordapp.com/x"), hosts)


def test_a_redirect_never_leads_from_https_to_http() -> None:
    secure = URL("https://example.com/a")
    with pytest.raises(FetchForbidden):
        _redirect(secure, "http://127.0.0.1:8090/")
    assert str(_redirect(secure, "/b?c=%2F")) == "https://example.com/b?c=%2F"


def test_errors_do_not_quote_the_address() -> None:
    with pytest.raises(FetchForbidden) as caught:
        AddressRules(frozenset()).check_url(URL("http://example.com/?signature=secret"), None)
    assert "secret" not in str(caught.value)


# --- Names that lead inwards. ---


class Liar(AbstractResolver):
    """A name server that gives another answer each time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in found
        ]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "answer",
    [["127.0.0.1"], ["::1"], ["::ffff:10.0.0.1"], ["169.254.169.254"], ["1.1.1.1", "10.0.0.1"]],
)
async def test_a_name_that_resolves_inwards_is_refused(tmp_path: Path, answer: list[str]) -> None:
    async with GuardedFetcher(resolver=Liar(answer)) as fetcher:
        with pytest.raises(FetchForbidden, match=r"rebind\.example leads"):
            await get(fetcher, "https://rebind.example/", tmp_path / "file")


async def test_another_name_for_a_named_loopback_port_is_refused(
    site: Site, tmp_path: Path
) -> None:
    site.answer("/", body=b"here")
    origin = site.origin.replace("127.0.0.1", "one.example")
    resolver = Liar(["10.0.0.1"])
    async with GuardedFetcher(loopback_origins=frozenset({origin}), resolver=resolver) as fetcher:
        # A named origin must still be on loopback.
        with pytest.raises(FetchForbidden, match=r"one\.example leads"):
            await get(fetcher, origin, tmp_path / "file")
    assert site.hits == []


async def test_a_name_is_resolved_once_per_connection(tmp_path: Path) -> None:
    # Public by its range, yet routed nowhere (6bone's, given back): no packet goes to anybody.
    resolver = Liar(["3ffe::1"], ["127.0.0.1"])
    async with GuardedFetcher(resolver=resolver) as fetcher:
        with pytest.raises(FetchFailed):
            await get(fetcher, "https://rebind.example/", tmp_path / "file", timeout_s=0.5)
    assert resolver.asked == 1


async def test_the_socket_is_judged_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AddressRules, "check_resolved", lambda *_: None)
    async with GuardedFetcher(resolver=Liar(["127.0.0.1"])) as fetcher:
        with pytest.raises(FetchForbidden, match="private"):
            await get(fetcher, "https://rebind.example/", tmp_path / "file")


def test_a_socket_opens_to_allowed_addresses_only() -> None:
    rules = AddressRules(frozenset({"http://127.0.0.1:8090"}))
    tcp = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    rules.open_socket((*tcp, ("127.0.0.1", 8090))).close()
    rules.open_socket((*tcp, ("1.1.1.1", 443))).close()
    for refused in (("127.0.0.1", 8091), ("10.0.0.1", 8090), ("192.168.0.1", 443)):
        with pytest.raises(FetchForbidden):
            rules.open_socket((*tcp, refused))


@pytest.mark.parametrize("address", ["1.1.1.1", "162.159.135.233", "2606:4700::6810:84e5"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)
    host = f"[{address}]" if ":" in address else address
    AddressRules(frozenset()).check_url(URL(f"https://{host}/"), None)
