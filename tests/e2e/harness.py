"""The real bot as a child process, against the sandbox over real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from sandbox.server import Config, Running, serve
from storage.database import Database
from storage.jobs import JobStore

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Callable

BOT = Path(__file__).parents[2] / "bot.py"
PATIENCE_S = 60.0
HURRY = {"POLL_INTERVAL_S": "0.2", "SUBMIT_TIMEOUT_S": "2", "SUBMIT_DOUBT_S": "2"}


async def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for a condition and return its value."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (value := condition()):
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"waited {PATIENCE_S:.0f} s in vain for {what}")
    return value


@dataclass
class BotProcess:
    """`python bot.py` with a data folder of its own, which outlives it."""

    environment: dict[str, str]
    folder: Path
    process: asyncio.subprocess.Process | None = None
    log: list[str] = field(default_factory=list)
    _reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(BOT),
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "DATA_DIR": str(self.folder)} | self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self.log.append("--- start ---")
        self._reader = asyncio.create_task(self._read(self.process))
        starts = len([line for line in self.log if line.startswith("--- start")])
        await until(lambda: len(self._ready_lines()) == starts, f"readiness:\n{self.text}")

    def _ready_lines(self) -> list[str]:
        return [line for line in self.log if line.startswith("Ready:")]

    @property
    def text(self) -> str:
        return "\n".join(self.log)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.log.append(line.decode().rstrip())

    async def end(self, number: signal.Signals) -> int:
        """Send a signal, wait for the end and return the exit status."""
        if self.process is None or self._reader is None:
            return 0
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(15):
            status = await self.process.wait()
            await self._reader
        return status

    def jobs(self) -> list[sqlite3.Row]:
        """Read the bot's database from outside, while it runs."""
        file = self.folder / "dailies.sqlite3"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as database:
            database.row_factory = sqlite3.Row
            return database.execute("SELECT * FROM jobs ORDER BY created_at").fetchall()

    def job(self, index: int = -1) -> sqlite3.Row | None:
        rows = self.jobs()
        return rows[index] if rows else None

    async def settled(self, count: int = 1) -> list[sqlite3.Row]:
        """Wait until `count` jobs have ended and their members know."""

        def all_told() -> list[sqlite3.Row] | None:
            rows = self.jobs()
            return rows if len(rows) == count and all(row["told_at"] for row in rows) else None

        rows: list[sqlite3.Row] = await until(all_told, f"settled jobs\n{self.text}")
        return rows

    async def audit(self) -> list[str]:
        """Return what is wrong with the books; the bot may run."""
        database = Database(f"sqlite+aiosqlite:///{self.folder / 'dailies.sqlite3'}")
        try:
            return await JobStore(database).audit()
        finally:
            await database.close()

    def credits(self) -> dict[str, int]:
        """Return all balances by account."""
        file = self.folder / "dailies.sqlite3"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as database:
            return dict(database.execute("SELECT name, balance FROM accounts").fetchall())


@dataclass
class World:
    """The sandbox from outside: a member's hands and eyes, and its books."""

    sandbox: Running
    http: aiohttp.ClientSession

    async def say(
        self, command: str, image: Path | None = None, member: str = "alice", **options: object
    ) -> str:
        """Use a slash command and return the interaction's id."""
        order = {"type": "command", "command": command, "member": member, "options": options}
        if image is None:
            return await self._interact(json.dumps(order))
        options["image"] = {"file": 0}
        form = aiohttp.FormData()
        form.add_field("payload_json", json.dumps(order), content_type="application/json")
        with image.open("rb") as file:
            form.add_field("files[0]", file, filename=image.name)
            return await self._interact(form)

    async def click(self, message: dict[str, Any], label: str, member: str = "alice") -> str:
        """Press a button by its label."""
        [button] = [
            part
            for row in message["components"]
            for part in row["components"]
            if part.get("label") == label
        ]
        order = {"type": "component", "message": message["id"], "member": member}
        order["custom_id"] = button["custom_id"]
        return await self._interact(json.dumps(order))

    async def _interact(self, body: aiohttp.FormData | str) -> str:
        headers = {"Content-Type": "application/json"} if isinstance(body, str) else None
        async with self.http.post("/sandbox/interactions", data=body, headers=headers) as response:
            answer = await response.json()
            assert response.status == 201, answer
            return str(answer["interaction_id"])

    async def faults(self, *script: dict[str, Any]) -> None:
        async with self.http.put("/sandbox/faults", json={"script": list(script)}) as response:
            assert response.status < 300, await response.text()

    async def books(self) -> dict[str, Any]:
        async with self.http.get("/sandbox/books") as response:
            books: dict[str, Any] = await response.json()
            return books

    async def until_books(self, *, submits: int, clips: int) -> None:
        """Wait until so many submits and posted clips stand in the books."""
        async with asyncio.timeout(PATIENCE_S):
            while len((await self.books())["submits"]) < submits:
                await asyncio.sleep(0.02)
            while len(await self.clips()) < clips:
                await asyncio.sleep(0.02)

    async def clips(self) -> list[dict[str, Any]]:
        """Return the posts that carry a video."""
        return [post for post in (await self.books())["posts"] if post["attachments"]]

    async def messages(self, member: str = "alice") -> list[dict[str, Any]]:
        """Return what a member sees in the first channel."""
        seen = []
        async with self.http.get("/sandbox/events", params={"member": member}) as response:
            async for line in response.content:
                if not line.startswith(b"data:"):
                    continue
                event = json.loads(line[5:])
                if event["event"] == "ready":
                    break
                seen.append(event["message"])
        return seen


@asynccontextmanager
async def open_world(folder: Path, speed: float) -> AsyncIterator[World]:
    sandbox = await serve(Config(folder=folder, port=0, speed=speed, quiet=True))
    async with aiohttp.ClientSession(sandbox.url) as http:
        yield World(sandbox, http)
    await sandbox.close()
