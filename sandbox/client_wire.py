"""The control API as a member's command line uses it. Standard library only, Python from 3.8."""

from __future__ import annotations

import http.client
import json
import mimetypes
import os
import queue
import shutil
import threading
import urllib.parse
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

PYTHON = "python" if os.name == "nt" else "python3"
DEFAULT_URL = "http://127.0.0.1:8090"
NO_BOT = (
    "No bot is connected: the sandbox starts its own again within seconds; "
    "with `serve`, start one with the environment that it has printed."
)
SILENCE_S = 60.0  # the event stream says something every 15 s

# Exit statuses; 0 is an answer.
FAILED = 1  # refused, failed, or time ran out
NOBODY_THERE = 2  # no sandbox, no bot, or no such command


class Stop(Exception):
    """Ends the command line with one sentence and an exit status."""

    def __init__(self, sentence: str, status: int = FAILED) -> None:
        super().__init__(sentence)
        self.status = status


class Sandbox:
    """The control API, as one member in one channel."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.url = arguments.url or os.environ.get("SANDBOX_URL") or DEFAULT_URL
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme != "http" or not parts.hostname:
            raise Stop(
                f"{self.url!r} is no address of a sandbox, like {DEFAULT_URL}.", NOBODY_THERE
            )
        self._host = parts.netloc
        self.member = arguments.member or "alice"
        place = {"guild": arguments.guild, "channel": arguments.channel, "member": self.member}
        self._place = {key: value for key, value in place.items() if value}

    def world(self) -> dict[str, Any]:
        """Return the guilds, or Stop where no bot is connected."""
        world: dict[str, Any] = self._json("GET", "/sandbox/world")
        if not world["bot"]["connected"]:
            raise Stop(NO_BOT, NOBODY_THERE)
        return world

    def guild(self) -> dict[str, Any]:
        """Return the guild in which the member speaks."""
        wanted = self._place.get("guild")
        for guild in self.world()["guilds"]:
            if wanted in (None, guild["id"], guild["name"]):
                found: dict[str, Any] = guild
                return found
        raise Stop(f"The sandbox has no guild {wanted!r}.")

    def commands(self) -> list[dict[str, Any]]:
        """Return the application commands that this member sees."""
        path = "/sandbox/commands?" + urllib.parse.urlencode(self._place)
        commands: list[dict[str, Any]] = self._json("GET", path)["commands"]
        return commands

    def interact(self, body: dict[str, Any], files: list[Path] | None = None) -> str:
        """Start an interaction. Return its id."""
        payload = json.dumps({**self._place, **body}).encode()
        content_type = "application/json"
        if files:
            payload, content_type = _multipart(payload, files)
        answer = self._json("POST", "/sandbox/interactions", payload, content_type)
        return str(answer["interaction_id"])

    def listen(self) -> queue.Queue[dict[str, Any] | None]:
        """Follow the channel from now on; a None in the queue says that the stream broke."""
        path = "/sandbox/events?" + urllib.parse.urlencode(self._place)
        response = self._open("GET", path)
        events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=_read_events, args=(response, events), daemon=True).start()
        return events

    def download(self, url: str, target: Path) -> None:
        """Save what is at `url`; the file appears under its name only when it is whole."""
        parts = urllib.parse.urlsplit(url)
        response = self._open("GET", urllib.parse.urlunsplit(("", "", *parts[2:4], "")))
        partial = target.with_name(target.name + ".part")
        try:
            with partial.open("wb") as file:
                shutil.copyfileobj(response, file)
            expected = response.headers["Content-Length"]
            if expected is not None and partial.stat().st_size != int(expected):
                raise Stop(f"The video broke off while it was saved to {target}.")
            partial.replace(target)
        except OSError as error:
            raise Stop(f"The video could not be saved to {target}: {error}.") from error
        finally:
            if partial.exists():
                partial.unlink()

    def _json(self, method: str, path: str, body: bytes = b"", content_type: str = "") -> Any:
        with self._open(method, path, body, content_type) as response:
            return json.load(response)

    def _open(
        self, method: str, path: str, body: bytes = b"", content_type: str = ""
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self._host, timeout=SILENCE_S)
        headers = {"Content-Type": content_type} if content_type else {}
        try:
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            sentence = f"No sandbox answers at {self.url}; start one with `make sandbox`."
            raise Stop(sentence, NOBODY_THERE) from error
        if response.status >= http.client.BAD_REQUEST:
            raise _refusal(response)
        return response


def _refusal(response: http.client.HTTPResponse) -> Stop:
    try:
        answer = json.loads(response.read())
        sentence, code = answer["error"], answer.get("code")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Stop(f"The sandbox answered with HTTP status {response.status}.")
    return Stop(sentence, NOBODY_THERE if code in ("no_bot", "no_command") else FAILED)


def _read_events(
    response: http.client.HTTPResponse, events: queue.Queue[dict[str, Any] | None]
) -> None:
    try:
        for line in response:
            if line.startswith(b"data:"):
                events.put(json.loads(line[len(b"data:") :]))
    except (OSError, ValueError, http.client.HTTPException):
        pass  # it broke off: the None says so
    events.put(None)


def _multipart(payload: bytes, files: list[Path]) -> tuple[bytes, str]:
    """Return the body and the type of a form: a field `payload_json`, then each file."""
    boundary = uuid.uuid4().hex
    parts = [('name="payload_json"', payload)]
    for index, path in enumerate(files):
        name = path.name.replace('"', "%22")
        content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        header = f'name="files[{index}]"; filename="{name}"\r\nContent-Type: {content_type}'
        parts.append((header, _content(path)))
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {header}\r\n\r\n".encode()
        + content
        + b"\r\n"
        for header, content in parts
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Stop(f"Cannot read {path}: {error.strerror}.") from error
