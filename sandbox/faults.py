"""Faults on order: the next matching requests get a wrong status, no reply, or half a body.

`PUT /sandbox/faults` replaces the script, `GET` shows what of it is left. Nothing here is random.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from mimetypes import guess_type
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ROOTS = {"/segmind": "segmind", "/api/v10": "discord", "/cdn": "discord"}


KindName = Literal[
    "status_before", "status_after", "lost_reply", "delay_before", "delay_after", "html", "truncate"
]


class Fault(BaseModel):
    """One line of the script: what happens to the next `times` requests that match.

    `path` is what follows the target's root: a prefix, or a pattern with `*` for all of it.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    target: Literal["segmind", "discord"]
    kind: KindName
    method: str = "*"
    path: str = "*"
    times: int = Field(1, ge=1)
    status: int = Field(500, ge=400, le=599)
    delay_s: float = Field(0.0, ge=0)

    def matches(self, target: str, method: str, path: str) -> bool:
        """Tell whether a request is one of those."""
        if self.target != target or self.method not in ("*", method):
            return False
        return path.startswith(self.path) or fnmatchcase(path, self.path)


class Plan(BaseModel):
    """What `/sandbox/faults` takes and shows. Seed and rates are there for the shape's sake."""

    model_config = ConfigDict(extra="forbid", strict=True)

    seed: int = 1
    rates: dict[str, Annotated[dict[str, float], Field(max_length=0)]] = {}
    script: list[Fault] = []


class Faults:
    """The script, and the middleware that carries it out."""

    def __init__(self) -> None:
        self._plan = Plan()

    def as_json(self) -> dict[str, Any]:
        """Return what is left of the plan."""
        return self._plan.model_dump()

    def replace(self, data: object) -> None:
        """Take a new plan; an empty object clears it.

        Raises:
            ValueError: it is none; one sentence says why, and the old one stays.
        """
        try:
            self._plan = Plan.model_validate(data)
        except ValidationError as error:
            wrong = error.errors()[0]
            where = "".join(f"{part}: " for part in wrong["loc"])
            raise ValueError(f"{where}{wrong['msg']}.") from None

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Serve a request, with its fault if it has one."""
        for root, target in ROOTS.items():
            if request.path.startswith(f"{root}/"):
                fault = self._take(target, request.method, request.path.removeprefix(root))
                if fault:
                    return await KINDS[fault.kind](fault, request, handler)
        return await handler(request)

    def _take(self, target: str, method: str, path: str) -> Fault | None:
        for fault in self._plan.script:
            if fault.matches(target, method, path):
                fault.times -= 1
                if not fault.times:
                    self._plan.script.remove(fault)
                return fault
        return None


# --- The kinds. Each gets the fault, the request and what would serve it. ---


async def _status_before(fault: Fault, *_: object) -> web.StreamResponse:
    return _refusal(fault)


async def _status_after(fault: Fault, request: web.Request, serve: Handler) -> web.StreamResponse:
    await _answered(request, serve)
    return _refusal(fault)


async def _lost_reply(_: Fault, request: web.Request, serve: Handler) -> web.StreamResponse:
    answer = await _answered(request, serve)
    if request.transport:
        request.transport.abort()
    return answer


async def _delay_before(fault: Fault, request: web.Request, serve: Handler) -> web.StreamResponse:
    await asyncio.sleep(fault.delay_s)
    return await serve(request)


async def _delay_after(fault: Fault, request: web.Request, serve: Handler) -> web.StreamResponse:
    answer = await _answered(request, serve)
    await asyncio.sleep(fault.delay_s)
    return answer


async def _html(*_: object) -> web.StreamResponse:
    page = "<!doctype html><title>Just a moment…</title><h1>Checking your browser</h1>"
    return web.Response(text=page, content_type="text/html")


async def _truncate(_: Fault, request: web.Request, serve: Handler) -> web.StreamResponse:
    """Announce the whole body, send half of it, hang up."""
    answer = await _answered(request, serve)
    content_type, body = _whole(answer)
    half = web.StreamResponse(status=answer.status, headers={"Content-Type": content_type})
    half.content_length = len(body)
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    if request.transport:
        request.transport.close()
    return half


Kind = Callable[[Fault, web.Request, Handler], Awaitable[web.StreamResponse]]
KINDS: dict[KindName, Kind] = {
    "status_before": _status_before,
    "status_after": _status_after,
    "lost_reply": _lost_reply,
    "delay_before": _delay_before,
    "delay_after": _delay_after,
    "html": _html,
    "truncate": _truncate,
}


async def _answered(request: web.Request, serve: Handler) -> web.StreamResponse:
    """Let the effect happen, and return the answer also where it is raised."""
    try:
        return await serve(request)
    except web.HTTPException as refusal:
        kind = refusal.content_type
        return web.Response(status=refusal.status, body=refusal.body, content_type=kind)


def _whole(answer: web.StreamResponse) -> tuple[str, bytes]:
    """Return an answer's content type and body before it is sent."""
    if isinstance(answer, web.FileResponse):
        path = answer._path  # noqa: SLF001 — aiohttp tells it nowhere else
        return guess_type(path)[0] or answer.content_type, path.read_bytes()
    if isinstance(answer, web.Response) and isinstance(answer.body, bytes):
        return answer.content_type, answer.body
    raise TypeError(f"A {type(answer).__name__} cannot be cut in half.")


def _refusal(fault: Fault) -> web.Response:
    """Return an error in the target's own shape."""
    words = f"Emulated {fault.status}"
    if fault.target == "segmind":
        return web.json_response({"error": words}, status=fault.status)
    if fault.status != web.HTTPTooManyRequests.status_code:
        return web.json_response({"message": words, "code": 0}, status=fault.status)
    wait_s = fault.delay_s or 0.5
    limited = {"message": "You are being rate limited.", "retry_after": wait_s, "global": False}
    # discord.py takes a 429 without Via for a ban by Cloudflare.
    headers = {"Via": "1.1 google", "Retry-After": str(wait_s)}
    return web.json_response(limited, status=fault.status, headers=headers)
