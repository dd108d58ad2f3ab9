"""`python3 -m sandbox`, as processes: the servers, and a bot that comes, dies and is ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox.client_wire import NO_BOT

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parent.parent.parent

# The launcher with another bot than ours: `launch.py <data> <bot>`.
LAUNCH = """
import asyncio, sys
from argparse import Namespace
from pathlib import Path
from sandbox import launch
launch.DATA = Path(sys.argv[1])
launch.TERMINATE_S = launch.RESTART_AFTER_S = 0.3
options = Namespace(command=None, port=0, data=None, speed=10.0)
sys.exit(asyncio.run(launch.run(options, Path(sys.argv[2]))))
"""

# A real client of Discord that registers one command, and will not go when asked to.
STUBBORN_BOT = """
import json, os, signal, urllib.request
from pathlib import Path
import discord, yarl
from discord.gateway import DiscordWebSocket

signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open("pids", "a") as pids:
    print(os.getpid(), file=pids, flush=True)
Path("environment.json").write_text(json.dumps(dict(os.environ)))
api = os.environ["DISCORD_API_URL"]
with urllib.request.urlopen(api + "/gateway") as answer:
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(json.load(answer)["url"])
discord.http.Route.BASE = api

class Bot(discord.Client):
    async def setup_hook(self):
        tree = discord.app_commands.CommandTree(self)
        tree.command(name="hello", description="Say hello")(hello)
        await tree.sync()

async def hello(interaction: discord.Interaction):
    await interaction.response.send_message("Hello!")

Bot(intents=discord.Intents(guilds=True)).run(os.environ["DISCORD_TOKEN"])
"""


@contextmanager
def started(*command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(  # noqa: S603 — our own command line
        [sys.executable, *command],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)


def lines_until_ready(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith("Sandbox ready: "):
            return lines
    _, complaint = process.communicate(timeout=20)
    raise AssertionError(complaint)


def say(url: str, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 — our own command line
        [sys.executable, "-m", "sandbox", "say", text, "--url", url],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def complaint_of(*command: str) -> str:
    """Return what a command says that refuses to start."""
    with started(*command) as process:
        out, complaint = process.communicate(timeout=20)
    assert (process.returncode, out) == (2, "")
    return complaint


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_pids(file: Path, count: int) -> list[int]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        pids = [int(line) for line in file.read_text().split()] if file.exists() else []
        if len(pids) >= count:
            return pids
        time.sleep(0.05)
    raise AssertionError(f"{count} bots were not started")


def test_serve_prints_a_bots_environment_and_waits_for_it(tmp_path: Path) -> None:
    command = ["-m", "sandbox", "--port", "0", "serve", "--data", str(tmp_path)]
    with started(*command) as process:
        *exports, ready = lines_until_ready(process)
        url = ready.removeprefix("Sandbox ready: ")
        assert f"export DISCORD_API_URL={url}/api/v10" in exports
        assert all(line.startswith("export ") for line in exports)
        with urllib.request.urlopen(f"{url}/sandbox/world") as answer:  # noqa: S310 — loopback
            world = json.load(answer)
        assert world["speed"] == 10.0
        assert "alice" in [member["name"] for member in world["guilds"][0]["members"]]
        nobody = say(url, "/hello")
        assert (nobody.returncode, nobody.stderr) == (2, f"{NO_BOT}\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0


def exported_folder(lines: list[str]) -> Path:
    exports = dict(line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)
    return Path(exports["DATA_DIR"])


def test_a_new_world_has_a_new_bots_folder_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    command = ["-m", "sandbox", "serve", "--data", str(tmp_path)]
    others = tmp_path / "notes.txt"
    others.write_text("mine")
    with started(*command, "--port", "0") as first:
        lines = lines_until_ready(first)
        database = exported_folder(lines) / "dailies.sqlite3"
        assert database.parent == tmp_path / "bot"
        database.write_text("the first one's")
        port = lines[-1].rpartition(":")[2]
        assert complaint_of(*command, "--port", port).startswith(f"Port {port} cannot be used")
        assert database.exists(), "a sandbox that never started has emptied another's folder"
    with started(*command, "--port", "0") as second:
        assert exported_folder(lines_until_ready(second)) == database.parent
        assert not database.exists()
    assert others.exists()


def test_a_folder_that_is_not_the_sandboxs_is_never_emptied(tmp_path: Path) -> None:
    others = tmp_path / "bot" / "main.py"
    others.parent.mkdir()
    others.write_text("print('mine')")
    complaint = complaint_of("-m", "sandbox", "serve", "--port", "0", "--data", str(tmp_path))
    assert complaint.startswith(f"The folder {tmp_path} cannot be used")
    assert others.exists()


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--data", __file__, f"The folder {__file__} cannot be used (not a directory)"),
        ("--data", "/proc/x", "The folder /proc/x cannot be used"),
        ("--port", "99999", "argument --port: must be a whole number from 0 to 65535"),
        ("--speed", "abc", "argument --speed: must be a number above 0"),
    ],
)
def test_an_unusable_option_is_said_in_one_sentence(option: str, value: str, words: str) -> None:
    complaint = complaint_of("-m", "sandbox", "--port", "0", option, value)
    assert words in complaint.splitlines()[-1]
    assert "Traceback" not in complaint


def test_the_command_line_itself_needs_no_packages() -> None:
    complaint = complaint_of("-S", "-m", "sandbox")
    assert "`make sandbox`" in complaint
    assert complaint.count("\n") == 1
    for command in ("say", "click"):
        with started("-S", "-m", "sandbox", command, "--help") as process:
            out, complaint = process.communicate(timeout=20)
        assert (process.returncode, complaint) == (0, "")
        assert f"sandbox {command}" in out


def test_a_taken_port_is_said_in_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = ["-m", "sandbox", "--port", port, "--data", str(tmp_path)]
        complaint = complaint_of(*command)
    assert complaint.startswith(f"Port {port} cannot be used")
    assert complaint.count("\n") == 1


def test_a_bot_that_dies_at_its_start_ends_the_sandbox(tmp_path: Path) -> None:
    bot = tmp_path / "bot.py"
    bot.write_text("import sys; sys.exit('DISCORD_TOKEN is wrong.')")
    with started("-c", LAUNCH, str(tmp_path / "data"), str(bot)) as process:
        out, complaint = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert "The bot ended with status 1." in complaint
    assert "bot: DISCORD_TOKEN is wrong." in complaint


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL to send")
def test_a_bot_is_shielded_restarted_and_ended(tmp_path: Path) -> None:
    bot = tmp_path / "stubborn.py"
    bot.write_text(STUBBORN_BOT)
    secrets = {"SEGMIND_API_KEY": "real-key", "WAVESPEED_API_KEY": "real-key", "DATA_DIR": "/real"}
    with started("-c", LAUNCH, str(tmp_path / "data"), str(bot), **secrets) as process:
        url = lines_until_ready(process)[0].removeprefix("Sandbox ready: ")
        folder = tmp_path / "data" / f"sandbox-{url.rpartition(':')[2]}" / "bot"
        environment = json.loads((folder / "environment.json").read_text())
        assert "real-key" not in environment.values()
        assert environment["DATA_DIR"] == str(folder)
        assert environment["DISCORD_API_URL"] == f"{url}/api/v10"
        assert say(url, "/hello").returncode == 0

        first = wait_for_pids(folder / "pids", 1)[0]
        os.kill(first, signal.SIGKILL)
        second = wait_for_pids(folder / "pids", 2)[1]

        process.terminate()
        _, complaint = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "The bot ended with status -9." in complaint
    assert "starts again" in complaint
    assert not is_alive(first)
    assert not is_alive(second)
