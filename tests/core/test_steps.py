"""Every step of a job, with what can go wrong in it, on the real database in virtual time."""

from __future__ import annotations

import logging
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from core.clips import BAD_CLIPS_MAX, CLIP_BYTES_MAX, GONE_S
from core.errors import (
    BadClip,
    ChannelGone,
    ClipTooLarge,
    ClipUnchecked,
    DeliveryFailed,
    FetchError,
    FetchFailed,
    FetchForbidden,
    FetchTooLarge,
    GenerationFailed,
    JobEnded,
    ModelGone,
    ModerationRefused,
    NotSubmitted,
    PollFailed,
    PostRefused,
    ProviderKeyRejected,
    ProviderOutOfCredits,
    RequestRejected,
    SubmitInDoubt,
)
from core.jobs import Job, StaleJob, State
from core.ledger import IN_DOUBT, Balance
from core.patience import BACKOFF_S_MAX, GRACE_S
from core.ports import Failed, Running
from core.video import VideoRequest
from storage.tables import accounts
from tests.core.world import CLIP_URL, CREDITS, START, TIMINGS, completed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.core.world import World

RELEASED = Balance(CREDITS, 0, 0)
FRESH_URL = "https://cdn.example/fresh.mp4"
DOUBT_ENDS_S = 60.0 + TIMINGS.doubt_s
"""From the submit: its own time limit, then the search in the history."""


async def in_doubt_account(world: World) -> int:
    """Return what is booked as perhaps billed for jobs in doubt."""
    balance = await world.database.transaction(
        lambda connection: connection.scalar(
            select(accounts.c.balance).where(accounts.c.name == IN_DOUBT)
        )
    )
    return balance or 0


def cancelling(world: World, job: Job) -> Callable[[], Awaitable[object]]:
    """Return an event: the member has confirmed the cancellation."""

    async def cancel() -> None:
        assert await world.store.request_cancel(job.id, world.clock()) is not None

    return cancel


def seeing(world: World, job: Job, seen: list[Job]) -> Callable[[], Awaitable[object]]:
    """Return an event: look at what is committed at this moment."""

    async def look() -> None:
        seen.append(await world.see(job))

    return look


class TestTheWholeWay:
    async def test_each_commit_comes_before_its_side_effect(self, world: World) -> None:
        job = await world.finish(await world.order())
        way = [point for point in world.script.points if point not in {"claim", "claimed", "show"}]
        assert way == [
            *("commit submitting", "committed submitting", "submit", "submitted"),
            *("commit generating", "committed generating", "poll", "poll"),
            *("commit fetching", "committed fetching", "fetch", "fetched", "check"),
            *("commit posting", "committed posting", "post", "posted"),
            *("commit done", "committed done", "tell", "told", "commit told", "committed told"),
        ]
        assert (job.state, job.message_id, job.captured) == (State.DONE, 1, 110)
        assert world.channel.posts == [(job.id, f"file at {CLIP_URL}".encode())]
        assert await world.balance() == Balance(CREDITS - 110, 0, 110)

    async def test_the_placeholder_shows_each_state(self, world: World) -> None:
        job = await world.finish(await world.order())
        shown = [shown.state for shown in world.channel.shown]
        assert shown == [state for state in State if state in set(shown)]
        assert not any(state.is_end for state in shown)
        assert [told.state for told in world.channel.told] == [State.DONE]
        assert world.channel.told[0].message_id == job.message_id

    async def test_the_intent_is_known_before_the_submit(self, world: World) -> None:
        job = await world.order()
        seen: list[Job] = []
        world.script.at("submit", seeing(world, job, seen))
        await world.finish(job)
        [row] = seen
        [body] = world.provider.asked
        assert (row.state, row.body) == (State.SUBMITTING, body)
        assert (row.submitted_at, row.deadline) == (job.due_at, job.due_at + DOUBT_ENDS_S)

    async def test_the_providers_id_is_known_before_the_first_poll(self, world: World) -> None:
        job = await world.order()
        seen: list[Job] = []
        world.script.at("poll", seeing(world, job, seen))
        await world.finish(job)
        [row] = seen
        assert (row.state, row.provider_job_id) == (State.GENERATING, "r1")
        assert row.deadline == job.due_at + TIMINGS.generation_s
        assert row.answer == {"request_id": "r1"}

    async def test_the_cost_is_known_before_the_download(self, world: World) -> None:
        job = await world.order()
        seen: list[Job] = []
        world.script.at("fetch", seeing(world, job, seen))
        await world.finish(job)
        [row] = seen
        assert (row.state, row.cost, row.result_url) == (State.FETCHING, 110, CLIP_URL)
        assert row.deadline == world.script.moments["fetch"][0] + TIMINGS.fetch_s

    async def test_posting_is_known_before_the_post(self, world: World) -> None:
        job = await world.order()
        seen: list[Job] = []
        world.script.at("post", seeing(world, job, seen))
        await world.finish(job)
        [row] = seen
        posted_at = world.script.moments["post"][0]
        assert (row.state, row.posting_at) == (State.POSTING, posted_at)
        assert row.deadline == posted_at + TIMINGS.posting_s

    async def test_the_clip_is_settled_with_its_message_before_it_is_told(
        self, world: World
    ) -> None:
        job = await world.order()
        seen: list[Job] = []
        world.script.at("tell", seeing(world, job, seen))
        world.script.at("told", seeing(world, job, seen))
        await world.finish(job)
        before, after = seen
        assert (before.state, before.message_id, before.captured) == (State.DONE, 1, 110)
        assert after.told_at is None

    async def test_the_start_frame_is_uploaded_and_named(self, world: World) -> None:
        request = VideoRequest(
            prompt="a fox", aspect="1:1", duration_s=5, resolution="720p", start_frame="ab.jpg"
        )
        await world.finish(await world.order(request=request))
        assert world.provider.uploads == [world.folder / "frames" / "ab.jpg"]
        assert world.provider.asked[0]["start_frame"] == "https://uploads.example/ab.jpg"

    async def test_without_an_image_nothing_is_uploaded(self, world: World) -> None:
        await world.finish(await world.order())
        assert world.provider.uploads == []

    async def test_the_clip_does_not_stay_on_the_disk(self, world: World) -> None:
        job = await world.order()
        was_there: list[bool] = []

        async def look() -> None:
            was_there.append(world.clip(job).exists())

        world.script.at("post", look)
        await world.finish(job)
        assert was_there == [True]
        assert not world.clip(job).exists()


def with_start_frame() -> VideoRequest:
    return VideoRequest(
        prompt="a fox", aspect="1:1", duration_s=5, resolution="720p", start_frame="ab.jpg"
    )


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
        world.script.at("commit generating", *(RuntimeError("locked") for _ in range(12)))
        job = await world.finish(await world.order())
        assert (job.state, job.provider_job_id) == (State.DONE, "r1")
        assert len(world.provider.asked) == 1
        assert world.script.count("find") > 0

    async def test_an_answer_that_nobody_foresaw_is_reconciled(self, world: World) -> None:
        world.script.at("submitted", RuntimeError("a bug in the adapter"))
        job = await world.finish(await world.order())
        assert (job.state, len(world.provider.asked)) == (State.DONE, 1)


class TestGenerating:
    async def test_errors_while_polling_end_nothing(self, world: World) -> None:
        world.script.at("poll", *(PollFailed() for _ in range(20)))
        job = await world.finish(await world.order())
        assert (job.state, world.script.count("poll")) == (State.DONE, 22)

    async def test_polls_are_paced_and_slow_down_in_trouble(self, world: World) -> None:
        world.provider.verdicts.extendleft([Running()] * 3)
        world.script.at("poll", *(PollFailed() for _ in range(7)))
        await world.finish(await world.order())
        moments = world.script.moments["poll"]
        waits = [after - before for before, after in pairwise(moments)]
        assert waits == [3, 3, 4, 8, 16, 30, 30, *[3] * 4]

    async def test_a_finished_clip_is_taken_long_after_the_deadline(self, world: World) -> None:
        """Down for a day: the provider has it, and one look is enough."""
        job = await world.order_in(State.GENERATING)
        world.clock.now += 86_400
        world.provider.verdicts.popleft()
        job = await world.finish(job)
        assert (job.state, world.script.count("poll")) == (State.DONE, 1)

    async def test_one_more_look_is_taken_beyond_the_deadline(self, world: World) -> None:
        """The clock jumps while the job waits: the verdict of before is not the last word."""
        job = await world.order_in(State.GENERATING)

        async def jump() -> None:
            world.clock.now += 86_400

        world.script.at("poll", jump)
        job = await world.finish(job)
        assert (job.state, world.script.count("poll")) == (State.DONE, 2)

    async def test_no_verdict_by_the_deadline_expires(self, world: World) -> None:
        world.provider.verdicts.pop()
        job = await world.finish(await world.order())
        assert (job.state, job.error, job.captured) == (State.EXPIRED, "GenerationExpired", 0)
        assert job.submitted_at is not None
        before_last, last = world.script.moments["poll"][-2:]
        assert before_last < job.submitted_at + TIMINGS.generation_s <= last
        assert await world.balance() == RELEASED

    async def test_failed_polls_beyond_the_deadline_must_last(self, world: World) -> None:
        job = await world.order_in(State.GENERATING)
        world.clock.now += 86_400
        world.script.always("poll", PollFailed())
        job = await world.finish(job)
        assert job.state is State.EXPIRED
        moments = world.script.moments["poll"]
        assert GRACE_S <= moments[-1] - moments[0] < GRACE_S + 2 * BACKOFF_S_MAX

    async def test_a_few_failed_polls_beyond_the_deadline_end_nothing(self, world: World) -> None:
        job = await world.order_in(State.GENERATING)
        world.clock.now += 86_400
        world.script.at("poll", *(PollFailed() for _ in range(4 - 1)))
        world.provider.verdicts.popleft()
        assert (await world.finish(job)).state is State.DONE

    async def test_the_providers_own_word_ends_it(self, world: World) -> None:
        verdict = Failed(GenerationFailed("too many foxes"), {"status": "FAILED"})
        world.provider.verdicts[-1] = verdict
        job = await world.finish(await world.order())
        assert (job.state, job.error) == (State.FAILED, "GenerationFailed")
        assert (job.error_detail, job.captured) == ("too many foxes", 0)
        assert job.answer == verdict.answer
        assert await world.balance() == RELEASED


class TestFetching:
    async def test_asks_within_the_cap_and_what_is_left_of_the_time(self, world: World) -> None:
        await world.finish(await world.order())
        [asked] = world.web.asked
        assert (asked.url, asked.max_bytes, asked.hosts) == (CLIP_URL, CLIP_BYTES_MAX, None)
        assert asked.timeout_s == TIMINGS.fetch_s

    async def test_a_dead_address_is_replaced_by_a_fresh_one(self, world: World) -> None:
        world.web.gone.add(CLIP_URL)
        world.provider.verdicts.append(completed(url=FRESH_URL))
        job = await world.finish(await world.order())
        assert [asked.url for asked in world.web.asked] == [CLIP_URL, FRESH_URL]
        assert (job.state, world.channel.posts[0][1]) == (
            State.DONE,
            f"file at {FRESH_URL}".encode(),
        )

    async def test_a_file_that_is_gone_ends_after_ten_minutes(self, world: World) -> None:
        world.web.gone.add(CLIP_URL)
        job = await world.finish(await world.order())
        assert (job.state, job.error, job.captured) == (State.FAILED, "ResultGone", 0)
        moments = world.script.moments["fetch"]
        assert GONE_S <= moments[-1] - moments[0] < GONE_S + 2 * BACKOFF_S_MAX
        assert await world.balance() == RELEASED

    async def test_a_dead_address_while_polls_fail_is_not_given_up(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        job = await world.order_in(State.FETCHING)
        world.web.gone.add(CLIP_URL)
        world.script.at("poll", *(PollFailed() for _ in range(2 * 4)))
        world.provider.verdicts.clear()
        world.provider.verdicts.append(completed(url=FRESH_URL))
        assert (await world.finish(job)).state is State.DONE
        assert "trouble" not in caplog.text

    async def test_transient_trouble_is_tried_again(self, world: World) -> None:
        world.script.at("fetch", *(FetchFailed("503") for _ in range(20)))
        job = await world.finish(await world.order())
        assert (job.state, len(world.web.asked)) == (State.DONE, 21)

    async def test_trouble_beyond_the_deadline_ends_it(self, world: World) -> None:
        world.script.always("fetch", FetchFailed("503"))
        job = await world.finish(await world.order())
        assert (job.state, job.error, job.error_detail) == (State.FAILED, "ResultGone", "503")
        moments = world.script.moments["fetch"]
        assert moments[-2] - moments[0] < GRACE_S <= moments[-1] - moments[0]
        assert await world.balance() == RELEASED

    async def test_a_late_restart_still_tries_several_times(self, world: World) -> None:
        job = await world.order_in(State.FETCHING)
        world.clock.now += 86_400
        world.script.at("fetch", *(FetchFailed() for _ in range(4 - 1)))
        assert (await world.finish(job)).state is State.DONE
        assert {asked.timeout_s for asked in world.web.asked} == {60.0}

    @pytest.mark.parametrize("refusal", [FetchForbidden, FetchTooLarge])
    async def test_what_may_not_be_fetched_ends_at_once(
        self, world: World, refusal: type[FetchError]
    ) -> None:
        world.script.at("fetch", refusal("no"))
        job = await world.finish(await world.order())
        assert (job.state, job.error) == (State.FAILED, "ResultGone")
        assert len(world.web.asked) == 1

    async def test_a_bad_clip_is_not_posted(self, world: World) -> None:
        world.script.always("check", BadClip("it is HTML"))
        job = await world.finish(await world.order())
        assert (job.state, job.error, job.error_detail) == (State.FAILED, "BadClip", "it is HTML")
        assert len(world.web.asked) == BAD_CLIPS_MAX
        assert await world.balance() == RELEASED

    @pytest.mark.parametrize("once", [BadClip("it is HTML"), ClipUnchecked("no memory")])
    async def test_one_bad_check_is_no_verdict(self, world: World, once: Exception) -> None:
        world.script.at("check", once)
        job = await world.finish(await world.order())
        assert (job.state, len(world.channel.posts)) == (State.DONE, 1)

    async def test_a_clip_that_is_there_is_checked_but_not_fetched(self, world: World) -> None:
        job = await world.order_in(State.FETCHING)
        unchecked = world.clip(job).with_suffix(".unchecked.mp4")
        unchecked.parent.mkdir()
        unchecked.write_bytes(b"from the run before")
        await world.finish(job)
        assert (world.web.asked, world.script.count("check")) == ([], 1)
        assert world.channel.posts == [(job.id, b"from the run before")]


class TestPosting:
    async def test_the_first_post_needs_no_look(self, world: World) -> None:
        await world.finish(await world.order())
        assert world.script.count("look") == 0

    async def test_a_resumed_job_looks_and_finds_its_post(self, world: World) -> None:
        job = await world.order_in(State.POSTING)
        world.channel.posts.append((job.id, b""))
        job = await world.finish(job)
        assert (job.state, job.message_id, job.captured) == (State.DONE, 1, 110)
        assert world.script.count("post") == 0

    async def test_a_resumed_job_that_was_not_posted_is(self, world: World) -> None:
        job = await world.finish(await world.order_in(State.POSTING))
        assert (job.state, world.script.count("look")) == (State.DONE, 1)

    async def test_a_clip_that_is_missing_is_fetched_again(self, world: World) -> None:
        job = await world.finish(await world.order_in(State.POSTING))
        assert (job.state, [asked.url for asked in world.web.asked]) == (State.DONE, [CLIP_URL])

    async def test_a_failed_post_looks_and_posts_again(self, world: World) -> None:
        world.script.at("post", DeliveryFailed("500"))
        job = await world.finish(await world.order())
        assert (job.state, world.script.count("post")) == (State.DONE, 2)
        assert world.script.count("look") == 1

    async def test_a_post_with_a_lost_answer_is_found(self, world: World) -> None:
        world.script.at("posted", DeliveryFailed("timeout"))
        job = await world.finish(await world.order())
        assert (job.state, job.message_id) == (State.DONE, 1)
        assert world.script.count("post") == 1

    async def test_nothing_is_posted_while_the_channel_cannot_be_read(self, world: World) -> None:
        job = await world.order_in(State.POSTING)
        world.channel.posts.append((job.id, b""))
        world.script.at("look", DeliveryFailed(), DeliveryFailed())
        assert (await world.finish(job)).state is State.DONE
        assert world.script.count("post") == 0

    @pytest.mark.parametrize("end", [ClipTooLarge, ChannelGone, PostRefused])
    async def test_what_can_never_be_posted_is_released_and_told(
        self, world: World, end: type[JobEnded]
    ) -> None:
        world.script.at("post", end("why"))
        job = await world.finish(await world.order())
        assert (job.state, job.error, job.captured) == (State.FAILED, end.__name__, 0)
        assert await world.balance() == RELEASED
        assert [told.error for told in world.channel.told] == [end.__name__]

    async def test_discord_is_tried_until_the_deadline(self, world: World) -> None:
        world.script.always("post", DeliveryFailed("500"))
        job = await world.finish(await world.order())
        assert (job.state, job.error) == (State.FAILED, "PostRefused")
        assert job.posting_at is not None
        assert job.ended_at is not None
        assert 0 <= job.ended_at - job.posting_at - GRACE_S < 2 * BACKOFF_S_MAX
        assert await world.balance() == RELEASED

    async def test_the_last_post_is_looked_for_too(self, world: World) -> None:
        """Its answer is lost beyond the deadline: a clip in the channel is never refunded."""
        job = await world.order_in(State.POSTING)
        world.clock.now += 86_400
        world.script.at("post", *(DeliveryFailed() for _ in range(4 - 1)))
        world.script.at("posted", DeliveryFailed("timeout"))
        job = await world.finish(job)
        assert (job.state, job.message_id, job.captured) == (State.DONE, 1, 110)

    async def test_a_lost_commit_of_the_post_is_found(self, world: World) -> None:
        world.script.at("commit done", RuntimeError("database is locked"))
        job = await world.finish(await world.order())
        assert (job.state, world.script.count("post")) == (State.DONE, 1)
        assert world.script.count("look") == 1


class TestCancelling:
    @pytest.mark.parametrize(
        "point", ["submit", "submitted", "poll", "commit fetching", "fetch", "check"]
    )
    async def test_costs_what_the_provider_billed_and_posts_nothing(
        self, world: World, point: str
    ) -> None:
        job = await world.order()
        world.script.at(point, cancelling(world, job))
        job = await world.finish(job)
        assert (job.state, job.captured, job.error) == (State.CANCELLED, 110, None)
        assert world.script.count("post") == 0
        assert await world.balance() == Balance(CREDITS - 110, 0, 110)
        assert [told.state for told in world.channel.told] == [State.CANCELLED]

    @pytest.mark.parametrize("point", ["submit", "poll", "fetch"])
    async def test_costs_the_hold_where_the_provider_does_not_say(
        self, world: World, point: str
    ) -> None:
        world.provider.verdicts[-1] = completed(usd=None)
        job = await world.order()
        world.script.at(point, cancelling(world, job))
        job = await world.finish(job)
        assert (job.state, job.captured) == (State.CANCELLED, job.hold)

    @pytest.mark.parametrize("point", ["submit", "poll"])
    async def test_is_free_when_the_provider_failed(self, world: World, point: str) -> None:
        world.provider.verdicts[-1] = Failed(GenerationFailed("no"), {})
        job = await world.order()
        world.script.at(point, cancelling(world, job))
        job = await world.finish(job)
        assert (job.state, job.captured) == (State.CANCELLED, 0)
        assert await world.balance() == RELEASED

    async def test_is_free_when_the_provider_refused(self, world: World) -> None:
        job = await world.order()

        async def cancelled_then_refused() -> None:
            await cancelling(world, job)()
            raise RequestRejected

        world.script.at("submit", cancelled_then_refused)
        job = await world.finish(job)
        assert (job.state, job.captured) == (State.CANCELLED, 0)

    async def test_keeps_what_made_nothing_from_being_sent_again(self, world: World) -> None:
        job = await world.order()

        async def cancelled_then_busy() -> None:
            await cancelling(world, job)()
            raise NotSubmitted(retry_after_s=90)

        world.script.at("submit", cancelled_then_busy)
        job = await world.finish(job)
        assert (job.state, job.captured) == (State.CANCELLED, 0)
        assert world.script.count("submit") == 1

    async def test_costs_the_hold_when_no_verdict_ever_came(self, world: World) -> None:
        world.provider.verdicts.pop()
        job = await world.order()
        world.script.at("poll", cancelling(world, job))
        job = await world.finish(job)
        assert (job.state, job.captured) == (State.CANCELLED, job.hold)

    async def test_is_free_when_the_submit_stays_in_doubt(self, world: World) -> None:
        job = await world.order()

        async def cancelled_then_lost() -> None:
            await cancelling(world, job)()
            raise SubmitInDoubt

        world.script.at("submit", cancelled_then_lost)
        job = await world.finish(job)
        assert (job.state, job.captured) == (State.IN_DOUBT, 0)
        assert await world.balance() == RELEASED

    async def test_a_queued_job_is_not_submitted_any_more(self, world: World) -> None:
        """The run that had it finds out at its next commit."""
        await world.order()
        mine = await world.claim()
        assert await world.store.cancel_at_once(mine.id, world.clock()) is not None
        with pytest.raises(StaleJob):
            await world.steps().take(mine, resumed=True)
        assert world.provider.asked == []


class TestMoney:
    @pytest.mark.parametrize(
        ("billed", "markup", "hold", "captured"),
        [
            ("1.10", "1", 132, 110),
            ("0.001", "1", 132, 1),
            ("0", "1", 132, 0),
            ("9.99", "1", 132, 132),
            (None, "1", 132, 132),
            ("-1", "1", 132, 132),
            ("1.10", "1.5", 198, 165),
            ("1.32", "1.5", 198, 198),
            ("1.101", "1.5", 198, 166),
        ],
    )
    async def test_captures_the_bill_with_markup_up_to_the_hold(
        self, world: World, billed: str | None, markup: str, hold: int, captured: int
    ) -> None:
        world.markup = Decimal(markup)
        world.provider.verdicts[-1] = completed(usd=billed)
        job = await world.finish(await world.order(hold=hold))
        assert (job.state, job.captured) == (State.DONE, captured)
        assert await world.balance() == Balance(CREDITS - captured, 0, captured)


class TestTelling:
    async def test_is_tried_again(self, world: World) -> None:
        world.script.at("tell", *(DeliveryFailed() for _ in range(6)))
        job = await world.finish(await world.order())
        assert (world.script.count("tell"), len(world.channel.told)) == (7, 1)
        assert job.is_settled

    async def test_ends_when_nobody_is_there(self, world: World) -> None:
        world.script.at("tell", ChannelGone())
        job = await world.finish(await world.order())
        assert job.is_settled
        assert (world.script.count("tell"), job.state) == (1, State.DONE)

    async def test_ends_when_discord_stays_away(self, world: World) -> None:
        world.script.always("tell", DeliveryFailed())
        job = await world.finish(await world.order())
        assert job.told_at is not None
        assert job.ended_at is not None
        assert 0 <= job.told_at - job.ended_at - GRACE_S < BACKOFF_S_MAX

    async def test_the_end_of_an_old_job_is_told_as_patiently(self, world: World) -> None:
        """The hour counts from the end: a job that waited long is not dropped in seconds."""
        job = await world.order_in(State.GENERATING, created_at=world.clock.now - 86_400)
        world.script.at("tell", *(DeliveryFailed() for _ in range(4 + 4)))
        await world.finish(job)
        assert [told.state for told in world.channel.told] == [State.DONE]

    async def test_a_restart_before_it_was_recorded_tells_again(self, world: World) -> None:
        """Twice is better than never: an edit of the placeholder can be repeated."""
        world.script.at("commit told", RuntimeError("database is locked"))
        job = await world.finish(await world.order())
        assert (len(world.channel.told), job.state) == (2, State.DONE)


class TestTheUnexpected:
    @pytest.fixture(autouse=True)
    def quiet(self, caplog: pytest.LogCaptureFixture) -> None:
        """Hundreds of tracebacks take longer to write than everything else here."""
        caplog.set_level(logging.CRITICAL)

    @pytest.mark.parametrize(
        "point",
        [
            "upload",
            "submit",
            "submitted",
            "poll",
            "fetch",
            "fetched",
            "check",
            "post",
            "posted",
            "tell",
            "told",
            "show",
            "commit submitting",
            "commit generating",
            "commit fetching",
            "commit posting",
            "commit done",
            "commit told",
        ],
    )
    async def test_once_is_only_a_delay(self, world: World, point: str) -> None:
        """Submitted once at most, posted once, and what may have been made is not made again."""
        world.script.at(point, RuntimeError("a bug"))
        job = await world.finish(await world.order(request=with_start_frame()))
        assert job.state is (State.IN_DOUBT if point == "submit" else State.DONE)
        assert world.script.count("submit") <= 1
        assert job.captured == (0 if job.state is State.IN_DOUBT else 110)

    @pytest.mark.parametrize(
        ("state", "points", "end"),
        [
            (State.QUEUED, ["upload"], State.FAILED),
            (State.SUBMITTING, ["find"], State.IN_DOUBT),
            (State.GENERATING, ["poll"], State.FAILED),
            (State.FETCHING, ["fetch"], State.FAILED),
            (State.POSTING, ["look"], State.FAILED),
        ],
    )
    async def test_for_ever_ends_some_day_and_releases(
        self, world: World, state: State, points: list[str], end: State
    ) -> None:
        job = await world.order_in(state, request=with_start_frame())
        must_last_until = job.deadline or job.created_at
        for point in points:
            world.script.always(point, RuntimeError("a bug"))
        job = await world.finish(job)
        assert (job.state, job.error, job.captured) == (end, "InternalTrouble", 0)
        assert job.error_detail == job.id
        assert job.ended_at is not None
        assert 0 <= job.ended_at - must_last_until < 3700
        assert await world.balance() == RELEASED
        assert [told.error for told in world.channel.told] == ["InternalTrouble"]

    async def test_in_telling_ends_some_day(self, world: World) -> None:
        world.script.always("tell", RuntimeError("a bug"))
        job = await world.finish(await world.order())
        assert (job.state, job.is_settled) == (State.DONE, True)

    async def test_a_late_restart_tries_more_than_once_before_it_gives_up(
        self, world: World
    ) -> None:
        job = await world.order_in(State.GENERATING)
        world.clock.now += 86_400
        world.script.at("poll", *(RuntimeError("a bug") for _ in range(7)))
        world.provider.verdicts.popleft()
        assert (await world.finish(job)).state is State.DONE
