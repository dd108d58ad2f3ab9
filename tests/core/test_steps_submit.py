"""The submit and its three outcomes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from core.errors import (
    JobEnded,
    ModelGone,
    ModerationRefused,
    NotSubmitted,
    PollFailed,
    ProviderKeyRejected,
    ProviderOutOfCredits,
    RequestRejected,
    SubmitInDoubt,
)
from core.jobs import State
from core.patience import BACKOFF_S_MAX, GRACE_S
from tests.core.looks import (
    DOUBT_ENDS_S,
    RELEASED,
    in_doubt_account,
    with_start_frame,
)
from tests.core.world import START, TIMINGS, completed

if TYPE_CHECKING:
    from tests.core.world import World

REFUSALS = [
    ProviderKeyRejected,
    ProviderOutOfCredits,
    ModelGone,
    RequestRejected,
    ModerationRefused,
]


class TestASubmitThatMadeNothing:
    async def test_is_queued_again_for_the_time_that_was_asked_for(self, world: World) -> None:
        await world.order()
        world.script.at("submit", NotSubmitted("slow down", retry_after_s=90))
        job = await world.steps().take(await world.claim(), resumed=True)
        assert (job.state, job.attempts) == (State.QUEUED, 1)
        assert (job.due_at, job.deadline) == (world.clock.now + 90, None)
        assert await world.see(job) == job

    async def test_is_sent_once_more_and_not_before(self, world: World) -> None:
        world.script.at("submit", NotSubmitted(retry_after_s=90))
        job = await world.finish(await world.order())
        first, second = world.script.moments["submit"]
        assert second - first == 90
        assert (job.state, len(world.provider.made)) == (State.DONE, 1)

    async def test_keeps_its_time_over_a_restart(self, world: World) -> None:
        await world.order()
        world.script.at("submit", NotSubmitted(retry_after_s=90))
        job = await world.steps().take(await world.claim(), resumed=True)
        async with world.working():
            await world.until(lambda: world.script.count("claimed") >= 3)
        assert world.script.count("submit") == 1
        world.clock.now += 90
        assert (await world.finish(job)).state is State.DONE

    async def test_waits_longer_each_time(self, world: World) -> None:
        world.script.at("submit", *(NotSubmitted() for _ in range(7)))
        job = await world.finish(await world.order())
        moments = world.script.moments["submit"]
        waits = [after - before for before, after in pairwise(moments)]
        assert waits == [2, 4, 8, 16, 30, 30, 30]
        assert (job.state, job.attempts) == (State.DONE, 7)

    async def test_is_not_tried_for_ever(self, world: World) -> None:
        """A provider that takes nothing for days must not keep a guild's credits held."""
        world.script.always("submit", NotSubmitted("no capacity", retry_after_s=600))
        ordered = await world.order()
        job = await world.finish(ordered)
        assert (job.state, job.error) == (State.FAILED, "NoOrdersTaken")
        assert job.ended_at is not None
        assert 0 <= job.ended_at - ordered.created_at - TIMINGS.queue_s < 600
        assert await world.balance() == RELEASED
        assert world.provider.made == []

    async def test_an_upload_that_fails_waits_as_it_was_asked(self, world: World) -> None:
        await world.order(request=with_start_frame())
        world.script.at("upload", NotSubmitted("slow down", retry_after_s=90))
        job = await world.steps().take(await world.claim(), resumed=True)
        assert (job.state, job.attempts) == (State.QUEUED, 1)
        assert job.due_at == world.clock.now + 90
        assert world.provider.asked == []

    async def test_an_upload_that_fails_is_tried_again(self, world: World) -> None:
        world.script.at("upload", NotSubmitted(), NotSubmitted())
        job = await world.finish(await world.order(request=with_start_frame()))
        assert (job.state, world.script.count("upload")) == (State.DONE, 3)


class TestASubmitThatIsRefused:
    @pytest.mark.parametrize("refusal", REFUSALS)
    async def test_ends_the_job_and_releases(self, world: World, refusal: type[JobEnded]) -> None:
        world.script.at("submit", refusal("in its words"))
        job = await world.finish(await world.order())
        assert (job.state, job.error) == (State.FAILED, refusal.__name__)
        assert (job.error_detail, job.captured) == ("in its words", 0)
        assert await world.balance() == RELEASED
        assert [told.error for told in world.channel.told] == [refusal.__name__]
        assert (len(world.provider.asked), world.channel.posts) == (1, [])

    async def test_a_refused_upload_sends_nothing(self, world: World) -> None:
        world.script.at("upload", ModerationRefused("no"))
        job = await world.finish(await world.order(request=with_start_frame()))
        assert (job.state, job.error) == (State.FAILED, "ModerationRefused")
        assert world.provider.asked == []


class TestASubmitInDoubt:
    async def test_that_made_nothing_is_never_repeated(self, world: World) -> None:
        world.script.at("submit", SubmitInDoubt())
        job = await world.finish(await world.order())
        assert (job.state, job.error, job.captured) == (State.IN_DOUBT, "SubmitLost", 0)
        assert len(world.provider.asked) == 1
        assert await world.balance() == RELEASED
        assert await in_doubt_account(world) == job.hold
        assert [told.state for told in world.channel.told] == [State.IN_DOUBT]

    async def test_is_looked_up_from_its_time_limit_to_its_deadline(self, world: World) -> None:
        world.script.at("submit", SubmitInDoubt())
        job = await world.finish(await world.order())
        assert job.submitted_at is not None
        looks = world.script.moments["find"]
        assert looks[0] == job.submitted_at + 60
        assert looks[-1] >= job.submitted_at + DOUBT_ENDS_S > looks[-2]
        assert set(world.provider.windows) == {(job.submitted_at, job.submitted_at + 60)}

    async def test_adopts_the_one_record_of_its_body(self, world: World) -> None:
        world.script.at("submitted", SubmitInDoubt())
        job = await world.finish(await world.order())
        assert (job.state, job.provider_job_id) == (State.DONE, "r1")
        assert (len(world.provider.asked), job.captured) == (1, 110)
        assert await in_doubt_account(world) == 0

    async def test_adopts_a_record_that_the_history_shows_late(self, world: World) -> None:
        world.provider.history_lag_s = DOUBT_ENDS_S - 5
        world.script.at("submitted", SubmitInDoubt())
        job = await world.finish(await world.order())
        assert (job.state, len(world.provider.asked)) == (State.DONE, 1)

    async def test_two_records_cannot_be_told_apart(self, world: World) -> None:
        world.script.at("submitted", SubmitInDoubt())

        async def somebody_elses() -> None:
            world.provider.make(world.provider.asked[0])

        world.script.at("submit", somebody_elses)
        job = await world.finish(await world.order())
        assert (job.state, world.script.count("find")) == (State.IN_DOUBT, 1)
        assert world.channel.posts == []

    async def test_another_jobs_record_is_not_taken(self, world: World) -> None:
        """A member asked for the same video twice; the first one has its record already."""
        other = await world.finish(await world.order())
        assert other.provider_job_id == "r1"
        world.script.at("submitted", SubmitInDoubt())
        world.provider.verdicts.append(completed())
        job = await world.finish(await world.order())
        assert (job.state, job.provider_job_id) == (State.DONE, "r2")

    async def test_waits_for_a_rival_with_the_same_body(self, world: World) -> None:
        """Both may own the one record; when the rival has another, this one is the job's."""
        job = await world.order_in(State.SUBMITTING)
        rival = await world.order_in(State.SUBMITTING, due_at=world.clock.now + 10**9)
        mine, theirs = (world.provider.make(job.body or {}) for _ in range(2))
        theirs.visible_at = world.clock.now + 10**9
        answered_at: list[float] = []

        async def rival_is_answered() -> None:
            await world.store.move(rival, State.GENERATING, {"provider_job_id": theirs.id})
            answered_at.append(world.clock.now)
            theirs.visible_at = 0

        async def nothing() -> None:
            pass

        world.script.at("find", nothing, nothing, rival_is_answered)
        job = await world.finish(job, jobs_max=1)
        assert (job.state, job.provider_job_id) == (State.DONE, mine.id)
        assert world.script.count("find") == 3
        assert world.script.moments["commit fetching"][0] >= answered_at[0]

    async def test_does_not_take_what_a_rival_orders_during_the_look(self, world: World) -> None:
        job = await world.order_in(State.SUBMITTING)
        rival = await world.order(due_at=world.clock.now + 10**9)

        async def rival_submits() -> None:
            body = job.body or {}
            await world.store.move(rival, State.SUBMITTING, {"body": body})
            world.provider.make(body)

        world.script.at("find", rival_submits)
        job = await world.finish(job, jobs_max=1)
        assert (job.state, job.provider_job_id) == (State.IN_DOUBT, None)

    async def test_a_history_that_is_down_is_asked_for_long(self, world: World) -> None:
        """A run that starts long after the deadline does not judge by one failed look."""
        job = await world.order_in(State.SUBMITTING)
        world.clock.now += 86_400
        world.script.always("find", PollFailed())
        job = await world.finish(job)
        assert job.state is State.IN_DOUBT
        moments = world.script.moments["find"]
        assert GRACE_S <= moments[-1] - moments[0] < GRACE_S + 2 * BACKOFF_S_MAX

    async def test_a_history_that_is_down_for_a_while_ends_nothing(self, world: World) -> None:
        job = await world.order_in(State.SUBMITTING)
        world.provider.make(job.body or {})
        world.clock.now += 86_400
        world.script.at("find", *(PollFailed() for _ in range(4 - 1)))
        world.provider.verdicts.popleft()
        assert (await world.finish(job)).state is State.DONE

    async def test_only_failures_in_a_row_count(self, world: World) -> None:
        """Looks that failed long before are no reason to give up at one failure at the end."""
        job = await world.order_in(State.SUBMITTING)
        world.provider.history_lag_s = DOUBT_ENDS_S
        world.provider.make(job.body or {})

        async def works() -> None:
            pass

        async def fails_at_the_end() -> None:
            world.clock.now = START + DOUBT_ENDS_S
            raise PollFailed

        world.script.at("find", *(PollFailed() for _ in range(4)), works, fails_at_the_end)
        assert (await world.finish(job)).state is State.DONE

    async def test_the_answer_is_recorded_until_that_works(self, world: World) -> None:
        world.script.at("commit generating", *(RuntimeError("locked") for _ in range(5)))
        job = await world.finish(await world.order())
        assert (job.state, job.provider_job_id) == (State.DONE, "r1")
        assert (len(world.provider.asked), world.script.count("find")) == (1, 0)

    async def test_an_answer_that_is_never_recorded_is_reconciled(self, world: World) -> None:
        async def locked() -> None:
            if not world.script.count("find"):
                raise RuntimeError

        world.script.always("commit generating", locked)
        world.provider.verdicts.popleft()  # it has been made meanwhile
        job = await world.finish(await world.order())
        assert (job.state, job.provider_job_id) == (State.DONE, "r1")
        assert len(world.provider.asked) == 1
        assert world.script.count("find") > 0

    async def test_an_answer_that_nobody_foresaw_is_reconciled(self, world: World) -> None:
        world.script.at("submitted", RuntimeError("a bug in the adapter"))
        job = await world.finish(await world.order())
        assert (job.state, len(world.provider.asked)) == (State.DONE, 1)
