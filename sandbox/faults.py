"""Faults on order: the next matching requests get a wrong status, no reply, or half a body.

`PUT /sandbox/faults` replaces the script, `GET` shows what of it is left. Nothing here is random.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from mimetypes import guess_type
from typing import Any, get_type_hints

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ROOTS = {"/segmind": "segmind", "/api/v10": "discord", "/cdn": "discord"}


@dataclass
class Fault:
    """One line of the script: what happens to the next `times` requests that match.

    `path` is what follows the target's root: a prefix, or a pattern with `*` for all of it.
    """

    target: str
    kind: str
    method: str = "*"
    path: str = "*"
    times: int = 1
    status: int = 500
    delay_s: float = 0.0

    def matches(self, target: str, method: str, path: str) -> bool:
        """Tell whether a request is one of those."""
        if self.target != target or self.method not in ("*", method):
            return False
        return path.startswith(self.path) or fnmatchcase(path, self.path)


class Faults:
    """The script, and the middleware that carries it out."""

    def __init__(self) -> None:
        self._script: list[Fault] = []

    def as_json(self) -> dict[str, Any]:
        """Return what is left of the script. Seed and rates are there for the shape's sake."""
        return {"seed": 1, "rates": {}, "script": [asdict(fault) for fault in self._script]}

    def replace(self, data: object) -> None:
        """Take a new script; an empty object clears it.

        Raises:
            ValueError: the script is not one; one sentence says why, and the old one stays.
        """
        if not isinstance(data, dict):
            raise ValueError("Faults are an object.")  # noqa: TRY004 — one error for all
        if unknown := data.keys() - {"seed", "rates", "script"}:
            raise ValueError(f"Faults have no {', '.join(sorted(unknown))}.")
        rates, script = data.get("rates", {}), data.get("script", [])
        if not isinstance(rates, dict) or any(rates.values()):
            raise ValueError("Rates are not emulated yet: leave them empty.")
        if not isinstance(script, list):
            raise ValueError("The script must be a list.")  # noqa: TRY004 — as above
        self._script = [_checked(line) for line in script]

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
        for fault in self._script:
            if fault.matches(target, method, path):
                fault.times -= 1
                if not fault.times:
                    self._script.remove(fault)
                return fault
        return None


def _checked(line: object) -> Fault:
    """Return a line of the script as a Fault, or say what is wrong with it."""
    if not isinstance(line, dict):
        raise ValueError("A line of the script must be an object.")  # noqa: TRY004 — as above
    names = [item.name for item in fields(Fault)]
    if unknown := line.keys() - set(names):
        raise ValueError(f"A fault has no {', '.join(sorted(unknown))}; it has {', '.join(names)}.")
    if missing := {"target", "kind"} - line.keys():
        raise ValueError(f"A fault needs {' and '.join(sorted(missing))}.")
    for name, kind in get_type_hints(Fault).items():
        accepted = (int, float) if kind is float else kind
        if name in line and (isinstance(line[name], bool) or not isinstance(line[name], accepted)):
            raise ValueError(f"A fault's {name} must be of type {kind.__name__}.")
    return _in_range(Fault(**line))


def _in_range(fault: Fault) -> Fault:
    if fault.target not in ROOTS.values():
        raise ValueError("A fault's target must be segmind or discord.")
    if fault.kind not in KINDS:
        raise ValueError(f"A fault's kind must be one of {', '.join(KINDS)}.")
    if fault.times < 1 or fault.delay_s < 0:
        raise ValueError("A fault's times must be at least 1, its delay_s at least 0.")
    if not 400 <= fault.status <= 599:  # noqa: PLR2004 — HTTP's errors
        raise ValueError("A fault's status must be 400 to 599.")
    return fault


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
_BEFORE: tuple[Kind, ...] = (_status_before, _delay_before, _html)
_AFTER: tuple[Kind, ...] = (_status_after, _lost_reply, _delay_after, _truncate)
KINDS = {kind.__name__[1:]: kind for kind in (*_BEFORE, *_AFTER)}


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
