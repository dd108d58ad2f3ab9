"""How bot.py starts and how it refuses to, as a real child process."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from storage.lock import holding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BOT = Path(__file__).parent.parent / "bot.py"
TOKEN, KEY = "MTIzNDU2Nzg5.abcdef.the-token", "SG_0123456789abcdef"
REQUIRED = {"DISCORD_TOKEN": TOKEN, "SEGMIND_API_KEY": KEY}
WRONG_SETTING = 2


@dataclass(frozen=True)
class Ended:
    """A child process that has ended."""

    status: int | None
    out: str
    err: str

    @property
    def last_words(self) -> str:
        return self.err.rstrip().rpartition("\n")[2]


async def start(folder: Path, *arguments: str, **environment: str) -> Ended:
    """Run bot.py in `folder`, with no other environment, until it ends."""
    inherited = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, str(BOT), *arguments),
        cwd=folder,
        env=inherited | {"PYTHONIOENCODING": "utf-8"} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await child.communicate()
    return Ended(child.returncode, out.decode(), err.decode())


# --- Wrong settings ---


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"DISCORD_TOKEN": ""},
            "DISCORD_TOKEN is not set: copy .env.example to .env and fill it in.",
        ),
        ({"SEGMIND_KEY": "s3cret"}, "SEGMIND_KEY is no setting of Dailies"),
        ({"SEGMIND_BASE_URL": "http://s3cret"}, "SEGMIND_BASE_URL is wrong: must be an https"),
    ],
    ids=["missing", "unknown", "wrong"],
)
async def test_a_wrong_setting_ends_the_start_with_one_sentence(
    tmp_path: Path, wrong: dict[str, str], sentence: str
) -> None:
    ended = await start(tmp_path, **REQUIRED | wrong)
    assert ended.status == WRONG_SETTING
    assert ended.err.startswith(sentence)
    assert ended.err.count("\n") == 1
    assert ended.out == ""
    assert not any(value in ended.err for value in (TOKEN, KEY, "s3cret"))
    assert list(tmp_path.iterdir()) == []


async def test_an_unknown_name_in_the_file_ends_the_start_too(tmp_path: Path) -> None:
    lines = [f"{name}={value}" for name, value in REQUIRED.items()]
    (tmp_path / ".env").write_text("\n".join([*lines, "JOB_MAX=s3cret"]))
    ended = await start(tmp_path)
    assert ended.status == WRONG_SETTING
    assert ended.err == "JOB_MAX is no setting of Dailies; .env.example lists them all.\n"


# --- A Discord that does not let us in ---


@asynccontextmanager
async def discord_that_refuses_tokens() -> AsyncIterator[tuple[str, list[str | None]]]:
    """Serve 401 for everything, and note the tokens that came."""
    tokens: list[str | None] = []

    async def refuse(request: web.Request) -> web.Response:
        tokens.append(request.headers.get("Authorization"))
        return web.json_response({"message": "401: Unauthorized", "code": 0}, status=401)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/api/v10", tokens
    await runner.cleanup()


async def test_a_refused_token_is_one_sentence(tmp_path: Path) -> None:
    async with discord_that_refuses_tokens() as (url, tokens):
        ended = await start(tmp_path, DISCORD_API_URL=url, **REQUIRED)
    assert tokens == [f"Bot {TOKEN}"]
    assert ended.status == 1
    assert ended.last_words == "Discord does not accept DISCORD_TOKEN; copy it again."
    assert "Traceback" not in ended.err
    assert not any(secret in ended.err for secret in (TOKEN, KEY))


async def test_an_unreachable_discord_is_one_sentence(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{unused_port()}/api/v10"
    ended = await start(tmp_path, DISCORD_API_URL=url, **REQUIRED)
    assert ended.status == 1
    assert ended.last_words.startswith("Discord cannot be reached")
    assert "Traceback" not in ended.err
    assert ended.out == "", "it is not ready"


# --- migrate ---


async def test_migrate_makes_the_tables_and_ends(tmp_path: Path) -> None:
    ended = await start(tmp_path, "migrate", **REQUIRED)
    assert (ended.status, ended.out) == (0, "")
    with closing(sqlite3.connect(tmp_path / "data" / "dailies.sqlite3")) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    assert {"jobs", "accounts", "alembic_version"} <= tables


async def test_a_data_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = await start(tmp_path, "migrate", DATA_DIR="file/data", **REQUIRED)
    assert ended.status == 1
    assert ended.last_words.startswith("DATA_DIR cannot be used")
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("lock", ["lock", "dailies.sqlite3.lock"])
async def test_a_second_bot_on_the_same_data_is_refused(tmp_path: Path, lock: str) -> None:
    with holding(tmp_path / lock):
        ended = await start(tmp_path, **REQUIRED, DATA_DIR=str(tmp_path))
    assert ended.status == 1
    assert ended.err.startswith("Another bot is already running on this DATA_DIR")
    assert ended.err.count("\n") == 1
