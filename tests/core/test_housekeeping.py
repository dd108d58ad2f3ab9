"""The sweeper deletes files that have become old, and nothing else."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from core import housekeeping
from core.housekeeping import clear_leftovers, sweep_for_ever

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

KEEP_S = 3600.0


def file_of_age(path: Path, age_s: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    moment = time.time() - age_s
    os.utime(path, (moment, moment))
    return path


@asynccontextmanager
async def sweeping(*folders: Path) -> AsyncIterator[asyncio.Task[None]]:
    sweeper = asyncio.create_task(sweep_for_ever(list(folders), KEEP_S))
    yield sweeper
    sweeper.cancel()
    await asyncio.wait([sweeper])


async def gone(*files: Path) -> None:
    async with asyncio.timeout(5):
        while any(file.exists() for file in files):
            await asyncio.sleep(0.01)


async def test_only_old_files_are_deleted(tmp_path: Path) -> None:
    clips, frames = tmp_path / "clips", tmp_path / "frames"
    old = [file_of_age(clips / "old.mp4", 3700), file_of_age(frames / "old.jpg", 10**7)]
    new = [file_of_age(clips / "new.mp4", 3500), file_of_age(frames / "new.jpg", -3600)]
    elsewhere = file_of_age(tmp_path / "dailies.sqlite3", 10**7)
    deeper = file_of_age(clips / "folder" / "old.mp4", 10**7)
    async with sweeping(clips, frames):
        await gone(*old)
    assert all(file.exists() for file in [*new, elsewhere, deeper])


async def test_it_sweeps_again_and_survives_a_missing_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "SWEEP_EVERY_S", 0.01)
    async with sweeping(tmp_path / "missing", tmp_path) as sweeper:
        for name in ("first", "second"):
            await gone(file_of_age(tmp_path / name, 3700))
        assert not sweeper.done()


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    clips, temporary = tmp_path / "clips", tmp_path / "temporary"
    clip = file_of_age(clips / "a.mp4", 5)
    part = file_of_age(clips / "b.mp4.1234.part", 5)
    image = file_of_age(temporary / "folder" / "image", 5)
    clear_leftovers(temporary, [clips])
    assert clip.exists()
    assert not part.exists()
    assert not image.exists()
    assert temporary.is_dir()
