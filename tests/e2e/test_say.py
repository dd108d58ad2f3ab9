"""`python -m sandbox say` as the README shows it, against the real bot."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import av
import pytest

if TYPE_CHECKING:
    from tests.e2e.harness import BotProcess, World

ROOT = Path(__file__).parents[2]


async def say(world: World, *arguments: str) -> tuple[int, list[str], str]:
    """Return exit status, lines and complaint of the command line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox", "say", *arguments, "--url", world.sandbox.url),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, complaint = await process.communicate()
    return process.returncode or 0, out.decode().splitlines(), complaint.decode()


@pytest.mark.parametrize(
    ("options", "size", "seconds"),
    [
        ("aspect:9:16 duration:5s", (720, 1280), 5.0),
        ("aspect:21:9 duration:10s", (1680, 720), 10.0),
    ],
)
async def test_saves_the_clip(
    bot: BotProcess, world: World, tmp_path: Path, options: str, size: tuple[int, int], seconds: int
) -> None:
    out = tmp_path / "fox.mp4"
    command = f"/video prompt:a red fox in the snow {options}"
    status, lines, complaint = await say(world, command, "--out", str(out))
    assert (status, complaint) == (0, ""), bot.text
    events = [json.loads(line) for line in lines]
    assert events[0]["event"] == "create"
    assert events[-1]["message"]["attachments"]
    with av.open(str(out), mode="r") as clip:
        video = clip.streams.video[0]
        assert (video.codec.name, (video.width, video.height)) == ("h264", size)
        assert clip.duration is not None
        assert clip.duration / av.time_base == pytest.approx(seconds, abs=0.2)


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("/video prompt:a fox aspect:5:4", 1, "aspect"),
        ("/video prompt:forbidden-by-moderation aspect:1:1", 1, "moderation refused"),
        ("/picture prompt:a fox", 2, "/picture"),
    ],
)
async def test_says_why_there_is_no_clip(
    bot: BotProcess, world: World, tmp_path: Path, command: str, status: int, words: str
) -> None:
    out = tmp_path / "fox.mp4"
    ended, _, complaint = await say(world, command, "--out", str(out))
    assert ended == status, bot.text
    assert words in complaint
    assert len(complaint.splitlines()) == 1
    assert not out.exists()
