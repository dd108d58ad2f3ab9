"""Be a member from a terminal: `say` and `click` over the sandbox's control API.

Standard library only, and any Python from 3.8: a newcomer runs this with the system's own.
"""

from __future__ import annotations

import json
import queue
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.client_input import BUTTON, SELECTS, fill_in, press, read_command, walk
from sandbox.client_wire import NOBODY_THERE, Sandbox, Stop

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

LOADING = 128  # message flag: "… is thinking"
DISCORD_RED = 0xED4245
GRACE_S = 2.0  # the bot posts a video and closes its placeholder at about the same time


def say(arguments: argparse.Namespace) -> int:
    """Send a command as a member and follow what it causes. Return the exit status."""
    return _report(_say, arguments)


def click(arguments: argparse.Namespace) -> int:
    """Press a button or select, fill in the modal it opens. Return the exit status."""
    return _report(_click, arguments)


def _report(action: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    try:
        action(arguments)
    except Stop as stop:
        sys.stderr.write(f"{stop}\n")
        return stop.status
    return 0


def _say(arguments: argparse.Namespace) -> None:
    sandbox = Sandbox(arguments)
    body, files = read_command(sandbox, arguments)
    watch = Watch(sandbox, arguments.timeout)
    watch.mine.add(sandbox.interact({"type": "command", **body}, files))
    _finish(sandbox, watch, arguments.out)


def _click(arguments: argparse.Namespace) -> None:
    sandbox = Sandbox(arguments)
    watch = Watch(sandbox, arguments.timeout, fields=arguments.field)
    message = watch.history.get(arguments.message)
    if message is None:
        raise Stop(f"{sandbox.member} sees no message {arguments.message} in this channel.")
    body = press(message, arguments.label, arguments.select)
    watch.mine.add(sandbox.interact({"type": "component", "message": message["id"], **body}))
    _finish(sandbox, watch, arguments.out)


def _finish(sandbox: Sandbox, watch: Watch, out: str | None) -> None:
    if out is None:
        watch.first_answer()
    else:
        sandbox.download(watch.video(), Path(out))


class Watch:
    """Prints the events of one's own interactions and tells how they end.

    Listens from the start, before an interaction is sent, so that nothing is missed.
    """

    def __init__(self, sandbox: Sandbox, timeout_s: float, fields: list[str] | None = None) -> None:
        self.mine: set[str] = set()
        self.history: dict[str, dict[str, Any]] = {}
        self._sandbox = sandbox
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._fields = fields
        self._followed: set[str] = set()
        self._had_buttons: set[str] = set()
        self._events = sandbox.listen()
        self._read_history()
        self._old_videos = {
            video["id"] for message in self.history.values() for video in _videos(message)
        }

    def first_answer(self) -> None:
        """Wait for the first message that is not "thinking"; Stop where it says no."""
        while True:
            event = self._next_own(self._deadline)
            if event is None:
                raise Stop(f"No answer within {self._timeout_s:g} s.")
            if event["event"] == "modal":
                return
            if not _is_loading(event["message"]):
                if _red_embeds(event["message"]):
                    raise Stop(_sentence(event["message"]))
                return

    def video(self) -> str:
        """Wait for an MP4. Return its address; Stop where the job has failed."""
        failures: dict[str, tuple[float, str]] = {}  # message → when to believe it, its text
        in_time = (self._deadline, f"No video within {self._timeout_s:g} s.")
        while True:
            give_up_at, sentence = min([in_time, *failures.values()])
            event = self._next_own(give_up_at)
            if event is None:
                raise Stop(sentence)
            if event["event"] == "modal":
                title = event["modal"].get("title")
                raise Stop(f"The command opened the form {title!r}: fill it in on the page.")
            message = event["message"]
            for video in _videos(message):
                if video["id"] not in self._old_videos:
                    return str(video["url"])
            failures.pop(message["id"], None)
            if self._is_final(event):
                failures[message["id"]] = (time.monotonic() + GRACE_S, _sentence(message))

    def _is_final(self, event: dict[str, Any]) -> bool:
        """Whether a message without a video is the last word: nothing is offered any more."""
        message = event["message"]
        if event["event"] == "delete" or _is_loading(message):
            return False
        if _offers_more(message):
            self._had_buttons.add(message["id"])
            return False
        return (
            event["ephemeral"] or message["id"] in self._had_buttons or bool(_red_embeds(message))
        )

    def _next_own(self, until: float) -> dict[str, Any] | None:
        """Print and return the next event of mine; None when `until` has passed."""
        while True:
            event = self._next(until)
            if event is None:
                return None
            kind, mine = event["event"], event.get("interaction_id") in self.mine
            if kind == "failed" and mine:
                raise Stop(f"{event['error']}.")
            if kind == "modal" and mine and self._fields is not None:
                self._submit(event)
            elif (kind == "modal" and mine) or self._follows(event):
                _print(event)
                return event

    def _submit(self, event: dict[str, Any]) -> None:
        fields = fill_in(event["modal"], self._fields or [])
        body = {"type": "modal", "interaction": event["interaction_id"], "fields": fields}
        self.mine.add(self._sandbox.interact(body))

    def _follows(self, event: dict[str, Any]) -> bool:
        """Whether it is a message of my interaction, or a reply to one; then it stays mine."""
        message = event.get("message")
        if message is None or event.get("history"):
            return False
        caused_by = {
            event.get("interaction_id"),
            (message.get("interaction_metadata") or {}).get("id"),
        }
        answers = (message.get("message_reference") or {}).get("message_id")
        if caused_by & self.mine or self._followed & {message["id"], answers}:
            self._followed.add(message["id"])
            return True
        return False

    def _read_history(self) -> None:
        while True:
            event = self._next(self._deadline)
            if event is None:
                raise Stop(f"The channel did not open within {self._timeout_s:g} s.")
            if event["event"] == "ready":
                return
            if event.get("history"):
                self.history[event["message"]["id"]] = event["message"]

    def _next(self, until: float) -> dict[str, Any] | None:
        try:
            event = self._events.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return None
        if event is None:
            raise Stop("The sandbox closed the connection.", NOBODY_THERE)
        return event


def _print(event: dict[str, Any]) -> None:
    if event["event"] == "modal":
        line = {"event": "modal", "modal": event["modal"]}
    else:
        line = {key: event[key] for key in ("event", "ephemeral", "message")}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _is_loading(message: dict[str, Any]) -> bool:
    return bool(message.get("flags", 0) & LOADING)


def _red_embeds(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [embed for embed in message.get("embeds") or [] if embed.get("color") == DISCORD_RED]


def _offers_more(message: dict[str, Any]) -> bool:
    """Whether the message has a button or select that still does something."""
    return any(
        component["type"] in (BUTTON, *SELECTS)
        and not component.get("disabled")
        and not component.get("url")
        for component in walk(message.get("components") or [])
    )


def _videos(message: dict[str, Any]) -> list[dict[str, Any]]:
    attachments = message.get("attachments") or []
    return [each for each in attachments if each.get("content_type") == "video/mp4"]


def _sentence(message: dict[str, Any]) -> str:
    """Return why a message says no, on one line: its red embed, else all of its text."""
    parts = [
        ": ".join(filter(None, (embed.get("title"), embed.get("description"))))
        for embed in _red_embeds(message) or message.get("embeds") or []
    ]
    if not _red_embeds(message):
        parts.insert(0, message.get("content", ""))
        parts += [each.get("content", "") for each in walk(message.get("components") or [])]
    text = " ".join(" ".join(part.split()) for part in parts if part)
    plain = re.sub(r"\\([^\w\s])|\*\*|__|(?<!\S)-# ", r"\1", text)
    return plain or "The bot answered without a word."
