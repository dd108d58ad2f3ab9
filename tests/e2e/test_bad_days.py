"""What goes wrong on the wire ends in a sentence, with the money where it belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import sqlite3

    from tests.e2e.harness import BotProcess, World

SUBMIT = {"target": "segmind", "method": "POST", "path": "/v2/luma-ray-3-2", "times": 1}
STATUS = {"target": "segmind", "method": "GET", "path": "/v2/requests/*"}
OUTPUT = {"target": "segmind", "method": "GET", "path": "/outputs/*", "times": 1}
POST = {"target": "discord", "method": "POST", "path": "/channels/*/messages", "times": 1}


async def one_job(bot: BotProcess, world: World, *faults: dict[str, Any]) -> sqlite3.Row:
    await world.faults(*faults)
    await world.say("video", prompt="a lighthouse at dusk", aspect="1:1", duration=5)
    [job] = await bot.settled()
    assert await bot.audit() == []
    return job


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
        pytest.param([OUTPUT | {"kind": "status_before", "status": 503}], id="503 at download"),
        pytest.param([POST | {"kind": "status_after", "status": 500}], id="500 after posting"),
        pytest.param([POST | {"kind": "lost_reply"}], id="lost answer to the post"),
        pytest.param([POST | {"kind": "status_before", "status": 429}], id="rate-limited post"),
    ],
)
async def test_trouble_that_ends_nothing(
    bot: BotProcess, world: World, faults: list[dict[str, Any]]
) -> None:
    job = await one_job(bot, world, *faults)
    assert job["state"] == "done"
    assert len((await world.books())["submits"]) == 1
    [post] = await world.clips()
    assert post["message_id"] == str(job["message_id"])


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "does not accept this bot's key"),
        (402, "account at the video service is empty"),
        (404, "does not offer this model"),
        (422, "refused the request"),
    ],
)
async def test_a_definite_refusal_is_told_and_free(
    bot: BotProcess, world: World, status: int, words: str
) -> None:
    job = await one_job(bot, world, SUBMIT | {"kind": "status_before", "status": status})
    assert (job["state"], job["captured"]) == ("failed", 0)
    [card] = [m["embeds"][0] for m in await world.messages() if m["embeds"]]
    assert words in card["description"]
    assert "Nothing was charged" in card["description"]
    assert await world.clips() == []


async def test_a_file_that_is_no_video_is_not_posted(bot: BotProcess, world: World) -> None:
    job = await one_job(bot, world, OUTPUT | {"kind": "html"})
    assert (job["state"], job["error"], job["captured"]) == ("failed", "BadClip", 0)
    assert await world.clips() == []


async def test_a_file_over_the_limit_is_told(bot: BotProcess, world: World) -> None:
    too_large = POST | {"kind": "status_before", "status": 413}
    job = await one_job(bot, world, too_large)
    assert (job["state"], job["error"], job["captured"]) == ("failed", "ClipTooLarge", 0)
