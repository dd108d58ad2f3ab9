"""The worker around the steps: what it claims, what it leaves, how it stops."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import pytest

from core import worker as worker_module
from core.errors import NotSubmitted
from core.jobs import State
from core.worker import Alarm, Stopping
from tests.core.world import VirtualAlarm

if TYPE_CHECKING:
    from core.worker import Worker
    from tests.core.world import World


async def let_others_run(worker: Worker) -> None:
    """Give the worker every occasion to do what it should not."""
    for _ in range(10):
        worker.alarm.nudge()
        await asyncio.sleep(0.005)


class NoTicks(VirtualAlarm):
    """Only a nudge wakes the worker."""

    async def wait_for_work(self, _seconds: float) -> None:
        await super().wait_for_work(10**6)


class TestAlarm:
    async def test_a_pause_lasts(self) -> None:
        start = time.monotonic()
        await Alarm().pause(0.05)
        assert time.monotonic() - start >= 0.04

    async def test_stopping_ends_a_pause(self) -> None:
        alarm = Alarm()
        pause = asyncio.create_task(alarm.pause(3600))
        await asyncio.sleep(0)
        alarm.stop()
        with pytest.raises(Stopping):
            async with asyncio.timeout(1):
                await pause

    @pytest.mark.parametrize("seconds", [0, 3600])
    async def test_there_is_no_pause_after_it_was_stopped(self, seconds: float) -> None:
        alarm = Alarm()
        alarm.stop()
        with pytest.raises(Stopping):
            await alarm.pause(seconds)

    async def test_a_nudge_does_not_end_a_pause(self) -> None:
        alarm = Alarm()
        pause = asyncio.create_task(alarm.pause(0.05))
        alarm.nudge()
        await asyncio.sleep(0.01)
        assert not pause.done()
        await pause

    @pytest.mark.parametrize("early", [True, False])
    async def test_a_nudge_is_never_lost(self, *, early: bool) -> None:
        alarm = Alarm()
        if early:
            alarm.nudge()
        waiting = asyncio.create_task(alarm.wait_for_work(3600))
        await asyncio.sleep(0)
        alarm.nudge()
        async with asyncio.timeout(1):
            await waiting

    async def test_a_nudge_counts_once(self) -> None:
        alarm = Alarm()
        alarm.nudge()
        await alarm.wait_for_work(3600)
        start = time.monotonic()
        await alarm.wait_for_work(0.05)
        assert time.monotonic() - start >= 0.04


class TestClaiming:
    async def test_drives_no_more_than_it_may(self, world: World) -> None:
        for _ in range(5):
            await world.order()
        gate, driven = asyncio.Event(), []

        async def count() -> None:
            driven.append(world.script.count("submit") - world.script.count("committed told"))
            await gate.wait()

        world.script.always("submit", count)
        worker = world.worker(jobs_max=2)
        async with world.working(worker):
            await world.until(lambda: len(driven) == 2)
            await let_others_run(worker)
            assert len(driven) == 2
            gate.set()
            await world.until(lambda: world.script.count("committed told") == 5)
        assert max(driven) == 2
        assert {job.state for job in await world.jobs()} == {State.DONE}

    async def test_drives_jobs_side_by_side(self, world: World) -> None:
        gate = asyncio.Event()
        world.script.at("submit", gate.wait)
        slow, quick = await world.order(), await world.order()
        async with world.working():
            await world.until(lambda: world.script.count("committed told") == 1)
            assert [(await world.see(job)).is_settled for job in (slow, quick)] == [False, True]
            gate.set()
            await world.until(lambda: world.script.count("committed told") == 2)

    async def test_the_next_job_begins_as_soon_as_one_ends(self, world: World) -> None:
        for _ in range(3):
            await world.order()
        async with world.working(world.worker(jobs_max=1, alarm=NoTicks(world.clock))):
            await world.until(lambda: world.script.count("committed told") == 3)

    async def test_the_end_is_told_after_all_that_was_shown(self, world: World) -> None:
        """Or a slow "Queued" would overwrite the end."""
        gate = asyncio.Event()
        world.script.at("show", gate.wait)
        await world.order()
        async with world.working():
            await world.until(lambda: world.script.count("committed done") == 1)
            await asyncio.sleep(0.05)
            assert world.script.count("tell") == 0
            gate.set()
            await world.until(lambda: world.script.count("committed told") == 1)
        assert [job.state for job in world.channel.shown] == [State.QUEUED]

    async def test_takes_over_from_another_worker_in_every_state(self, world: World) -> None:
        states = (State.GENERATING, State.FETCHING, State.POSTING, State.SUBMITTING, State.QUEUED)
        jobs = {state: await world.order_in(state) for state in states}
        world.provider.make(jobs[State.SUBMITTING].body or {})
        async with world.working():
            await world.until(lambda: world.script.count("committed told") == len(jobs))
        assert {(await world.see(job)).state for job in jobs.values()} == {State.DONE}
        assert len(world.provider.asked) == 1

    async def test_leaves_a_job_that_another_has_taken_over(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It froze in the middle of a submit; whoever took over finds the order, and posts once."""
        caplog.set_level(logging.INFO)
        gate = asyncio.Event()
        world.script.at("submitted", gate.wait)
        job = await world.order()
        worker = world.worker()
        run = asyncio.create_task(worker.run())
        await world.until(lambda: world.script.count("submitted") == 1)
        [taken] = await world.store.claim("other", 10, world.clock.now)
        worker.jobs_max = 0
        gate.set()
        await world.until(lambda: "moved on by somebody else" in caplog.text)
        worker.alarm.stop()
        await run
        assert await world.see(job) == taken
        assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
        assert (await world.finish(job)).state is State.DONE
        assert len(world.provider.asked) == 1

    async def test_in_trouble_it_first_asks_whether_the_job_is_still_its_own(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Or it would post beside the run that has the job now."""
        caplog.set_level(logging.INFO)
        await world.order_in(State.POSTING)
        worker = world.worker()

        async def freeze_and_fail() -> None:
            await world.store.claim("other", 10, world.clock.now)
            worker.jobs_max = 0
            raise RuntimeError("the connection is dead")

        world.script.at("look", freeze_and_fail)
        async with world.working(worker):
            await world.until(lambda: "moved on by somebody else" in caplog.text)
        assert (world.script.count("look"), world.script.count("post")) == (1, 0)

    async def test_tells_a_cancelled_job_while_its_old_run_still_waits(self, world: World) -> None:
        """Both are at work: the old run's end does not make the worker forget the new one."""
        world.script.at("submit", NotSubmitted(retry_after_s=600))
        job = await world.order()
        alarm, told = VirtualAlarm(world.clock), asyncio.Event()
        alarm.may_end.clear()
        world.script.at("tell", told.wait)
        async with world.working(world.worker(alarm=alarm)) as run:
            await world.until(lambda: world.script.count("committed queued") == 1)
            await world.store.cancel_at_once(job.id, world.clock.now)
            alarm.nudge()
            await world.until(lambda: world.script.count("tell") == 1)
            alarm.may_end.set()
            await asyncio.sleep(0.05)
            alarm.stop()
            await asyncio.sleep(0.05)
            assert not run.done()
            told.set()
        assert (await world.see(job)).is_settled
        assert world.script.count("submit") == 1

    async def test_outlives_errors_of_the_database(self, world: World) -> None:
        world.script.at("claim", *(RuntimeError("database is locked") for _ in range(3)))
        assert (await world.finish(await world.order())).state is State.DONE

    async def test_a_job_put_off_by_a_clock_that_was_wrong_is_done_now(self, world: World) -> None:
        job = await world.finish(await world.order(due_at=world.clock.now + 10 * 86_400))
        assert job.state is State.DONE

    async def test_a_job_for_later_takes_nobodys_place(self, world: World) -> None:
        world.script.at("submit", NotSubmitted(retry_after_s=600))
        later, other = await world.order(), await world.order(due_at=world.clock.now + 0.001)
        world.clock.now += 0.001
        async with world.working(world.worker(jobs_max=1)):
            await world.until(lambda: world.script.count("committed told") == 1)
        assert (await world.see(later)).state is State.QUEUED
        assert (await world.see(other)).state is State.DONE


class TestHealth:
    async def test_a_worker_that_does_not_run_is_not_alive(self, world: World) -> None:
        assert not world.worker().is_alive

    async def test_a_full_worker_is_alive(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker_module, "ALIVE_S", 0.5)
        gate = asyncio.Event()
        world.script.at("submit", gate.wait)
        await world.order()
        worker = world.worker(jobs_max=1)
        async with world.working(worker):
            await asyncio.sleep(0.7)
            assert worker.is_alive
            gate.set()

    async def test_a_worker_that_cannot_claim_is_not_alive(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker_module, "ALIVE_S", 0.1)
        worker = world.worker()
        async with world.working(worker):
            await world.until(lambda: worker.is_alive)
            world.script.always("claim", RuntimeError("disk full"))
            await world.until(lambda: not worker.is_alive)


class TestStopping:
    async def test_claims_nothing_new(self, world: World) -> None:
        gate = asyncio.Event()
        world.script.at("submit", gate.wait)
        await world.order()
        worker = world.worker()
        async with world.working(worker):
            await world.until(lambda: world.script.count("submit") == 1)
            worker.alarm.stop()
            late = await world.order()
            await let_others_run(worker)
            gate.set()
        assert await world.see(late) == late

    async def test_what_was_claimed_at_that_moment_is_not_begun(self, world: World) -> None:
        worker = world.worker()

        async def stop() -> None:
            worker.alarm.stop()

        world.script.at("claimed", stop)
        job = await world.order()
        async with world.working(worker):
            pass
        assert world.provider.asked == []
        assert (await world.finish(job)).state is State.DONE

    async def test_a_submit_in_progress_ends_and_is_recorded(self, world: World) -> None:
        gate = asyncio.Event()
        world.script.at("submitted", gate.wait)
        job = await world.order()
        worker = world.worker()
        async with world.working(worker) as run:
            await world.until(lambda: world.script.count("submitted") == 1)
            worker.alarm.stop()
            await asyncio.sleep(0.05)
            assert not run.done()
            gate.set()
        job = await world.see(job)
        assert (job.state, job.provider_job_id) == (State.GENERATING, "r1")
        assert world.script.count("poll") == 0

    async def test_no_other_side_effect_is_begun(self, world: World) -> None:
        gate = asyncio.Event()
        world.script.at("check", gate.wait)
        job = await world.order()
        worker = world.worker()
        async with world.working(worker):
            await world.until(lambda: world.script.count("check") == 1)
            worker.alarm.stop()
            gate.set()
        assert (await world.see(job)).state is State.POSTING
        assert world.script.count("post") == 0

    async def test_an_end_that_is_reached_is_still_told(self, world: World) -> None:
        gate = asyncio.Event()
        world.script.at("posted", gate.wait)
        job = await world.order()
        worker = world.worker()
        async with world.working(worker):
            await world.until(lambda: world.script.count("posted") == 1)
            worker.alarm.stop()
            gate.set()
        assert (await world.see(job)).is_settled

    async def test_a_waiting_job_rests_and_the_next_worker_has_it(self, world: World) -> None:
        world.script.at("submit", NotSubmitted(retry_after_s=600))
        job = await world.order()
        worker = world.worker(alarm=Alarm())
        async with world.working(worker) as run:
            await world.until(lambda: world.script.count("committed queued") == 1)
            worker.alarm.stop()
            async with asyncio.timeout(1):
                await run
        job = await world.see(job)
        assert (job.state, job.due_at) == (State.QUEUED, world.clock.now + 600)
        world.clock.now = job.due_at
        assert (await world.finish(job)).state is State.DONE

    async def test_what_takes_too_long_is_cut_off_and_not_repeated(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker_module, "SHUTDOWN_S", 0.05)
        world.script.at("submitted", asyncio.Event().wait)
        job = await world.order()
        worker = world.worker()
        async with world.working(worker):
            await world.until(lambda: world.script.count("submitted") == 1)
            worker.alarm.stop()
        assert [task for task in asyncio.all_tasks() if task.get_name() == f"job {job.id}"] == []
        assert (await world.see(job)).state is State.SUBMITTING
        assert (await world.finish(job)).state is State.DONE
        assert len(world.provider.asked) == 1
