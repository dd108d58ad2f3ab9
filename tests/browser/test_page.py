"""A newcomer opens the page, types `/video` and watches the clip play."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, expect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[str]:
    """Run `python -m sandbox` as it is typed, and return its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox", "--port", "0", "--data", str(tmp_path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            first_line = (await process.stdout.readline()).decode()
        ready = re.fullmatch(r"Sandbox ready: (http://127\.0\.0\.1:\d+)\n", first_line)
        assert ready, first_line
        yield ready[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 15) == 0


@pytest.fixture
async def page(browser: Browser, sandbox: str) -> AsyncIterator[Page]:
    page = await browser.new_page(color_scheme="dark")
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(sandbox)
    yield page
    assert complaints == []


async def until_it_plays(page: Page) -> float:
    """Press play on the newest clip and return how many seconds of it have played."""
    video = page.locator("video").last
    await expect(video).to_be_visible(timeout=40_000)
    await video.evaluate("video => { video.muted = true; return video.play(); }")
    position = 0.0
    for _ in range(100):
        position = float(await video.evaluate("video => video.currentTime"))
        if position > 0.5:
            break
        await asyncio.sleep(0.05)
    return position


async def test_from_the_open_page_to_a_playing_video_in_a_minute(page: Page) -> None:
    started = time.monotonic()
    await page.get_by_role("combobox", name="Type / for a command").click()
    await page.keyboard.type("/vid")
    await page.keyboard.press("Enter")
    await page.keyboard.type("a red fox in the snow")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Cancel")).to_be_visible(timeout=20_000)
    assert await until_it_plays(page) > 0.5
    await expect(page.get_by_text("Done", exact=True)).to_be_visible(timeout=10_000)
    assert time.monotonic() - started < 60
