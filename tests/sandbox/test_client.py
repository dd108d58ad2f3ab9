"""`say` and `click` against a small real HTTP server that speaks the control API."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
import urllib.parse
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import client
from sandbox.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).resolve().parent.parent.parent
MP4 = b"\0\0\0\x18ftypmp42 and so on"
MINE = "900"
VIDEO = [
    {"name": "prompt", "type": 3, "required": True},
    {
        "name": "aspect",
        "type": 3,
        "choices": [{"name": "9:16 (tall)", "value": "9:16"}, {"name": "wide", "value": "16:9"}],
    },
    {"name": "seconds", "type": 4},
    {"name": "loop", "type": 5},
    {"name": "for", "type": 6},
    {"name": "in", "type": 7},
    {"name": "image", "type": 11},
    {"name": "end_image", "type": 11},
]
COMMANDS = [
    {"name": "video", "type": 1, "options": VIDEO},
    {"name": "credits", "type": 1, "options": [{"name": "show", "type": 1}]},
    {"name": "Extend clip", "type": 3},
]
GUILD = {
    "id": "1",
    "name": "Film Club",
    "channels": [{"id": "2", "name": "general"}],
    "members": [{"id": "3", "name": "alice"}, {"id": "4", "name": "bob"}],
}


class Scripted(ThreadingHTTPServer):
    """The control API: every interaction is recorded and answered with the next script."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.connected = True
        self.history: list[dict[str, Any]] = []
        self.scripts: list[list[dict[str, Any] | float]] = []
        self.interactions: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.refusal: tuple[int, dict[str, str]] | None = None
        self.streams: list[queue.Queue[dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, *events: dict[str, Any] | float) -> None:
        """Add what the next interaction causes; a number waits so many seconds."""
        self.scripts.append(list(events))

    def video(self, attachment_id: str = "70") -> dict[str, str]:
        return {
            "id": attachment_id,
            "content_type": "video/mp4",
            "url": f"{self.url}/cdn/{attachment_id}?ex=1",
        }


class Handler(BaseHTTPRequestHandler):
    server: Scripted

    def log_message(self, *_: object) -> None:
        """Say nothing: a test's output is its own."""

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        if path == "/sandbox/events":
            self._stream()
        elif path.startswith("/cdn/"):
            self._send(200, MP4 + path.encode())
        elif path == "/sandbox/commands":
            self._send(200, json.dumps({"commands": COMMANDS}).encode())
        else:
            bot = {"connected": self.server.connected}
            self._send(200, json.dumps({"bot": bot, "guilds": [GUILD]}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get_content_maintype() == "multipart":
            body = self._unpack(body)
        self.server.interactions.append(json.loads(body))
        if self.server.refusal:
            status, refusal = self.server.refusal
            self._send(status, json.dumps(refusal).encode())
            return
        interaction_id = str(int(MINE) + len(self.server.interactions) - 1)
        self._send(201, json.dumps({"interaction_id": interaction_id}).encode())
        for event in self.server.scripts.pop(0):
            if isinstance(event, float):
                time.sleep(event)
                continue
            for stream in self.server.streams:
                stream.put(event)

    def _unpack(self, body: bytes) -> bytes:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = message_from_bytes(head + body).get_payload()
        assert isinstance(parts, list)
        contents: dict[str, bytes] = {}
        for part in parts:
            name = str(part.get_param("name", header="content-disposition"))  # type: ignore[union-attr]  # a part is a Message
            contents[name] = part.get_payload(decode=True)  # type: ignore[union-attr, assignment]  # and bytes when decoded
        payload = contents.pop("payload_json")
        self.server.files = contents
        return payload

    def _stream(self) -> None:
        events: queue.Queue[dict[str, Any]] = queue.Queue()
        for message in self.server.history:
            events.put({**created(message), "interaction_id": None, "history": True})
        events.put({"event": "ready"})
        self.server.streams.append(events)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b": hello\n\n")
        while True:
            line = json.dumps(events.get())
            try:
                self.wfile.write(f"data: {line}\n\n".encode())
            except OSError:
                return

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def created(message: dict[str, Any], *, ephemeral: bool = False) -> dict[str, Any]:
    event = {"event": "create", "ephemeral": ephemeral, "interaction_id": MINE, "history": False}
    return {**event, "message": message}


def updated(message: dict[str, Any]) -> dict[str, Any]:
    """Return an edit by the bot's own token: no interaction caused it."""
    return {**created(message), "event": "update", "interaction_id": None}


def button(label: str, **more: Any) -> dict[str, Any]:
    return {"type": 2, "style": 1, "label": label, "custom_id": f"id-{label}", **more}


def row(*components: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": 1, "components": list(components)}]


WORKING = {"id": "50", "content": "Queued", "components": row(button("Cancel"))}
RED = {
    "id": "50",
    "embeds": [{"title": "Refused", "description": r"by **\*moderation**", "color": 0xED4245}],
}


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    server = Scripted()
    monkeypatch.setenv("SANDBOX_URL", server.url)
    monkeypatch.setattr(client, "GRACE_S", 0.3)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# From text to an interaction ---------------------------------------------------------------------


def options_of(sandbox: Scripted, text: str, *more: str) -> dict[str, Any]:
    sandbox.answer(created({"id": "50", "content": "Hello"}))
    assert main(["say", text, *more]) == 0
    options: dict[str, Any] = sandbox.interactions[-1]["options"]
    return options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prompt:a red fox aspect:9:16", {"prompt": "a red fox", "aspect": "9:16"}),
        ("aspect:9:16 (TALL) prompt:x", {"aspect": "9:16", "prompt": "x"}),
        ("prompt:title: it's 5:30, endaspect:wide", {"prompt": "title: it's 5:30, endaspect:wide"}),
        ("prompt:x seconds:5 loop:Yes", {"prompt": "x", "seconds": 5, "loop": True}),
        ("prompt:x for:@bob in:#general", {"prompt": "x", "for": "4", "in": "2"}),
    ],
)
def test_options_are_split_at_their_names_and_converted(
    sandbox: Scripted, text: str, expected: dict[str, Any]
) -> None:
    assert options_of(sandbox, f"/video {text}") == expected


def test_who_speaks_where_goes_along(sandbox: Scripted) -> None:
    sandbox.answer(created({"id": "50"}))
    assert main(["say", "/credits show", "--member", "bob", "--channel", "general"]) == 0
    assert sandbox.interactions == [
        {
            "type": "command",
            "command": "credits show",
            "options": {},
            "member": "bob",
            "channel": "general",
        }
    ]


def test_images_fill_the_attachment_options_in_order(sandbox: Scripted, tmp_path: Path) -> None:
    first, last = tmp_path / "first.png", tmp_path / "last.png"
    first.write_bytes(b"\x89PNG\r\n one")
    last.write_bytes(b"\x89PNG two\r\n")
    options = options_of(
        sandbox, "/video prompt:x", "--image", str(first), "--end-image", str(last)
    )
    assert options == {"prompt": "x", "image": {"file": 0}, "end_image": {"file": 1}}
    assert sandbox.files == {"files[0]": first.read_bytes(), "files[1]": last.read_bytes()}


def test_a_message_command_runs_on_its_message(sandbox: Scripted) -> None:
    sandbox.answer(created({"id": "50"}))
    assert main(["say", "extend clip", "--on", "77"]) == 0
    assert sandbox.interactions[0]["command"] == "Extend clip"
    assert sandbox.interactions[0]["target_message"] == "77"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["/video colour:red"], 1, "'colour:red' belongs to no option; the options are: prompt, a"),
        (["/video aspect:5:4"], 1, "no choice '5:4'; it has: 9:16 (tall), wide."),
        (["/video seconds:long"], 1, "wants a whole number, not 'long'"),
        (["/video for:carol"], 1, "finds no 'carol' here; there are: alice, bob."),
        (["/video prompt:x prompt:y"], 1, "prompt is given twice"),
        (["/video image:x.png"], 1, "give it by --image"),
        (["/video prompt:x", "--image", "/nowhere.png"], 1, "Cannot read /nowhere.png"),
        (["/credits show", "--image", "x.png"], 1, "/credits show takes no image"),
        (["/credits show", "--guild", "Nowhere"], 1, "no guild 'Nowhere'"),
        (["/vidoe prompt:x"], 2, "There is no command /vidoe; there are: /video, /credits."),
        (["/credits"], 2, "there are: /credits show."),
        (["Shrink", "--on", "77"], 2, "they have: Extend clip."),
        (["/video", "--url", "ftp://here"], 2, "no address of a sandbox"),
    ],
)
def test_what_cannot_be_sent_is_said_in_one_sentence(
    sandbox: Scripted,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    words: str,
) -> None:
    assert main(["say", *arguments]) == status
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert sandbox.interactions == []


@pytest.mark.parametrize(("code", "status"), [("invalid", 1), ("forbidden", 1), ("no_command", 2)])
def test_a_refusal_keeps_the_sandboxs_words(
    sandbox: Scripted, capsys: pytest.CaptureFixture[str], code: str, status: int
) -> None:
    sandbox.refusal = (400, {"error": "The prompt is missing.", "code": code})
    assert main(["say", "/video"]) == status
    assert capsys.readouterr().err == "The prompt is missing.\n"


def test_nobody_there(sandbox: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.connected = False
    assert main(["say", "/video prompt:x"]) == 2
    assert main(["say", "/video prompt:x", "--url", "http://127.0.0.1:9"]) == 2
    no_bot, no_sandbox = capsys.readouterr().err.splitlines()
    assert "No bot is connected: " in no_bot
    assert "`make sandbox`" in no_sandbox


# What is followed, and how it ends ---------------------------------------------------------------


def test_only_my_messages_and_the_replies_to_them_are_printed(
    sandbox: Scripted, tmp_path: Path, printed: Callable[[], list[dict[str, Any]]]
) -> None:
    somebody_elses = {**created({"id": "60", "attachments": [sandbox.video("69")]})}
    reply = {
        "id": "51",
        "message_reference": {"message_id": "50"},
        "attachments": [sandbox.video()],
    }
    sandbox.answer(
        {**somebody_elses, "interaction_id": "1234"},
        created({"id": "50", "flags": 128}),
        updated({"id": "60"}),
        updated(WORKING),
        {**created(reply), "interaction_id": None},
    )
    out = tmp_path / "fox.mp4"
    assert main(["say", "/video prompt:x", "--out", str(out)]) == 0
    assert out.read_bytes() == MP4 + b"/cdn/70"
    assert list(tmp_path.iterdir()) == [out]
    events = printed()
    assert [event["message"]["id"] for event in events] == ["50", "50", "51"]
    assert all(set(event) == {"event", "ephemeral", "message"} for event in events)


def test_without_out_the_first_answer_is_enough(
    sandbox: Scripted, printed: Callable[[], list[dict[str, Any]]]
) -> None:
    thinking = {"id": "50", "flags": 128}
    metadata = {"id": "50", "interaction_metadata": {"id": MINE}}
    sandbox.answer(created(thinking), updated(metadata), updated(WORKING))
    assert main(["say", "/video prompt:x"]) == 0
    assert [event["message"] for event in printed()] == [thinking, metadata]


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([created(WORKING), updated(RED)], "Refused: by *moderation"),
        ([created(RED)], "Refused: by *moderation"),
        ([created({"id": "50", "content": "-# No\n**credits**"}, ephemeral=True)], "No credits"),
        ([created(WORKING), updated({"id": "50", "content": "Cancelled"})], "Cancelled"),
        ([{"event": "failed", "interaction_id": MINE, "error": "No response"}], "No response."),
    ],
)
def test_a_job_that_fails_ends_with_its_reason(
    sandbox: Scripted,
    capsys: pytest.CaptureFixture[str],
    events: list[dict[str, Any]],
    sentence: str,
) -> None:
    sandbox.answer(*events)
    assert main(["say", "/video prompt:x", "--out", "never.mp4", "--timeout", "5"]) == 1
    assert capsys.readouterr().err == f"{sentence}\n"


def test_a_red_first_answer_is_a_refusal(
    sandbox: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.answer(created(RED, ephemeral=True))
    assert main(["say", "/video prompt:x"]) == 1
    assert capsys.readouterr().err == "Refused: by *moderation\n"


def test_a_video_may_come_just_after_its_placeholder_was_closed(
    sandbox: Scripted, tmp_path: Path
) -> None:
    done = {"id": "50", "content": "Done"}
    reply = {
        "id": "51",
        "message_reference": {"message_id": "50"},
        "attachments": [sandbox.video()],
    }
    video = {**created(reply), "interaction_id": None}
    sandbox.answer(created(WORKING), updated(done), 0.1, video)
    assert main(["say", "/video prompt:x", "--out", str(tmp_path / "fox.mp4")]) == 0


def test_time_runs_out(sandbox: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.answer(created(WORKING))
    assert main(["say", "/video prompt:x", "--out", "never.mp4", "--timeout", "0.4"]) == 1
    assert capsys.readouterr().err == "No video within 0.4 s.\n"


def test_any_python_without_packages_is_enough(sandbox: Scripted) -> None:
    sandbox.answer(created(WORKING))
    command = [sys.executable, "-S", "-m", "sandbox", "say", "/video prompt:x"]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False, timeout=20)  # noqa: S603 — our own command line
    assert (answer.returncode, answer.stderr) == (0, b"")


# Buttons, selects, forms -------------------------------------------------------------------------

MODAL = {
    "title": "Why?",
    "components": [
        *row({"type": 4, "custom_id": "why", "label": "Reason"}),
        {
            "type": 18,
            "label": "How",
            "component": {
                "type": 3,
                "custom_id": "how",
                "options": [{"label": "Slowly", "value": "slow"}],
            },
        },
        *row({"type": 4, "custom_id": "who", "label": "Name", "value": "Al"}),
    ],
}


@pytest.fixture
def finished(sandbox: Scripted) -> dict[str, Any]:
    """Return a message with a clip, in the channel's history."""
    select = {
        "type": 3,
        "custom_id": "more",
        "placeholder": "More",
        "options": [{"label": "Wider", "value": "w"}],
    }
    buttons = row(
        button("Again"), button("Old", disabled=True), button("Original", style=5, url="x")
    )
    message = {
        "id": "40",
        "attachments": [sandbox.video("old")],
        "components": [*buttons, *row(select)],
    }
    sandbox.history.append(message)
    return message


@pytest.mark.usefixtures("finished")
def test_a_button_is_pressed_by_its_label(sandbox: Scripted) -> None:
    sandbox.answer(created({"id": "50"}))
    assert main(["click", "40", "again"]) == 0
    assert sandbox.interactions == [
        {"type": "component", "message": "40", "custom_id": "id-Again", "member": "alice"}
    ]


@pytest.mark.usefixtures("finished")
def test_a_select_takes_labels(sandbox: Scripted) -> None:
    sandbox.answer(created({"id": "50"}))
    assert main(["click", "40", "More", "--select", "wider"]) == 0
    assert sandbox.interactions[0]["values"] == ["w"]


@pytest.mark.usefixtures("finished")
def test_a_form_is_filled_in_by_label_or_id(
    sandbox: Scripted, printed: Callable[[], list[dict[str, Any]]]
) -> None:
    sandbox.answer({"event": "modal", "interaction_id": MINE, "modal": MODAL})
    sandbox.answer({**created({"id": "50"}), "interaction_id": "901"})
    fields = ["--field", "reason=a=b", "--field", "how=Slowly"]
    assert main(["click", "40", "Again", *fields]) == 0
    assert sandbox.interactions[1] == {
        "type": "modal",
        "interaction": MINE,
        "fields": {"who": "Al", "why": "a=b", "how": "slow"},
        "member": "alice",
    }
    assert [event["message"]["id"] for event in printed()] == ["50"]


def test_a_clip_that_was_there_before_is_not_the_new_one(
    sandbox: Scripted, finished: dict[str, Any], tmp_path: Path
) -> None:
    pressed = {**updated(finished), "interaction_id": MINE}
    new = {
        "id": "51",
        "message_reference": {"message_id": "40"},
        "attachments": [sandbox.video("new")],
    }
    sandbox.answer(pressed, {**created(new), "interaction_id": None})
    out = tmp_path / "fox.mp4"
    assert main(["click", "40", "Again", "--out", str(out)]) == 0
    assert out.read_bytes() == MP4 + b"/cdn/new"


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["41", "Again"], "alice sees no message 41"),
        (["40", "Agian"], "no button 'Agian'; it has: Again, Old, Original, More."),
        (["40", "Old"], "'Old' is switched off."),
        (["40", "Original"], "'Original' is a link to x."),
        (["40", "More", "--select", "Longer"], "no 'Longer' to select; there are: Wider."),
        (["40", "Again", "--field", "nope=1"], "no field 'nope'; it has: Reason, How, Name."),
    ],
)
def test_what_cannot_be_clicked_is_said(
    sandbox: Scripted, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    sandbox.answer({"event": "modal", "interaction_id": MINE, "modal": MODAL})
    assert main(["click", *arguments]) == 1
    assert words in capsys.readouterr().err
