"""Emulates Segmind's v2 API for `luma-ray-3-2`: submit, poll, result, upload, history.

Shapes and status codes are those of the provider's documentation and of its SDK 1.3.0. The
prices (`COSTS`) and the wording of most errors are invented, because no source says them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import math
import random
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sandbox.books import Books, Submit
from sandbox.providers.render import Order, RenderFailed, render
from sandbox.providers.segmind_records import Request, page_of, refusal, row

if TYPE_CHECKING:
    from pathlib import Path

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MODEL = "luma-ray-3-2"
CHOICES = {
    "aspect_ratio": ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9"),
    "duration": ("5s", "10s"),
    "resolution": ("720p", "360p", "540p", "1080p"),
}
"""What each option may be, the default first."""
COSTS = {"5s": 1.10, "10s": 1.32}
"""US$ per clip. Invented: only an average of 1.32 is published."""
FORBIDDEN = "forbidden-by-moderation"
"""A prompt with this word is refused by the emulated moderation."""
SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/gif": ".gif"}

LATENCY_MEDIAN_S, LATENCY_SIGMA = 52.0, 0.3
QUEUE_SHARE = 0.1
RECORD_S = 3600
FILES_S = 7 * 24 * 3600
FILES_KEPT = 500
RENDERERS = 2
BODY_BYTES = 64 * 2**20
BALANCE_USD = 10_000.0


class Refused(Exception):
    """The request fails; the message is what its record says."""


@dataclass
class EmulatedSegmind:
    """The emulator. `base_url` is its address as SEGMIND_BASE_URL has it, `/segmind` included.

    Latencies are divided by `speed`. Files are kept under `folder`. `clock` gives Unix seconds:
    records and files expire by it, so a test can move it.
    """

    books: Books
    speed: float
    folder: Path
    base_url: str
    key: str
    clock: Callable[[], float] = time.time
    requests: dict[str, Request] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.assets, self.outputs = self.folder / "assets", self.folder / "outputs"
        self.assets.mkdir(parents=True, exist_ok=True)
        self.outputs.mkdir(parents=True, exist_ok=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._renderers = asyncio.Semaphore(RENDERERS)

    async def close(self) -> None:
        """Stop all work; what is not finished stays unfinished."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- A request's life ---

    async def submit(self, request: web.Request) -> web.Response:
        """Accept any JSON object: its parameters are only looked at by the worker."""
        model = request.match_info["model"]
        if model != MODEL:
            raise refusal(web.HTTPNotFound, f"Model {model} not found")
        record = self._accept(model, await _json_object(request))
        task = asyncio.create_task(self._work(record))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        address = f"{self.base_url}/v2/requests/{record.entry.id}"
        return web.json_response(
            {
                "request_id": record.entry.id,
                "status": "QUEUED",
                "poll_url": f"{self.base_url}/v1/requests/{record.entry.id}",
                "status_url": f"{address}/status",
                "response_url": address,
            }
        )

    def _accept(self, model: str, body: dict[str, Any]) -> Request:
        entry = Submit("segmind", model, uuid.uuid4().hex, body, self.clock())
        total_s = random.lognormvariate(math.log(LATENCY_MEDIAN_S), LATENCY_SIGMA)
        url = f"{self.base_url}/outputs/{entry.id}.mp4"
        record = Request(entry, total_s * QUEUE_SHARE, total_s * (1 - QUEUE_SHARE), url)
        self.books.submits.append(entry)
        self.requests[entry.id] = record
        return record

    async def _work(self, record: Request) -> None:
        await asyncio.sleep(record.queue_s / self.speed)
        record.entry.status = "PROCESSING"
        ready_at = time.monotonic() + record.work_s / self.speed
        try:
            async with self._renderers:
                await render(self._order(record.entry))
        except (Refused, RenderFailed) as reason:
            record.error = str(reason)
            record.entry.status = "FAILED"
        else:
            await asyncio.sleep(ready_at - time.monotonic())
            record.entry.cost = COSTS[record.entry.body.get("duration", "5s")]
            record.entry.status = "COMPLETED"
            _delete_oldest(self.outputs)
        record.entry.finished_at = self.clock()

    def _order(self, entry: Submit) -> Order:
        body = entry.body
        prompt = body.get("prompt")
        if not isinstance(prompt, str) or not prompt.strip():
            raise Refused("Prompt is Mandatory")
        if unknown := sorted(body.keys() - CHOICES.keys() - {"prompt", "start_frame"}):
            raise Refused(f"This emulator does not know: {', '.join(unknown)}")
        aspect, duration, resolution = (_choice(body, name) for name in CHOICES)
        if FORBIDDEN in prompt:
            raise Refused("Content blocked by moderation: the prompt violates the content policy")
        out = str(self.outputs / f"{entry.id}.mp4")
        start_frame = self._uploaded(body["start_frame"]) if "start_frame" in body else None
        return Order(prompt, aspect, resolution, int(duration[:-1]), out, start_frame)

    def _uploaded(self, address: object) -> str:
        """Return the path of an uploaded picture: nothing is ever fetched from elsewhere."""
        prefix, _, name = str(address).rpartition("/")
        path = self.assets / name
        if prefix != f"{self.base_url}/assets" or not re.fullmatch(r"[0-9a-f]+\.[a-z]+", name):
            raise Refused(f"Failed to fetch start_frame: {address} is not reachable")
        if not path.is_file():
            raise Refused(f"Failed to fetch start_frame: 404 for {address}")
        return str(path)

    async def status(self, request: web.Request) -> web.Response:
        """Tell a request's state; a failure is a 422."""
        return _state(self._found(request, RECORD_S))

    async def result(self, request: web.Request) -> web.Response:
        """Tell a finished request's result, otherwise its state."""
        record = self._found(request, RECORD_S)
        if record.entry.status != "COMPLETED":
            return _state(record)
        path = self.outputs / f"{record.entry.id}.mp4"
        video = {
            "url": record.url,
            "content_type": "video/mp4",
            "file_name": path.name,
            "file_size": path.stat().st_size if path.exists() else 0,
        }
        spent = sum(each.entry.cost or 0.0 for each in self.requests.values())
        money = {"cost": record.entry.cost, "remaining_credits": round(BALANCE_USD - spent, 2)}
        return web.json_response(
            {
                "status": "COMPLETED",
                "request_id": record.entry.id,
                "output": record.url,
                "video": video,
                "metrics": {**money, **record.metrics()},
            }
        )

    def _found(self, request: web.Request, lifetime_s: float = math.inf) -> Request:
        request_id = request.match_info["id"]
        record = self.requests.get(request_id)
        if record is None or self.clock() - record.entry.at > lifetime_s:
            raise refusal(web.HTTPNotFound, f"Request {request_id} not found")
        return record

    # --- Files ---

    async def upload(self, request: web.Request) -> web.Response:
        """Keep pictures that come as data URLs; answer with the SDK's `file_urls`."""
        data_urls = (await _json_object(request)).get("data_urls")
        if not isinstance(data_urls, list) or not data_urls:
            raise refusal(web.HTTPBadRequest, "data_urls must be a list of data URLs")
        pictures = [_decoded(data_url) for data_url in data_urls]
        urls = [self._keep(suffix, content) for suffix, content in pictures]
        _delete_oldest(self.assets)
        return web.json_response({"file_urls": urls, "message": "Files uploaded successfully"})

    def _keep(self, suffix: str, content: bytes) -> str:
        name = f"{uuid.uuid4().hex}{suffix}"
        (self.assets / name).write_bytes(content)
        return f"{self.base_url}/assets/{name}"

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Serve an upload or a clip, to anybody, for as long as the provider keeps files."""
        path = self.folder / request.match_info["kind"] / request.match_info["name"]
        if not path.is_file() or self.clock() - path.stat().st_mtime > FILES_S:
            raise web.HTTPNotFound
        return web.FileResponse(path)

    # --- The history ---

    async def history(self, request: web.Request) -> web.Response:
        """List requests in any state, a page at a time."""
        return web.json_response(page_of(self.requests.values(), request.query, self.clock()))

    async def history_of_one(self, request: web.Request) -> web.Response:
        """Show one request, of any age."""
        return web.json_response(row(self._found(request)))


def routes(segmind: EmulatedSegmind) -> list[web.RouteDef]:
    """Return the routes for the root application; all but the files want the key."""

    def with_key(handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if request.headers.get("x-api-key") != segmind.key:
                raise refusal(web.HTTPUnauthorized, "Unauthorized: missing or invalid API key")
            return await handler(request)

        return guarded

    return [
        web.post("/segmind/v2/{model}", with_key(segmind.submit)),
        web.get("/segmind/v2/requests/{id}/status", with_key(segmind.status)),
        web.get("/segmind/v2/requests/{id}", with_key(segmind.result)),
        web.post("/segmind/upload-asset", with_key(segmind.upload)),
        web.get("/segmind/request-history", with_key(segmind.history)),
        web.get("/segmind/request-history/{id}", with_key(segmind.history_of_one)),
        web.get(r"/segmind/{kind:assets|outputs}/{name:[0-9a-f]+\.[a-z0-9]+}", segmind.download),
    ]


def _state(record: Request) -> web.Response:
    entry = record.entry
    body = {"status": entry.status, "request_id": entry.id, "metrics": record.metrics()}
    if record.error is None:
        return web.json_response(body)
    return web.json_response({**body, "error": record.error}, status=422)


def _choice(body: dict[str, Any], name: str) -> str:
    value = body.get(name, CHOICES[name][0])
    if value not in CHOICES[name]:
        raise Refused(f"{name} must be one of {', '.join(CHOICES[name])}")
    return str(value)


async def _json_object(request: web.Request) -> dict[str, Any]:
    """Read the body; its own size limit stands in for the application's, made for small ones."""
    if request.content_type != "application/json":
        raise web.HTTPNotAcceptable(text="Invalid content type")
    try:
        body = json.loads(await request.clone(client_max_size=BODY_BYTES).read())
    except ValueError:
        raise refusal(web.HTTPBadRequest, "Invalid JSON") from None
    if not isinstance(body, dict):
        raise refusal(web.HTTPBadRequest, "The body must be a JSON object")
    return body


def _decoded(data_url: object) -> tuple[str, bytes]:
    """Return a data URL's file suffix and bytes."""
    header, _, payload = str(data_url).partition(",")
    suffix = SUFFIXES.get(header.removeprefix("data:").removesuffix(";base64"))
    try:
        content = base64.b64decode(payload, validate=True)
    except binascii.Error:
        content = b""
    if not suffix or not content:
        raise refusal(web.HTTPBadRequest, f"Not a data URL of a picture: {header[:60]}")
    return suffix, content


def _delete_oldest(folder: Path) -> None:
    files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    for path in files[:-FILES_KEPT]:
        # On Windows a file that is being downloaded cannot be deleted: the next round takes it.
        with contextlib.suppress(PermissionError):
            path.unlink(missing_ok=True)
