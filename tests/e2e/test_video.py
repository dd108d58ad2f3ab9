"""One `/video` over real sockets: real discord.py, real worker, real SQLite, real ffmpeg."""

from __future__ import annotations

import io
import re
import signal
from typing import TYPE_CHECKING, Any

import av
import pytest
from PIL import Image, ImageChops, ImageStat

from tests.e2e.harness import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.harness import BotProcess, World

PROMPT = "a red fox in the snow"


async def clip_message(world: World) -> dict[str, Any]:
    [message] = [message for message in await world.messages() if message["attachments"]]
    return message


async def first_frame(world: World, message: dict[str, Any]) -> tuple[av.VideoStream, Image.Image]:
    async with world.http.get(message["attachments"][0]["url"]) as response:
        clip = av.open(io.BytesIO(await response.read()), mode="r")
    picture = next(clip.decode(video=0)).to_image()  # type: ignore[no-untyped-call]  # PyAV's own
    return clip.streams.video[0], picture


async def placeholder(world: World) -> dict[str, Any]:
    return next(message for message in await world.messages() if message["embeds"])


async def test_a_prompt_becomes_a_video_in_the_channel(bot: BotProcess, world: World) -> None:
    await world.say("video", prompt=PROMPT, aspect="9:16", duration=5)
    [job] = await bot.settled()

    message = await clip_message(world)
    assert message["content"].startswith(f"<@{job['member_id']}> your video is ready.")
    assert [mention["id"] for mention in message["mentions"]] == [str(job["member_id"])]
    assert message["message_reference"]["message_id"] == str(job["placeholder_id"])
    assert re.fullmatch(r"a-red-fox-in-the-snow-\w{8}\.mp4", message["attachments"][0]["filename"])
    stream, _ = await first_frame(world, message)
    assert (stream.codec.name, stream.width, stream.height) == ("h264", 720, 1280)
    assert stream.duration is not None
    assert stream.time_base is not None
    assert float(stream.duration * stream.time_base) == pytest.approx(5.0, abs=0.2)

    end = await placeholder(world)
    assert end["embeds"][0]["title"] == "Done"
    assert message["id"] in end["embeds"][0]["description"]
    assert end["components"] == []


async def test_the_books_of_both_sides_agree(bot: BotProcess, world: World) -> None:
    await world.say("video", prompt=PROMPT, aspect="21:9", duration=10)
    [job] = await bot.settled()
    [submit] = (await world.books())["submits"]
    assert submit["id"] == job["provider_job_id"]
    assert submit["body"] == {
        "prompt": PROMPT,
        "aspect_ratio": "21:9",
        "duration": "10s",
        "resolution": "720p",
    }
    [post] = await world.clips()
    assert (post["nonce"], post["message_id"]) == (job["id"], str(job["message_id"]))
    charged = round(submit["cost"] * 100)
    assert bot.credits() == {
        "issuer": -10_000,
        f"guild:{job['guild_id']}": 10_000 - charged,
        f"held:{job['guild_id']}": 0,
        f"spent:{job['guild_id']}": charged,
    }
    assert await bot.audit() == []


async def test_an_attached_image_is_the_first_frame(
    bot: BotProcess, world: World, tmp_path: Path
) -> None:
    picture = Image.linear_gradient("L").resize((600, 800)).convert("RGB")
    picture.paste((200, 30, 30), (100, 100, 300, 400))
    picture.save(tmp_path / "fox.png")
    await world.say("video", image=tmp_path / "fox.png", prompt=PROMPT)
    [job] = await bot.settled()

    stream, frame = await first_frame(world, await clip_message(world))
    assert (stream.width, stream.height) == (720, 960), "the image decides the aspect: 3:4"
    difference = ImageChops.difference(frame, picture.resize(frame.size))
    assert max(ImageStat.Stat(difference).mean) < 6
    [submit] = (await world.books())["submits"]
    assert submit["body"]["start_frame"].startswith(world.sandbox.url)
    assert job["state"] == "done"


async def test_a_refusal_by_the_service_costs_nothing(bot: BotProcess, world: World) -> None:
    await world.say("video", prompt="something forbidden-by-moderation", aspect="1:1", duration=5)
    [job] = await bot.settled()
    assert (job["state"], job["error"], job["captured"]) == ("failed", "ModerationRefused", 0)
    card = (await placeholder(world))["embeds"][0]
    assert "moderation refused" in card["description"]
    assert "Nothing was charged" in card["description"]
    assert bot.credits()[f"guild:{job['guild_id']}"] == 10_000
    assert await world.clips() == []


async def test_cancelling_what_the_service_has_asks_first(bot: BotProcess, world: World) -> None:
    slow = {"target": "segmind", "method": "GET", "path": "/v2/requests/*", "kind": "delay_before"}
    await world.faults(slow | {"times": 1, "delay_s": 3})
    await world.say("video", prompt=PROMPT, aspect="16:9", duration=5)
    await until(lambda: (job := bot.job()) and job["state"] == "generating", "generating")

    await world.click(await placeholder(world), "Cancel")
    warning = await private_answer(world, "already working on this clip")
    await world.click(warning, "Cancel anyway")
    await private_answer(world, "Cancelled")
    running = await placeholder(world)
    assert running["embeds"][0]["title"].startswith("Cancelling")
    assert running["components"] == []
    assert not any(job["ended_at"] for job in bot.jobs()), "it was to be seen before the end"
    [job] = await bot.settled()
    assert (job["state"], job["captured"]) == ("cancelled", 110)
    assert await world.clips() == []
    assert (await placeholder(world))["embeds"][0]["title"] == "Cancelled"
    assert await bot.audit() == []


async def private_answer(world: World, words: str) -> dict[str, Any]:
    """Wait for a message that only the member sees."""
    found: dict[str, Any] = {}
    for _ in range(200):
        found = next((m for m in await world.messages() if words in m["content"]), {})
        if found:
            assert found["flags"] & 64
            return found
    pytest.fail(f"nobody said: {words}")


async def test_a_stop_is_quick_and_the_next_start_goes_on(bot: BotProcess, world: World) -> None:
    slow = {"target": "segmind", "method": "GET", "path": "/v2/requests/*", "kind": "status_before"}
    await world.faults(slow | {"times": 1000, "status": 502})
    await world.say("video", prompt=PROMPT, aspect="16:9", duration=5)
    await until(lambda: (job := bot.job()) and job["state"] == "generating", "generating")
    assert await bot.end(signal.SIGTERM) == 0, bot.text

    await world.faults()
    await bot.start()
    [job] = await bot.settled()
    assert job["state"] == "done"
    assert len(await world.clips()) == 1
    assert "registered" not in bot.text.split("--- start ---")[-1], "commands were there already"


async def test_no_secret_reaches_the_log(bot: BotProcess, world: World) -> None:
    aborted = {"target": "discord", "method": "PATCH", "path": "/webhooks/*", "kind": "lost_reply"}
    await world.faults(aborted | {"times": 2})
    await world.say("video", prompt=PROMPT, aspect="16:9", duration=5)
    await bot.settled()
    environment = world.sandbox.environment()
    for secret in (environment["DISCORD_TOKEN"], environment["SEGMIND_API_KEY"]):
        assert secret not in bot.text
    assert not re.search(r"/(webhooks|interactions)/\d+/(?!\[token\])", bot.text)
