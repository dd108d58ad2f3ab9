"""What goes wrong on the wire ends in a sentence, with the money where it belongs."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.e2e.harness import HURRY, BotProcess, World, open_world

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBMIT = {"target": "segmind", "method": "POST", "path": "/v2/luma-ray-3-2", "times": 1}
STATUS = {"target": "segmind", "method": "GET", "path": "/v2/requests/*"}
OUTPUT = {"target": "segmind", "method": "GET", "path": "/outputs/*", "times": 1}
POST = {"target": "discord", "method": "POST", "path": "/channels/*/messages", "times": 1}


@dataclass
class Outcome:
    """What became of one `/video`, in our database and in the others' books."""

    job: sqlite3.Row
    submits: list[dict[str, Any]]
    clips: list[dict[str, Any]]
    card: dict[str, Any]


@dataclass
class BadDay:
    """One bot that lives through all of it, one fault after the other."""

    bot: BotProcess
    world: World
    count: int = 0

    async def video(self, *faults: dict[str, Any]) -> Outcome:
        self.count += 1
        prompt = f"lighthouse number {self.count}"
        await self.world.faults(*faults)
        await self.world.say("video", prompt=prompt, aspect="1:1", duration=5)
        job = (await self.bot.settled(self.count))[-1]
        assert await self.bot.audit() == []
        assert self.bot.credits()[f"held:{job['guild_id']}"] == 0
        books = await self.world.books()
        cards = [
            message["embeds"][0] for message in await self.world.messages() if message["embeds"]
        ]
        return Outcome(
            job=job,
            submits=[submit for submit in books["submits"] if submit["body"]["prompt"] == prompt],
            clips=[post for post in books["posts"] if post["nonce"] == job["id"]],
            card=next(card for card in cards if prompt in card["description"]),
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def day(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BadDay]:
    folder = tmp_path_factory.mktemp("bad-day")
    async with open_world(folder / "sandbox", speed=50) as world:
        bot = BotProcess(world.sandbox.environment() | HURRY, folder / "bot")
        await bot.start()
        yield BadDay(bot, world)
        await bot.end(signal.SIGKILL)


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([SUBMIT | {"kind": "status_before", "status": 429}], id="busy at submit"),
        pytest.param([SUBMIT | {"kind": "status_after", "status": 502}], id="502 after the order"),
        pytest.param([SUBMIT | {"kind": "lost_reply"}], id="lost answer to the order"),
        pytest.param(
            [STATUS | {"kind": "status_before", "status": 500, "times": 2}], id="500 while waiting"
        ),
        pytest.param([STATUS | {"kind": "html", "times": 2}], id="HTML while waiting"),
        pytest.param([OUTPUT | {"kind": "truncate"}], id="broken download"),
        pytest.param([OUTPUT | {"kind": "html"}], id="HTML at download"),
        pytest.param([OUTPUT | {"kind": "status_before", "status": 503}], id="503 at download"),
        pytest.param([POST | {"kind": "status_after", "status": 500}], id="500 after posting"),
        pytest.param([POST | {"kind": "lost_reply"}], id="lost answer to the post"),
        pytest.param([POST | {"kind": "status_before", "status": 429}], id="rate-limited post"),
    ],
)
async def test_trouble_that_ends_nothing(day: BadDay, faults: list[dict[str, Any]]) -> None:
    outcome = await day.video(*faults)
    assert outcome.job["state"] == "done"
    assert len(outcome.submits) == 1
    [post] = outcome.clips
    assert post["message_id"] == str(outcome.job["message_id"])


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "does not accept this bot's key"),
        (402, "account at the video service is empty"),
        (404, "does not offer this model"),
        (422, "refused the request"),
    ],
)
async def test_a_definite_refusal_is_told_and_free(day: BadDay, status: int, words: str) -> None:
    outcome = await day.video(SUBMIT | {"kind": "status_before", "status": status})
    assert (outcome.job["state"], outcome.job["captured"]) == ("failed", 0)
    assert words in outcome.card["description"]
    assert "Nothing was charged" in outcome.card["description"]
    assert outcome.submits == outcome.clips == []


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(
            OUTPUT | {"kind": "html", "times": 3}, "BadClip", id="a file that is no video"
        ),
        pytest.param(
            POST | {"kind": "status_before", "status": 413}, "ClipTooLarge", id="over the limit"
        ),
    ],
)
async def test_a_clip_that_cannot_be_posted_is_told_and_free(
    day: BadDay, fault: dict[str, Any], error: str
) -> None:
    outcome = await day.video(fault)
    assert (outcome.job["state"], outcome.job["error"]) == ("failed", error)
    assert outcome.job["captured"] == 0
    assert "Nothing was charged" in outcome.card["description"]
    assert outcome.clips == []
