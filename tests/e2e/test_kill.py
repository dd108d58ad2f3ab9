"""`kill -9` in every state, then a restart: one submit, one post, nothing held.

A fault holds the other side's answer back, so that the bot is killed exactly there.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.harness import until

if TYPE_CHECKING:
    import sqlite3

    from tests.e2e.harness import BotProcess, World

PROMPT = "a paper boat on a stormy sea"


def hold(target: str, method: str, path: str, kind: str) -> dict[str, Any]:
    """Delay the first such request, before or after it took effect, beyond the kill."""
    entry = {"target": target, "method": method, "path": path, "kind": kind}
    return entry | {"times": 1, "delay_s": 30}


SUBMIT = ("segmind", "POST", "/v2/luma-ray-3-2")
STATUS = ("segmind", "GET", "/v2/requests/*")
OUTPUT = ("segmind", "GET", "/outputs/*")
POST = ("discord", "POST", "/channels/*/messages")


@dataclass
class Moment:
    """When to kill: in `state`, once `effects` submits and posts have happened."""

    state: str
    fault: dict[str, Any]
    submits: int = 0
    posts: int = 0


MOMENTS = {
    "queued": Moment("queued", hold("discord", "PATCH", "/webhooks/*", "delay_before")),
    "submitting, accepted": Moment("submitting", hold(*SUBMIT, "delay_after"), submits=1),
    "generating": Moment("generating", hold(*STATUS, "delay_before"), submits=1),
    "fetching": Moment("fetching", hold(*OUTPUT, "delay_before"), submits=1),
    "posting, not yet posted": Moment("posting", hold(*POST, "delay_before"), submits=1),
    "posting, posted": Moment("posting", hold(*POST, "delay_after"), submits=1, posts=1),
}


async def kill_at(bot: BotProcess, world: World, moment: Moment) -> None:
    await world.faults(moment.fault)
    await world.say("video", prompt=PROMPT, aspect="1:1", duration=5)
    await until(lambda: (job := bot.job()) and job["state"] == moment.state, moment.state)
    await world.until_books(submits=moment.submits, clips=moment.posts)
    await bot.end(signal.SIGKILL)
    job = bot.job()
    assert job is not None
    assert job["state"] == moment.state, "killed too late"
    await world.faults()


async def check_books(bot: BotProcess, world: World, job: sqlite3.Row) -> None:
    """Compare the other sides' books with ours."""
    assert job["state"] == "done"
    [submit] = (await world.books())["submits"]
    assert submit["id"] == job["provider_job_id"]
    [post] = await world.clips()
    assert post["message_id"] == str(job["message_id"])
    assert bot.credits()[f"held:{job['guild_id']}"] == 0
    assert bot.credits()[f"spent:{job['guild_id']}"] == job["captured"] == 110
    assert await bot.audit() == []


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
async def test_a_killed_bot_goes_on_where_it_was(
    bot: BotProcess, world: World, moment: Moment
) -> None:
    await kill_at(bot, world, moment)
    await bot.start()
    [job] = await bot.settled()
    await check_books(bot, world, job)


async def test_killed_before_the_end_was_told(bot: BotProcess, world: World) -> None:
    """The clip is there and paid; only the placeholder still says "Posting"."""
    await world.say("video", prompt=PROMPT, aspect="1:1", duration=5)
    await until(lambda: (job := bot.job()) and job["state"] == "generating", "generating")
    await world.faults(
        hold("discord", "PATCH", "/channels/*/messages/*", "delay_before") | {"times": 9}
    )
    await until(lambda: (job := bot.job()) and job["state"] == "done", "done")
    await bot.end(signal.SIGKILL)
    job = bot.job()
    assert job is not None
    assert job["told_at"] is None
    await world.faults()

    await bot.start()
    [job] = await bot.settled()
    await check_books(bot, world, job)
    titles = [m["embeds"][0]["title"] for m in await world.messages() if m["embeds"]]
    assert titles == ["Done"]


async def test_killed_before_the_order_arrived(bot: BotProcess, world: World) -> None:
    """Nobody can know that it did not arrive: it is refunded and told, and never sent again."""
    moment = Moment("submitting", hold(*SUBMIT, "delay_before"))
    await kill_at(bot, world, moment)
    await bot.start()
    [job] = await bot.settled()
    assert (job["state"], job["captured"]) == ("in_doubt", 0)
    assert (await world.books())["submits"] == []
    assert await world.clips() == []
    assert bot.credits()[f"guild:{job['guild_id']}"] == 10_000
    assert await bot.audit() == []
    [card] = [m["embeds"][0] for m in await world.messages() if m["embeds"]]
    assert "Nothing was charged" in card["description"]
