"""A fresh sandbox and a ready bot for each test."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import HURRY, BotProcess, World, open_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path / "sandbox", speed=50) as world:
        yield world


@pytest.fixture
async def bot(world: World, tmp_path: Path) -> AsyncIterator[BotProcess]:
    """Return the bot, ready."""
    process = BotProcess(world.sandbox.environment() | HURRY, tmp_path / "bot")
    await process.start()
    await world.sandbox.commands_registered()
    yield process
    await process.end(signal.SIGKILL)
