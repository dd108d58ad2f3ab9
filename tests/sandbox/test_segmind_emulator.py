"""The emulated Segmind over a real socket. What the real one does is in its documentation."""

import asyncio
import base64
import io
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import av
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from PIL import Image, ImageChops, ImageStat

from sandbox.books import Books
from sandbox.providers import segmind as emulator
from sandbox.providers.segmind import FORBIDDEN, EmulatedSegmind, routes

KEY = "SG_0123456789abcdef"
FOX = {"prompt": "a red fox", "aspect_ratio": "9:16", "duration": "5s", "resolution": "360p"}


@dataclass
class Client:
    """A client with the key, and the emulator's inside for what only a test may move."""

    segmind: EmulatedSegmind
    session: aiohttp.ClientSession

    async def get(self, path: str, **query: str) -> tuple[int, Any]:
        url = path if path.startswith("http") else self.segmind.base_url + path
        async with self.session.get(url, params=query) as answer:
            return answer.status, await answer.json()

    async def submit(self, body: object) -> dict[str, Any]:
        url = f"{self.segmind.base_url}/v2/luma-ray-3-2"
        async with self.session.post(url, json=body) as answer:
            assert answer.status == 200
            return dict(await answer.json())

    async def finished(self, body: object) -> tuple[int, dict[str, Any]]:
        """Submit and poll to the end; return what the result address says."""
        submitted = await self.submit(body)
        async with asyncio.timeout(15):
            while not (await self.get(submitted["status_url"]))[1]["metrics"]:
                await asyncio.sleep(0.02)
        return await self.get(submitted["response_url"])

    async def upload(self, picture: Image.Image) -> str:
        content = io.BytesIO()
        picture.save(content, "PNG")
        data_url = "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
        url = f"{self.segmind.base_url}/upload-asset"
        async with self.session.post(url, json={"data_urls": [data_url]}) as answer:
            return str((await answer.json())["file_urls"][0])


def picture_of(frame: av.VideoFrame) -> Image.Image:
    picture = frame.to_image()  # type: ignore[no-untyped-call]  # PyAV leaves it untyped
    assert isinstance(picture, Image.Image)
    return picture


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    port = unused_port()
    segmind = EmulatedSegmind(Books(), 200, tmp_path, f"http://127.0.0.1:{port}/segmind", KEY)
    app = web.Application()
    app.add_routes(routes(segmind))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with aiohttp.ClientSession(headers={"x-api-key": KEY}) as session:
        yield Client(segmind, session)
    await segmind.close()
    await runner.cleanup()


# --- A request's life ---


async def test_a_request_goes_from_queued_to_a_real_clip(client: Client) -> None:
    client.segmind.speed = 50
    submitted = await client.submit(FOX)
    base = client.segmind.base_url
    assert submitted["status"] == "QUEUED"
    assert submitted["response_url"] == f"{base}/v2/requests/{submitted['request_id']}"
    assert submitted["status_url"] == submitted["response_url"] + "/status"

    seen: list[str] = []
    async with asyncio.timeout(15):
        while "COMPLETED" not in seen:
            status, body = await client.get(submitted["status_url"])
            assert status == 200
            if body["status"] not in seen:
                seen.append(body["status"])
            await asyncio.sleep(0.01)
    assert seen == ["QUEUED", "PROCESSING", "COMPLETED"]

    _, result = await client.get(submitted["response_url"])
    assert result["output"] == result["video"]["url"]
    assert result["metrics"]["cost"] == 1.10
    assert result["metrics"]["remaining_credits"] == pytest.approx(emulator.BALANCE_USD - 1.10)
    async with client.session.get(result["output"], headers={"x-api-key": ""}) as answer:
        clip = await answer.read()
    assert answer.content_type == result["video"]["content_type"] == "video/mp4"
    assert len(clip) == result["video"]["file_size"]
    with av.open(io.BytesIO(clip), "r") as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.width, video.height) == ("h264", 360, 640)
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(5, abs=0.05)


async def test_the_latency_is_about_a_minute_divided_by_the_speed(client: Client) -> None:
    records = [client.segmind._accept("luma-ray-3-2", {}) for _ in range(2000)]  # noqa: SLF001 — 2000 clips would be too slow
    totals = sorted(record.queue_s + record.work_s for record in records)
    assert totals[1000] == pytest.approx(52, rel=0.05)
    assert totals[100] == pytest.approx(52 * 0.61, rel=0.08)

    client.segmind.speed = 100
    began = time.monotonic()
    await client.finished(FOX)
    record = list(client.segmind.requests.values())[-1]
    assert time.monotonic() - began >= (record.queue_s + record.work_s) / 100


async def test_the_uploaded_start_frame_is_the_first_frame(client: Client) -> None:
    across = Image.linear_gradient("L").rotate(90).resize((360, 640))
    photo = Image.merge("RGB", (across, Image.new("L", (360, 640), 90), across))
    address = await client.upload(photo)
    async with client.session.get(address, headers={"x-api-key": ""}) as served:
        assert served.content_type == "image/png"
    _, result = await client.finished({**FOX, "start_frame": address})
    async with client.session.get(result["output"]) as answer:
        clip = await answer.read()
    with av.open(io.BytesIO(clip), "r") as container:
        first = picture_of(next(container.decode(video=0)))
    assert max(ImageStat.Stat(ImageChops.difference(first, photo)).mean) < 4


async def test_defaults_are_those_of_the_documentation(client: Client) -> None:
    _, result = await client.finished({"prompt": "only a prompt"})
    async with client.session.get(result["output"]) as answer:
        clip = await answer.read()
    with av.open(io.BytesIO(clip), "r") as container:
        video = container.streams.video[0]
        assert (video.width, video.height) == (1280, 720)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": " "}, "Prompt is Mandatory"),
        ({"prompt": None}, "Prompt is Mandatory"),
        ({"duration": 5}, "duration must be one of 5s, 10s"),
        ({"aspect_ratio": "2:3"}, "aspect_ratio must be one of"),
        ({"resolution": ["720p"]}, "resolution must be one of"),
        ({"loop": False}, "does not know: loop"),
        ({"start_frame": "https://example.com/fox.png"}, "Failed to fetch start_frame"),
        ({"start_frame": None}, "Failed to fetch start_frame"),
        ({"prompt": f"a {FORBIDDEN} fox"}, "Content blocked by moderation"),
    ],
)
async def test_a_bad_request_is_accepted_and_then_fails(
    client: Client, change: dict[str, Any], words: str
) -> None:
    status, result = await client.finished({**FOX, **change})
    assert (status, result["status"]) == (422, "FAILED")
    assert words in result["error"]
    assert "cost" not in result["metrics"]
    assert (await client.get(f"/v2/requests/{result['request_id']}/status"))[0] == 422


async def test_a_start_frame_must_be_a_picture_that_was_uploaded_here(client: Client) -> None:
    base = client.segmind.base_url
    for address in (f"{base}/assets/00ff.png", f"{base}/assets/../outputs/00.png"):
        _, result = await client.finished({**FOX, "start_frame": address})
        assert "Failed to fetch start_frame" in result["error"]


# --- The door ---


async def test_without_the_key_nothing_is_answered(client: Client) -> None:
    url = client.segmind.base_url
    for method, path in (("POST", "/v2/luma-ray-3-2"), ("GET", "/request-history")):
        for headers in ({"x-api-key": "SG_wrong"}, {"x-api-key": "", "Authorization": KEY}):
            async with client.session.request(method, url + path, headers=headers) as answer:
                assert answer.status == 401
                assert "error" in await answer.json()
    assert client.segmind.books.submits == []


async def test_what_is_no_json_object_is_refused_at_once(client: Client) -> None:
    url = f"{client.segmind.base_url}/v2/luma-ray-3-2"
    async with client.session.post(url, data=b"{}") as answer:
        assert (answer.status, await answer.text()) == (406, "Invalid content type")
    json_type = {"Content-Type": "application/json"}
    for body in (b"{", b"[]"):
        async with client.session.post(url, data=body, headers=json_type) as answer:
            assert answer.status == 400
    async with client.session.post(url.replace("3-2", "9"), json=FOX) as answer:
        assert answer.status == 404
    assert client.segmind.books.submits == []


async def test_an_upload_must_be_data_urls_of_pictures(client: Client) -> None:
    url = f"{client.segmind.base_url}/upload-asset"
    for data_urls in (None, [], ["https://example.com"], ["data:text/html;base64,QUJD"], [7]):
        async with client.session.post(url, json={"data_urls": data_urls}) as answer:
            assert answer.status == 400


async def test_a_large_upload_is_taken(client: Client) -> None:
    noise = Image.effect_noise((1500, 1500), 90)
    address = await client.upload(noise)
    async with client.session.get(address) as answer:
        assert len(await answer.read()) > 1.5 * 2**20


# --- Time ---


async def test_records_expire_after_an_hour_and_files_after_a_week(client: Client) -> None:
    _, result = await client.finished(FOX)
    record = f"/v2/requests/{result['request_id']}"
    client.segmind.clock = lambda: time.time() + 3590
    assert (await client.get(record))[0] == 200
    client.segmind.clock = lambda: time.time() + 3610
    for path in (record, f"{record}/status", "/v2/requests/unknown"):
        status, body = await client.get(path)
        assert status == 404
        assert body["error"].startswith("Request ")
        assert body["error"].endswith(" not found")
    async with client.session.get(result["output"]) as answer:
        assert answer.status == 200
    client.segmind.clock = lambda: time.time() + emulator.FILES_S + 60
    async with client.session.get(result["output"]) as answer:
        assert answer.status == 404


async def test_old_files_are_deleted(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "FILES_KEPT", 2)
    results = [(await client.finished(FOX))[1] for _ in range(4)]
    names = {Path(result["output"]).name for result in results[-2:]}
    assert {path.name for path in client.segmind.outputs.iterdir()} == names


async def test_closing_stops_what_runs(client: Client) -> None:
    await client.submit(FOX)
    await client.segmind.close()
    await asyncio.sleep(0.5)
    assert [submit.status for submit in client.segmind.books.submits] == ["QUEUED"]


# --- Books, history ---


async def test_the_books_tell_what_was_asked_and_billed(client: Client) -> None:
    began = time.time()
    await client.finished({**FOX, "duration": "10s"})
    await client.finished({"prompt": ""})
    good, bad = client.segmind.books.as_json()["submits"]
    assert (good["provider"], good["model"]) == ("segmind", "luma-ray-3-2")
    assert good["body"] == {**FOX, "duration": "10s"}
    assert (good["status"], good["cost"]) == ("COMPLETED", 1.32)
    assert began <= good["at"] < good["finished_at"] <= time.time()
    assert (bad["status"], bad["cost"]) == ("FAILED", None)


async def test_the_history_remembers_requests_of_any_age_and_state(client: Client) -> None:
    await client.finished(FOX)
    await client.finished({"prompt": ""})
    client.segmind.speed = 0.001
    pending = await client.submit(FOX)
    _, page = await client.get("/request-history")
    assert [row["model_status"] for row in page["data"]] == ["PENDING", "FAILED", "COMPLETED"]
    done = page["data"][2]
    assert done["request_body"] == FOX
    assert done["credits_deduction"] == 1.10
    assert done["generation_url"].endswith(f"{done['request_id']}.mp4")
    assert page["data"][1]["error"] == "Prompt is Mandatory"

    client.segmind.clock = lambda: time.time() + 40 * 86400
    assert (await client.get("/request-history"))[1]["data"] == []
    status, row = await client.get(f"/request-history/{pending['request_id']}")
    assert (status, row["model_status"]) == (200, "PENDING")
    assert (await client.get("/request-history/unknown"))[0] == 404


async def test_the_history_has_pages_and_filters(client: Client) -> None:
    for number in range(5):
        client.segmind._accept("luma-ray-3-2", {"prompt": str(number)})  # noqa: SLF001 — no clip needed

    async def prompts(**query: str) -> list[str]:
        _, page = await client.get("/request-history", **query)
        return [row["request_body"]["prompt"] for row in page["data"]]

    assert await prompts(per_page="2", page="2") == ["2", "1"]
    assert await prompts(per_page="2", page="3", sort_by="model_created") == ["0"]
    assert await prompts(model_name="ray-3") == ["4", "3", "2", "1", "0"]
    assert await prompts(model_name="flash") == []
    _, page = await client.get("/request-history", per_page="2")
    assert (page["total"], page["total_pages"]) == (5, 3)


@pytest.mark.parametrize(
    "query",
    [
        {"per_page": "101"},
        {"page": "0"},
        {"status": "COMPLETED"},
        {"sort_order": "asc"},
        {"from_date": "yesterday"},
        {"from_date": "2026-01-01", "to_date": "2026-03-01"},
        {"sort_by": "prompt"},
    ],
)
async def test_the_history_refuses_what_it_cannot_filter(
    client: Client, query: dict[str, str]
) -> None:
    status, body = await client.get("/request-history", **query)
    assert status == 400
    assert body["error"]
