"""Discord's REST API, version 10: what Discord checks and SimCord does not, then SimCord."""

from __future__ import annotations

import io
import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import BodyPartReader, web

from sandbox.discord import commands, refusals
from sandbox.discord.emulator import UPLOAD_LIMIT, Call, Emulator, Upload
from sandbox.discord.refusals import Refusal, invalid_form

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_PREFIX = "/api/v10"
# Suppress embeds, suppress notifications, Components V2; an interaction's answer may be ephemeral.
_CHANNEL_FLAGS = 1 << 2 | 1 << 12 | 1 << 15
_ANSWER_FLAGS = _CHANNEL_FLAGS | 1 << 6
_NONCE_LENGTH = 25
_NONCE_MEMORY_S = 300.0
_MAX_FILES = 10
_TOKEN = re.compile(r"^/(webhooks|interactions)/(\d+)/[^/]+")
# Which callback types may answer which interaction type.
_CALLBACKS = {
    1: {1},
    2: {4, 5, 9, 10, 12},
    3: {4, 5, 6, 7, 9, 10, 12},
    4: {8},
    5: {4, 5, 6, 7, 10, 12},
}
_BY_DEFAULT = ("contexts", "integration_types")
_MESSAGE, _DEFERRED, _MODAL = 4, 5, 9
# In a message's edit, null for these is the same as saying nothing.
_SAYS_NOTHING = frozenset({"flags", "allowed_mentions", "poll", "tts"})

Answer = tuple[int, Any]


class Rest:
    """Answers `/api/v10/…`."""

    def __init__(self, emulator: Emulator, gateway_url: str) -> None:
        self._emulator = emulator
        self._gateway_url = gateway_url
        self._identity: dict[str, Callable[[], Any]] = {
            "/gateway": lambda: {"url": gateway_url},
            "/gateway/bot": self._gateway_bot,
            "/users/@me": self._me,
            "/applications/@me": self._application,
            "/oauth2/applications/@me": self._application,
            "/soundboard-default-sounds": list,
        }
        self._nonces: dict[tuple[int, str], tuple[str, float]] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return the one route that takes every call."""
        return [web.route("*", f"{_PREFIX}/{{path:.*}}", self._handle)]

    async def _handle(self, request: web.Request) -> web.Response:
        path = "/" + request.match_info["path"].strip("/")
        try:
            status, payload = await self._answer(request, path)
        except Refusal as refusal:
            status, payload = refusal.status, refusal.body
            name = _TOKEN.sub(r"/\1/\2/…", path)
            # What is not emulated must be heard of, also in a quiet sandbox.
            level = logging.ERROR if payload == refusals.not_found().body else logging.WARNING
            log.log(level, "%s %s refused: %s %s", request.method, name, status, payload)
        if status == web.HTTPNoContent.status_code:
            return web.Response(status=status)
        # discord.py takes a body as JSON only where the type is exactly this, without a charset.
        return web.Response(
            status=status, body=json.dumps(payload).encode(), content_type="application/json"
        )

    async def _answer(self, request: web.Request, path: str) -> Answer:
        needs_token = not _TOKEN.match(path) and path != "/gateway"
        if needs_token and request.headers.get("Authorization") != f"Bot {self._emulator.token}":
            raise refusals.unauthorized()
        body, files = await _body(request)
        reason = request.headers.get("X-Audit-Log-Reason")
        return self._route(
            Call(
                method=request.method,
                path=path,
                json=body,
                params=dict(request.query),
                files=files,
                reason=None if reason is None else unquote(reason),
            )
        )

    def _route(self, call: Call) -> Answer:
        if call.method == "GET" and call.path in self._identity:
            return 200, self._identity[call.path]()
        match call.method, *call.path.strip("/").split("/"):
            case "POST", "interactions", interaction_id, _, "callback":
                return self._callback(call, _snowflake(interaction_id))
            case _, "webhooks", _, token, *_:
                return self._webhook(call, token)
            case "POST", "channels", channel_id, "messages":
                return self._send(call, _snowflake(channel_id))
            case ("PUT" | "POST", "applications", application_id, *scope, "commands"):
                return self._register(call, application_id, scope)
        return self._plain(call)

    def _plain(self, call: Call) -> Answer:
        if call.method == "PATCH":
            call.json = _edit(call.json)
        payload = self._emulator.request(call)
        return (204, None) if payload is None else (200, payload)

    # --- identity ---

    def _gateway_bot(self) -> dict[str, Any]:
        limit = {"total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 1}
        return {"url": self._gateway_url, "shards": 1, "session_start_limit": limit}

    def _me(self) -> dict[str, Any]:
        private = {"verified": True, "mfa_enabled": True, "locale": "en-US", "email": None}
        return self._emulator.bot() | private

    def _application(self) -> dict[str, Any]:
        bot = self._emulator.bot()
        return {
            "id": bot["id"],
            "name": bot["username"],
            "icon": None,
            "description": "",
            "summary": "",
            "type": None,
            "bot": bot,
            "bot_public": True,
            "bot_require_code_grant": False,
            "verify_key": "0" * 64,
            "owner": self._emulator.owner(),
            "team": None,
            "flags": 0,
            "hook": True,
            "interactions_endpoint_url": None,
            "role_connections_verification_url": None,
            "event_webhooks_url": None,
            "event_webhooks_status": 1,
            "redirect_uris": [],
            "integration_types_config": {"0": {}},
            "approximate_guild_count": len(self._emulator.guild_events()),
            "approximate_user_install_count": 0,
        }

    # --- messages ---

    def _send(self, call: Call, channel_id: int) -> Answer:
        call.json = _slim(call.json, _CHANNEL_FLAGS)
        call.nonce = _nonce(call.json)
        self._check_reference(call.json, channel_id)
        if call.files and not self._emulator.bot_may(channel_id, "attach_files"):
            raise refusals.missing_permissions()
        if call.nonce is not None and call.json.get("enforce_nonce"):
            earlier = self._remembered(channel_id, call.nonce)
            if earlier is not None:
                call = Call("GET", f"/channels/{channel_id}/messages/{earlier}", nonce=call.nonce)
        message = self._emulator.request(call)
        if call.nonce is not None:
            message["nonce"] = call.nonce
            self._nonces[channel_id, call.nonce] = message["id"], time.monotonic()
        return 200, message

    def _remembered(self, channel_id: int, nonce: str) -> str | None:
        oldest = time.monotonic() - _NONCE_MEMORY_S
        self._nonces = {key: item for key, item in self._nonces.items() if item[1] > oldest}
        return self._nonces.get((channel_id, nonce), (None, 0.0))[0]

    def _check_reference(self, body: dict[str, Any], channel_id: int) -> None:
        """Refuse a reply to a message that is gone, or drop the reference where that is asked."""
        reference = body.get("message_reference")
        if not isinstance(reference, dict) or reference.get("type", 0) != 0:
            return
        if self._emulator.has_message(channel_id, _snowflake(reference.get("message_id", 0))):
            return
        if reference.get("fail_if_not_exists", True):
            raise invalid_form("message_reference", "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
        del body["message_reference"]

    # --- interactions ---

    def _callback(self, call: Call, interaction_id: int) -> Answer:
        body = call.json if isinstance(call.json, dict) else {}
        record = self._emulator.interaction(interaction_id)
        if record is not None and not record.responded:
            _check_callback(body, record.type, from_message=record.source_message_id is not None)
        data = body.get("data")
        kind = body.get("type")
        if isinstance(data, dict):
            is_edit = kind not in (_MESSAGE, _DEFERRED)
            data = _edit(data) if is_edit else _slim(data, _ANSWER_FLAGS)
        call.json = {"type": kind, "data": data or {}}
        call.cause = interaction_id
        payload = self._emulator.request(call)
        if kind == _MODAL:
            self._emulator.members.modal_shown(interaction_id)
        wants = call.params.get("with_response", "").lower() in ("1", "true")
        return (200, payload) if wants else (204, None)

    def _webhook(self, call: Call, token: str) -> Answer:
        call.cause = self._emulator.check_webhook(token)
        if call.method == "POST":
            call.json = _slim(call.json, _ANSWER_FLAGS)
        status, payload = self._plain(call)
        # Discord always waits where the webhook is an interaction's.
        waits = call.cause is not None or call.params.get("wait", "").lower() in ("1", "true")
        return (status, payload) if waits or call.method != "POST" else (204, None)

    # --- commands ---

    def _register(self, call: Call, application_id: str, scope: list[str]) -> Answer:
        if application_id != self._emulator.bot()["id"]:
            message = "You are not authorized to perform this action on this application"
            raise Refusal(403, 20012, message)
        body = _without_nulls(call.json)
        if call.method == "PUT":
            commands.check_all(body)
            call.json = body
            return self._plain(call)
        commands.check(body, "")
        others = self._others(body, _snowflake(scope[1]) if scope else None)
        commands.check_all([*others, body])
        bulk = Call("PUT", call.path, json=[*others, body])
        return 201, self._emulator.request(bulk)[-1]

    def _others(self, command: dict[str, Any], guild_id: int | None) -> list[dict[str, Any]]:
        """Return what is registered besides, in the form in which it was sent."""
        key = command["name"], command.get("type", 1)
        added = ("id", "application_id", "guild_id")
        return [
            {name: value for name, value in item.items() if name not in added}
            for item in self._emulator.registered_commands(guild_id)
            if (item["name"], item["type"]) != key
        ]


def _check_callback(body: dict[str, Any], interaction_type: int, *, from_message: bool) -> None:
    kind = body.get("type")
    allowed = _CALLBACKS[interaction_type] - (set() if from_message else {6, 7})
    if kind not in allowed:
        choices = ", ".join(str(item) for item in sorted(allowed))
        raise invalid_form("type", "BASE_TYPE_CHOICES", f"Value must be one of {{{choices}}}.")
    data = body.get("data") or {}
    if kind == _DEFERRED and (data.get("content") or data.get("embeds") or data.get("components")):
        raise invalid_form("data", "INVALID", "A deferred response cannot carry a message")


def _snowflake(value: Any) -> int:
    if not str(value).isdecimal():
        raise invalid_form("", "NUMBER_TYPE_COERCE", f"Value {str(value)!r} is not snowflake.")
    return int(value)


def _nonce(body: dict[str, Any]) -> str | None:
    nonce = body.get("nonce")
    if nonce is None:
        return None
    if len(str(nonce)) > _NONCE_LENGTH:
        text = f"Must be {_NONCE_LENGTH} or fewer in length."
        raise invalid_form("nonce", "BASE_TYPE_MAX_LENGTH", text)
    return str(nonce)


def _slim(body: Any, flags: int) -> dict[str, Any]:
    """Return a new message's body without nulls and without flags that a bot cannot set."""
    if not isinstance(body or {}, dict):
        raise invalid_form("", "DICT_TYPE_CONVERT", "Only dictionaries may be used in a DictType")
    kept = {key: value for key, value in (body or {}).items() if value is not None}
    if isinstance(kept.get("flags"), int):
        kept["flags"] &= flags
    return kept


def _edit(body: Any) -> Any:
    """Return an edit's body without nulls that clear nothing."""
    if not isinstance(body, dict):
        return body
    nothing = {key for key in _SAYS_NOTHING & body.keys() if body[key] is None}
    return {key: value for key, value in body.items() if key not in nothing}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        said = {key: item for key, item in value.items() if item is not None}
        # discord.py sends empty lists for "as the application says".
        said = {key: item for key, item in said.items() if item or key not in _BY_DEFAULT}
        return {key: _without_nulls(item) for key, item in said.items()}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


# --- bodies: JSON, multipart, or a form with `payload_json` ---


async def _body(request: web.Request) -> tuple[Any, list[Upload]]:
    if request.content_type == "multipart/form-data":
        return await _multipart(request)
    if request.content_type == "application/x-www-form-urlencoded":
        form = await request.post()
        return _json(str(form.get("payload_json", "null"))), []
    raw = await request.read()
    return (_json(raw) if raw else None), []


def _json(raw: str | bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        raise Refusal(400, 50109, "The request body contains invalid JSON.") from None


async def _multipart(request: web.Request) -> tuple[Any, list[Upload]]:
    """Read a whole multipart body, also one that is refused: an early answer would break it off."""
    payload: Any = None
    scalars: dict[str, str] = {}
    uploads: dict[int, Upload] = {}
    oversized = False
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            raise Refusal(400, 50035, "Invalid Form Body")
        if part.name == "payload_json":
            payload = _json(await part.text())
        elif part.filename is None:
            scalars[part.name or ""] = await part.text()
        else:
            data, is_whole = await _capped(part)
            oversized = oversized or not is_whole
            uploads[_index(part.name)] = Upload(part.filename, io.BytesIO(data))
    if oversized:
        raise refusals.too_large()
    if len(uploads) > _MAX_FILES:
        text = f"Must be {_MAX_FILES} or fewer in length."
        raise invalid_form("attachments", "BASE_TYPE_MAX_LENGTH", text)
    _describe(payload, uploads)
    return payload or scalars, [uploads[index] for index in sorted(uploads)]


async def _capped(part: BodyPartReader) -> tuple[bytes, bool]:
    data = bytearray()
    size = 0
    while chunk := await part.read_chunk(1 << 16):
        size += len(chunk)
        if size <= UPLOAD_LIMIT:
            data += chunk
    return bytes(data), size <= UPLOAD_LIMIT


def _index(name: str | None) -> int:
    digits = re.search(r"\[(\d+)\]$", name or "")
    return int(digits[1]) if digits else 0


def _describe(payload: Any, uploads: dict[int, Upload]) -> None:
    """Give files the names and descriptions that the body's `attachments` state."""
    body = payload if isinstance(payload, dict) else {}
    message = body["data"] if isinstance(body.get("data"), dict) else body
    for item in message.get("attachments") or []:
        upload = uploads.get(int(item["id"])) if str(item.get("id")).isdigit() else None
        if upload is not None:
            upload.filename = item.get("filename") or upload.filename
            upload.description = item.get("description")
