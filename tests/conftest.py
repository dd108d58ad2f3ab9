"""What several folders of tests share."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from core.jobs import Job, State
from core.video import VideoRequest
from storage.database import Database
from storage.jobs import JobStore
from storage.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

GUILD, CHANNEL, MEMBER = 11, 22, 33


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated, empty database file; tests copy it, which is faster than migrating."""
    file = tmp_path_factory.mktemp("database") / "migrated.sqlite3"

    async def make() -> None:
        database = Database(f"sqlite+aiosqlite:///{file}")
        await migrate(database)
        await database.close()

    asyncio.run(make())
    return file


@pytest.fixture
async def database(migrated: Path, tmp_path: Path) -> AsyncIterator[Database]:
    file = shutil.copy(migrated, tmp_path / "dailies.sqlite3")
    database = Database(f"sqlite+aiosqlite:///{file}")
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> JobStore:
    return JobStore(database)


@pytest.fixture
def make_job() -> Callable[..., Job]:
    """Return a maker of queued jobs, each from another interaction."""
    count = 0

    def make(**changes: object) -> Job:
        nonlocal count
        count += 1
        now = time.time()
        values = {
            "id": f"{count:016x}",
            "interaction_id": count,
            "guild_id": GUILD,
            "channel_id": CHANNEL,
            "member_id": MEMBER,
            "placeholder_id": None,
            "request": VideoRequest(
                prompt="a red fox", aspect="9:16", duration_s=5, resolution="720p"
            ),
            "provider": "segmind",
            "model": "luma-ray-3-2",
            "state": State.QUEUED,
            "hold": 132,
            "fence": 0,
            "worker": None,
            "created_at": now,
            "due_at": now,
        }
        return Job(**(values | changes))  # type: ignore[arg-type]  # a test names what it changes

    return make
