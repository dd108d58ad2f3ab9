"""From the submit to the clip on disk."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from core.clips import BAD_CLIPS_MAX, CLIP_BYTES_MAX, GONE_S
from core.errors import (
    BadClip,
    ClipUnchecked,
    FetchError,
    FetchFailed,
    FetchForbidden,
    FetchTooLarge,
    GenerationFailed,
    PollFailed,
)
from core.jobs import State
from core.patience import BACKOFF_S_MAX, GRACE_S
from core.ports import Failed, Running
from tests.core.looks import (
    FRESH_URL,
    RELEASED,
)
from tests.core.world import CLIP_URL, TIMINGS, completed

if TYPE_CHECKING:
    from tests.core.world import World


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
