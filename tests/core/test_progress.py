"""Placeholders: the latest state wins, and nothing here holds a job up or ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from core.jobs import Job, State
from core.progress import Progress
from tests.core.world import Script, ScriptedChannel, VirtualClock

MakeJob = Callable[..., Job]


@pytest.fixture
def script() -> Script:
    return Script(VirtualClock())


@pytest.fixture
def channel(script: Script) -> ScriptedChannel:
    return ScriptedChannel(script)


@pytest.fixture
def slow(script: Script) -> asyncio.Event:
    """Let the first placeholder wait for this event."""
    answers = asyncio.Event()
    script.at("show", answers.wait)
    return answers


def states(channel: ScriptedChannel) -> list[State]:
    return [job.state for job in channel.shown]


async def settle_down() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_state_is_shown(channel: ScriptedChannel, make_job: MakeJob) -> None:
    Progress(channel).show(make_job(state=State.QUEUED))
    await settle_down()
    assert states(channel) == [State.QUEUED]


async def test_what_is_overtaken_is_skipped(
    channel: ScriptedChannel, make_job: MakeJob, slow: asyncio.Event
) -> None:
    progress = Progress(channel)
    for state in (State.QUEUED, State.SUBMITTING, State.GENERATING):
        progress.show(make_job(id="a" * 16, state=state))
        await settle_down()
    slow.set()
    await settle_down()
    assert states(channel) == [State.QUEUED, State.GENERATING]


async def test_a_slow_placeholder_does_not_hold_another_up(
    channel: ScriptedChannel, make_job: MakeJob, slow: asyncio.Event
) -> None:
    progress = Progress(channel)
    for _ in range(2):
        progress.show(make_job())
    await settle_down()
    assert len({job.id for job in channel.shown}) == 2
    slow.set()
    await settle_down()


async def test_the_end_waits_for_what_is_under_way_and_drops_the_rest(
    channel: ScriptedChannel, make_job: MakeJob, slow: asyncio.Event
) -> None:
    progress = Progress(channel)
    job = make_job()
    progress.show(job)
    await settle_down()
    progress.show(job)
    finished = asyncio.create_task(progress.finish(job))
    await settle_down()
    assert not finished.done()
    slow.set()
    await finished
    await settle_down()
    assert len(channel.shown) == 1


async def test_the_end_of_a_job_that_was_never_shown(
    channel: ScriptedChannel, make_job: MakeJob
) -> None:
    async with asyncio.timeout(1):
        await Progress(channel).finish(make_job())
    assert channel.shown == []


async def test_trouble_is_logged_and_forgotten(
    script: Script, channel: ScriptedChannel, make_job: MakeJob, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress(channel)
    script.at("show", RuntimeError("a bug"))
    job = make_job()
    progress.show(job)
    await settle_down()
    assert "could not be brought up to date" in caplog.text
    progress.show(job)
    await settle_down()
    assert len(channel.shown) == 2


async def test_trouble_does_not_swallow_the_next_state(
    script: Script, channel: ScriptedChannel, make_job: MakeJob
) -> None:
    """Or a placeholder would say "Sending" as long as the clip is being made."""
    progress = Progress(channel)
    fails = asyncio.Event()

    async def fail_late() -> None:
        await fails.wait()
        raise RuntimeError("a bug")

    script.at("show", fail_late)
    job = make_job(id="a" * 16, state=State.SUBMITTING)
    progress.show(job)
    await settle_down()
    progress.show(make_job(id="a" * 16, state=State.GENERATING))
    fails.set()
    await settle_down()
    assert states(channel) == [State.SUBMITTING, State.GENERATING]
