"""The adapter against the sandbox's Segmind, which renders real clips."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from PIL import Image

from core.errors import ModerationRefused, ProviderKeyRejected
from core.ports import Completed, Failed, Running
from core.video import VideoRequest
from providers.catalog import LUMA_RAY_3_2
from sandbox.books import Books
from sandbox.providers import segmind as emulator
from tests.providers.conftest import KEY, segmind_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from providers.segmind import Segmind

FOX = VideoRequest(prompt="a red fox", aspect="9:16", duration_s=5, resolution="360p")
HOUR_S = 3600.0


@dataclass
class Clock:
    """Unix seconds that a test can move forward."""

    ahead_s: float = field(default=0.0)

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@dataclass
class Provider:
    segmind: Segmind
    emulator: emulator.EmulatedSegmind
    clock: Clock

    async def outcome_of(self, request_id: str) -> Completed | Failed:
        async with asyncio.timeout(15):
            while isinstance(outcome := await self.segmind.poll(request_id), Running):
                await asyncio.sleep(0.02)
        return outcome


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    port, clock = unused_port(), Clock()
    origin = f"http://127.0.0.1:{port}/segmind"
    emulated = emulator.EmulatedSegmind(Books(), 500, tmp_path, origin, KEY, clock)
    app = web.Application()
    app.add_routes(emulator.routes(emulated))
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with segmind_at(origin) as segmind:
        yield Provider(segmind, emulated, clock)
    await emulated.close()
    await runner.cleanup()


async def test_a_start_frame_becomes_one_clip_that_is_billed_once(
    provider: Provider, tmp_path: Path
) -> None:
    picture = tmp_path / "frame.jpg"
    Image.new("RGB", (360, 640), "teal").save(picture)
    body = provider.segmind.build(FOX, await provider.segmind.upload(picture))
    began = time.time()
    receipt = await provider.segmind.submit(LUMA_RAY_3_2.name, body)

    outcome = await provider.outcome_of(receipt.id)
    assert isinstance(outcome, Completed)
    [entry] = provider.emulator.books.submits
    assert (entry.id, entry.model, entry.body) == (receipt.id, "luma-ray-3-2", body)
    assert outcome.billed_usd is not None
    assert float(outcome.billed_usd) == entry.cost

    found = await provider.segmind.find(LUMA_RAY_3_2.name, body, began, time.time())
    assert found == [receipt.id]


async def test_a_result_that_has_expired_is_read_from_the_history(provider: Provider) -> None:
    body = provider.segmind.build(FOX, None)
    receipt = await provider.segmind.submit(LUMA_RAY_3_2.name, body)
    in_time = await provider.outcome_of(receipt.id)
    provider.clock.ahead_s = 2 * HOUR_S
    late = await provider.outcome_of(receipt.id)
    assert isinstance(in_time, Completed)
    assert isinstance(late, Completed)
    assert (late.url, late.billed_usd) == (in_time.url, in_time.billed_usd)


async def test_moderation_refuses_after_the_submit(provider: Provider) -> None:
    wish = FOX.model_copy(update={"prompt": emulator.FORBIDDEN})
    receipt = await provider.segmind.submit(LUMA_RAY_3_2.name, provider.segmind.build(wish, None))
    outcome = await provider.outcome_of(receipt.id)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ModerationRefused)


async def test_a_wrong_key_orders_nothing(provider: Provider) -> None:
    provider.emulator.key = "SG_fedcba9876543210"
    with pytest.raises(ProviderKeyRejected):
        await provider.segmind.submit(LUMA_RAY_3_2.name, {"prompt": "a red fox"})
    assert provider.emulator.books.submits == []


def test_the_catalog_offers_what_the_emulator_takes() -> None:
    choices = emulator.CHOICES
    assert LUMA_RAY_3_2.aspects == choices["aspect_ratio"]
    assert tuple(f"{seconds}s" for seconds in LUMA_RAY_3_2.durations_s) == choices["duration"]
    assert LUMA_RAY_3_2.resolutions == choices["resolution"]
    assert LUMA_RAY_3_2.list_price >= max(emulator.COSTS.values()) * 100
