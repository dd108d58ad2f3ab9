"""`/sandbox/…`: be a member, see what a member sees, read the books, script faults."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sandbox.client_wire import NO_BOT
from sandbox.discord.emulator import UPLOAD_LIMIT, Emulator
from sandbox.discord.members import ActionRefused, Place
from sandbox.discord.world import BOT_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.books import Books
    from sandbox.discord.gateway import Gateway
    from sandbox.faults import Faults

_KEEPALIVE_S = 15.0
_STATUS = {"no_bot": 409, "no_command": 404, "not_found": 404, "forbidden": 403, "invalid": 400}


class Control:
    """The control API; its contract is in the design's section on the sandbox."""

    def __init__(
        self, emulator: Emulator, gateway: Gateway, books: Books, faults: Faults, speed: float
    ) -> None:
        self._emulator = emulator
        self._gateway = gateway
        self._books = books
        self._faults = faults
        self._speed = speed

    def routes(self) -> list[web.RouteDef]:
        """Return the routes under `/sandbox/`."""
        return [
            web.get("/sandbox/world", self._show_world),
            web.get("/sandbox/commands", self._commands),
            web.post("/sandbox/interactions", self._interact),
            web.get("/sandbox/events", self._events),
            web.get("/sandbox/books", self._show_books),
            web.get("/sandbox/faults", self._show_faults),
            web.put("/sandbox/faults", self._script_faults),
        ]

    async def _show_world(self, _: web.Request) -> web.Response:
        connected = self._gateway.is_connected
        bot = {"id": self._emulator.bot()["id"], "name": BOT_NAME, "connected": connected}
        guilds = self._emulator.members.describe()
        return web.json_response({"bot": bot, "speed": self._speed, "guilds": guilds})

    async def _show_books(self, _: web.Request) -> web.Response:
        return web.json_response(self._books.as_json())

    async def _show_faults(self, _: web.Request) -> web.Response:
        return web.json_response(self._faults.as_json())

    async def _script_faults(self, request: web.Request) -> web.Response:
        try:
            self._faults.replace(await request.json())
        except (KeyError, TypeError, ValueError) as error:
            return _refused(ActionRefused("invalid", f"These faults cannot be read: {error}"))
        return web.json_response(self._faults.as_json())

    async def _commands(self, request: web.Request) -> web.Response:
        try:
            place = self._place(request.query)
        except ActionRefused as refused:
            return _refused(refused)
        return web.json_response({"commands": self._emulator.members.commands(place)})

    async def _interact(self, request: web.Request) -> web.Response:
        try:
            body = await _wish(request)
            place = self._place(body)
            interaction_id = await self._act(place, body)
        except ActionRefused as refused:
            return _refused(refused)
        return web.json_response({"interaction_id": interaction_id}, status=201)

    async def _act(self, place: Place, body: dict[str, Any]) -> str:
        if not self._gateway.reaches(place.guild.id):
            raise ActionRefused("no_bot", NO_BOT)
        match body:
            case {"type": "command", "command": str(name)} if name.strip():
                target = body.get("target_message")
                target = None if target is None else _snowflake(target)
                options = body.get("options") or {}
                return await self._emulator.members.run_command(
                    place, name.strip("/ "), options, target
                )
            case {"type": "component", "message": message, "custom_id": str(custom_id)}:
                values = body.get("values") or []
                message_id = _snowflake(message)
                return await self._emulator.members.use_component(
                    place, message_id, custom_id, values
                )
            case {"type": "modal", "interaction": opener}:
                fields = body.get("fields") or {}
                return await self._emulator.members.submit_modal(place, _snowflake(opener), fields)
            case _:
                raise ActionRefused("invalid", "This is no command, component or modal.")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        try:
            place = self._place(request.query)
        except ActionRefused as refused:
            return _refused(refused)
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        feed = self._emulator.members.subscribe(place)
        try:
            while True:
                try:
                    event = await asyncio.wait_for(feed.queue.get(), _KEEPALIVE_S)
                except TimeoutError:
                    await response.write(b": still here\n\n")
                    continue
                if event is None:
                    break
                await response.write(f"data: {json.dumps(event)}\n\n".encode())
        except ConnectionError:
            pass  # The member closed the page.
        finally:
            self._emulator.members.unsubscribe(feed)
        return response

    def _place(self, wish: Mapping[str, Any]) -> Place:
        return self._emulator.members.place(
            *(str(wish[key]) if wish.get(key) else None for key in ("guild", "channel", "member"))
        )


def _refused(refused: ActionRefused) -> web.Response:
    body = {"error": str(refused), "code": refused.code}
    return web.json_response(body, status=_STATUS[refused.code])


def _snowflake(value: Any) -> str:
    if not str(value).isdecimal():
        raise ActionRefused("invalid", f"{value!r} is no id.")
    return str(value)


async def _wish(request: web.Request) -> dict[str, Any]:
    """Read the body, with every `{"file": n}` replaced by name and bytes of `files[n]`."""
    try:
        if request.content_type != "multipart/form-data":
            body = await request.json()
            form: Mapping[str, Any] = {}
        else:
            form = dict(await request.post())
            body = json.loads(form["payload_json"])
    except (KeyError, TypeError, ValueError):
        raise ActionRefused("invalid", "The body is no JSON.") from None
    if not isinstance(body, dict):
        raise ActionRefused("invalid", "The body is no JSON object.")
    for key in ("options", "fields"):
        body[key] = {name: _filled(item, form) for name, item in (body.get(key) or {}).items()}
    return body


def _filled(item: Any, form: Mapping[str, Any]) -> Any:
    if not isinstance(item, dict) or "file" not in item:
        return item
    part = form.get(f"files[{item['file']}]")
    if not isinstance(part, web.FileField):
        raise ActionRefused("invalid", f"files[{item['file']}] is missing.")
    data = part.file.read()
    if len(data) > UPLOAD_LIMIT:
        limit = UPLOAD_LIMIT // 1024 // 1024
        raise ActionRefused("invalid", f"Your files are too powerful: over {limit} MiB.")
    return part.filename, data
