import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sandbox.faults import Faults

BODY = b"0123456789" * 100_000


@dataclass
class Site:
    """A server with effects to count, behind the middleware."""

    faults: Faults
    root: str = ""
    effects: list[str] = field(default_factory=list)

    async def effect(self, request: web.Request) -> web.Response:
        self.effects.append(request.path)
        return web.json_response({"done": len(self.effects)})

    async def refuse(self, request: web.Request) -> web.Response:
        self.effects.append(request.path)
        raise web.HTTPNotFound(text="no such thing")

    def script(self, **fault: Any) -> None:
        self.faults.replace({"script": [{"target": "segmind", **fault}]})


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(Faults())
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(BODY)

    async def file(_: web.Request) -> web.FileResponse:
        return web.FileResponse(clip)

    app = web.Application(middlewares=[site.faults.middleware])
    app.router.add_get("/segmind/outputs/clip.mp4", file)
    app.router.add_get("/segmind/missing", site.refuse)
    app.router.add_route("*", "/{anything:.*}", site.effect)
    async with TestServer(app) as server:
        site.root = str(server.make_url("")).rstrip("/")
        yield site


async def ask(url: str, method: str = "POST") -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.request(method, url) as answer:
        return answer.status, await answer.json()


async def test_without_a_script_nothing_happens(site: Site) -> None:
    assert await ask(f"{site.root}/segmind/v2/m") == (200, {"done": 1})


async def test_a_status_before_has_no_effect_and_ends_after_its_times(site: Site) -> None:
    site.script(kind="status_before", status=503, times=2)
    answers = [await ask(f"{site.root}/segmind/v2/m") for _ in range(3)]
    assert [status for status, _ in answers] == [503, 503, 200]
    assert answers[0][1] == {"error": "Emulated 503"}
    assert len(site.effects) == 1
    assert site.faults.as_json()["script"] == []


async def test_a_status_after_comes_when_it_is_done(site: Site) -> None:
    site.script(kind="status_after", status=502)
    assert (await ask(f"{site.root}/segmind/v2/m"))[0] == 502
    assert site.effects == ["/segmind/v2/m"]


async def test_a_lost_reply_comes_when_it_is_done(site: Site) -> None:
    site.script(kind="lost_reply")
    with pytest.raises(aiohttp.ClientError):
        await ask(f"{site.root}/segmind/v2/m")
    assert site.effects == ["/segmind/v2/m"]
    assert (await ask(f"{site.root}/segmind/v2/m"))[0] == 200


@pytest.mark.parametrize(("kind", "effects"), [("delay_before", 0), ("delay_after", 1)])
async def test_a_delay_lies_before_or_after_the_effect(site: Site, kind: str, effects: int) -> None:
    site.script(kind=kind, delay_s=0.3, times=2)
    began = time.monotonic()
    assert (await ask(f"{site.root}/segmind/v2/m"))[0] == 200
    assert time.monotonic() - began >= 0.3

    site.effects.clear()
    impatient = aiohttp.ClientTimeout(total=0.1)
    async with aiohttp.ClientSession(timeout=impatient) as session:
        with pytest.raises(TimeoutError):
            await session.post(f"{site.root}/segmind/v2/m")
    assert len(site.effects) == effects


async def test_a_delay_keeps_a_refusal(site: Site) -> None:
    site.script(kind="delay_after", delay_s=0.01)
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{site.root}/segmind/missing")
        assert (answer.status, await answer.text()) == (404, "no such thing")


async def test_html_comes_instead_of_the_effect(site: Site) -> None:
    site.script(kind="html")
    async with aiohttp.ClientSession() as session:
        answer = await session.post(f"{site.root}/segmind/v2/m")
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert (await answer.text()).startswith("<!doctype html>")
    assert site.effects == []


async def read_into(received: bytearray, answer: aiohttp.ClientResponse) -> None:
    async for piece in answer.content.iter_any():
        received += piece


async def test_a_truncated_file_breaks_off_in_the_middle(site: Site) -> None:
    site.script(kind="truncate", path="/outputs/*")
    received = bytearray()
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{site.root}/segmind/outputs/clip.mp4")
        assert (answer.status, answer.content_type) == (200, "video/mp4")
        assert answer.content_length == len(BODY)
        with pytest.raises(aiohttp.ClientPayloadError):
            await read_into(received, answer)
        whole = await session.get(f"{site.root}/segmind/outputs/clip.mp4")
        assert await whole.read() == BODY
    assert received == BODY[: len(BODY) // 2]


async def test_a_truncated_json_breaks_off_too(site: Site) -> None:
    site.script(kind="truncate")
    with pytest.raises(aiohttp.ClientPayloadError):
        await ask(f"{site.root}/segmind/v2/m")


async def test_discord_limits_in_its_own_shape(site: Site) -> None:
    limit = {"target": "discord", "kind": "status_before", "status": 429, "delay_s": 0.7}
    site.faults.replace({"script": [limit]})
    async with aiohttp.ClientSession() as session:
        answer = await session.post(f"{site.root}/api/v10/channels/1/messages")
        assert (answer.status, answer.headers["Via"] != "") == (429, True)
        body = await answer.json()
        assert (body["retry_after"], body["global"]) == (0.7, False)


@pytest.mark.parametrize(
    ("fault", "hit", "spared"),
    [
        ({"path": "/v2/luma-ray-3-2"}, "/segmind/v2/luma-ray-3-2", "/segmind/v2/requests/1"),
        (
            {"path": "/v2/requests/*/status"},
            "/segmind/v2/requests/1/status",
            "/segmind/v2/requests/1",
        ),
        ({"path": "*"}, "/segmind/upload-asset", "/api/v10/users/@me"),
        ({"target": "discord"}, "/cdn/attachments/1", "/segmind/v2/m"),
        ({"target": "discord", "path": "/users/"}, "/api/v10/users/@me", "/api/v9/users/@me"),
        ({"method": "POST"}, "/segmind/v2/m", None),
    ],
)
async def test_only_what_matches_is_hit(
    site: Site, fault: dict[str, Any], hit: str, spared: str | None
) -> None:
    site.script(kind="status_before", times=9, **fault)
    assert (await ask(site.root + hit))[0] == 500
    if spared:
        assert (await ask(site.root + spared))[0] == 200
    else:
        assert (await ask(site.root + hit, "GET"))[0] == 200


async def test_lines_are_served_in_order(site: Site) -> None:
    lines = [{"target": "segmind", "kind": "status_before", "status": s} for s in (500, 429)]
    site.faults.replace({"script": lines})
    assert [(await ask(f"{site.root}/segmind/x"))[0] for _ in range(3)] == [500, 429, 200]


def test_what_is_shown_can_be_put_back_and_an_empty_object_clears_it() -> None:
    faults = Faults()
    faults.replace({"script": [{"target": "segmind", "kind": "html", "times": 3}]})
    shown = faults.as_json()
    assert shown["script"][0]["times"] == 3
    faults.replace(shown)
    assert faults.as_json() == shown
    faults.replace({})
    assert faults.as_json() == {"seed": 1, "rates": {}, "script": []}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "^Input should be a valid dictionary"),
        ({"scripts": []}, "^scripts: .* not permitted"),
        ({"script": {}}, "^script: .* valid list"),
        ({"rates": {"segmind": {"html": 0.1}}}, "^rates: segmind: .* at most 0 items"),
        ({"script": ["x"]}, "^script: 0: .* dictionary"),
        ({"script": [{"target": "segmind"}]}, "^script: 0: kind: Field required"),
        ({"script": [{"target": "moon", "kind": "html"}]}, "'segmind' or 'discord'"),
        ({"script": [{"target": "segmind", "kind": "boom"}]}, "'status_before', .* or 'truncate'"),
        ({"script": [{"target": "segmind", "kind": "html", "color": 1}]}, "color: .* not p"),
        ({"script": [{"target": "segmind", "kind": "html", "times": 0}]}, "equal to 1"),
        ({"script": [{"target": "segmind", "kind": "html", "times": "1"}]}, "valid integer"),
        ({"script": [{"target": "segmind", "kind": "html", "times": True}]}, "valid integer"),
        ({"script": [{"target": "segmind", "kind": "html", "delay_s": -1}]}, "equal to 0"),
        ({"script": [{"target": "segmind", "kind": "html", "status": 200}]}, "equal to 400"),
    ],
)
def test_a_script_that_is_none_is_refused_in_a_sentence(data: object, words: str) -> None:
    faults = Faults()
    faults.replace({"script": [{"target": "segmind", "kind": "html"}]})
    with pytest.raises(ValueError, match=words):
        faults.replace(data)
    assert len(faults.as_json()["script"]) == 1, "the old script is gone"
