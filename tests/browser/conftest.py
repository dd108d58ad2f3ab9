"""A real browser on the real page: the system's Chromium, or Playwright's own."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Browser, Error, async_playwright

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# As root Chromium refuses its own sandbox; it only ever opens a page of ours, on loopback.
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    path = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    async with async_playwright() as playwright:
        try:
            browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        except Error as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"no Chromium here (apt install chromium): {error.message[:200]}")
        yield browser
        await browser.close()
