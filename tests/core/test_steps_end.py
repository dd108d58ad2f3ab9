"""Posting, cancelling, telling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from core.errors import (
    ChannelGone,
    ClipTooLarge,
    DeliveryFailed,
    GenerationFailed,
    JobEnded,
    NotSubmitted,
    PostRefused,
    RequestRejected,
    SubmitInDoubt,
)
from core.jobs import StaleJob, State
from core.ledger import Balance
from core.patience import BACKOFF_S_MAX, GRACE_S
from core.ports import Failed
from core.steps import MUTE_S
from tests.core.looks import (
    RELEASED,
    cancelling,
)
from tests.core.world import CLIP_URL, CREDITS, completed

if TYPE_CHECKING:
    from tests.core.world import World


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

    async def test_a_discord_that_never_answers_does_not_keep_the_credits(
        self, world: World
    ) -> None:
        job = await world.order_in(State.POSTING)
        world.script.always("look", DeliveryFailed())
        job = await world.finish(job)
        assert (job.state, job.error, job.captured) == (State.FAILED, "PostRefused", 0)
        assert job.ended_at is not None
        assert job.posting_at is not None
        assert job.ended_at - job.posting_at >= MUTE_S
        assert world.channel.posts == []


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
