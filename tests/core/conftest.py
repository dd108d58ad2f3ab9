"""A world around the core in which a test says what goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.core.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from core.jobs import Job
    from storage.database import Database


@pytest.fixture
async def world(
    database: Database, tmp_path: Path, make_job: Callable[..., Job]
) -> AsyncIterator[World]:
    world = World(database, tmp_path, make_job)
    yield world
    await world.check_books()
