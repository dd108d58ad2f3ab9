"""Ordering and cancelling: who may, what it holds, and that a refusal holds nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import (
    BadImage,
    EmptyPrompt,
    FetchError,
    FetchFailed,
    FetchForbidden,
    FetchGone,
    FetchTooLarge,
    ImageUnreachable,
    NotEnoughCredits,
    PromptTooLong,
    RequestRefused,
    UnsupportedWish,
)
from core.jobs import CANCELLABLE_AT_A_PRICE, State
from core.ledger import Balance
from core.video import PROMPT_CHARACTERS_MAX, VideoRequest, Wish
from core.videos import (
    DISCORD_CDN,
    IMAGE_BYTES_MAX,
    IMAGE_TIMEOUT_S,
    PLACEHOLDER_GRACE_S,
    Canceller,
    CancelOutcome,
)
from tests.core.world import CREDITS, GUILD, START

if TYPE_CHECKING:
    from tests.core.world import World

MEMBER, SOMEBODY = 33, 34
UNTOUCHED = Balance(CREDITS, 0, 0)
IMAGE_URL = "https://cdn.discordapp.com/ephemeral/fox.png?ex=1"


def wish(**changes: object) -> Wish:
    values: dict[str, Any] = {
        "interaction_id": 7,
        "guild_id": GUILD,
        "channel_id": 22,
        "member_id": MEMBER,
        "prompt": "a red fox",
    }
    return Wish(**(values | changes))


def with_image(**changes: object) -> Wish:
    return wish(image_url=IMAGE_URL, image_bytes=1000, **changes)


def member(**changes: object) -> Canceller:
    values: dict[str, Any] = {"guild_id": GUILD, "member_id": MEMBER, "is_moderator": False}
    return Canceller(**(values | changes))


class TestOrder:
    async def test_holds_the_price_and_enqueues(self, world: World) -> None:
        job = await world.videos().order(wish(prompt=" a\nred  fox "))
        assert await world.see(job) == job
        assert (job.state, job.hold, job.model) == (State.QUEUED, 132, "luma-ray-3-2")
        assert (job.interaction_id, job.guild_id, job.channel_id, job.member_id) == (7, 11, 22, 33)
        assert job.request == VideoRequest(
            prompt="a red fox", aspect="16:9", duration_s=5, resolution="720p"
        )
        assert await world.balance() == Balance(CREDITS - 132, 132, 0)

    async def test_takes_what_was_wished(self, world: World) -> None:
        job = await world.videos().order(wish(aspect="9:16", duration_s=10, placeholder_id=5))
        assert (job.request.aspect, job.request.duration_s) == ("9:16", 10)
        assert job.placeholder_id == 5

    async def test_holds_the_operators_markup_too(self, world: World) -> None:
        world.markup = Decimal("1.25")
        assert world.videos().hold == 165
        assert (await world.videos().order(wish())).hold == 165

    async def test_a_placeholder_that_comes_late_is_brought_up_to_date(self, world: World) -> None:
        videos = world.videos()
        job = await videos.order(wish())
        world.clock.now = job.due_at
        [claimed] = await world.store.claim("w", 1, world.clock.now)
        moved = await world.store.move(claimed, State.SUBMITTING, {})
        await videos.placed(job, 77)
        assert [shown.state for shown in world.shown] == [moved.state]
        assert world.shown[0].placeholder_id == 77

    async def test_starts_when_the_placeholder_is_there(self, world: World) -> None:
        job = await world.videos().order(wish())
        assert await world.store.claim("w", 10, world.clock.now) == []
        await world.videos().placed(job, 99)
        assert world.nudges == 1
        [claimed] = await world.store.claim("w", 10, world.clock.now)
        assert claimed.placeholder_id == 99

    async def test_starts_without_a_placeholder_after_a_while(self, world: World) -> None:
        await world.videos().order(wish())
        assert await world.store.claim("w", 10, START + PLACEHOLDER_GRACE_S - 1) == []
        assert len(await world.store.claim("w", 10, START + PLACEHOLDER_GRACE_S)) == 1

    async def test_the_same_interaction_makes_one_job(self, world: World) -> None:
        first = await world.videos().order(wish())
        again = await world.videos().order(wish())
        assert again == first
        assert (await world.balance()).held == first.hold

    async def test_two_interactions_make_two(self, world: World) -> None:
        first = await world.videos().order(wish())
        second = await world.videos().order(wish(interaction_id=8))
        assert first.id != second.id
        assert (await world.balance()).held == first.hold + second.hold


class TestTheStartFrame:
    async def test_is_made_of_the_image_in_its_nearest_aspect(self, world: World) -> None:
        world.frames.size = (1100, 1000)
        job = await world.videos().order(with_image())
        assert (job.request.aspect, job.request.start_frame) == ("1:1", "0123abcd.jpg")
        assert world.frames.made == [(f"file at {IMAGE_URL}".encode(), (1, 1))]

    async def test_is_cropped_to_the_aspect_that_was_wished(self, world: World) -> None:
        job = await world.videos().order(with_image(aspect="16:9"))
        assert (job.request.aspect, world.frames.made[0][1]) == ("16:9", (16, 9))
        assert world.script.count("measure") == 0

    async def test_is_downloaded_from_discord_alone_within_limits(self, world: World) -> None:
        await world.videos().order(with_image())
        [asked] = world.web.asked
        assert (asked.url, asked.hosts) == (IMAGE_URL, DISCORD_CDN)
        assert (asked.max_bytes, asked.timeout_s) == (IMAGE_BYTES_MAX, IMAGE_TIMEOUT_S)

    async def test_leaves_no_copy_of_the_image(self, world: World) -> None:
        await world.videos().order(with_image())
        assert not any(source.parent.exists() for source in world.frames.sources)

    async def test_an_image_announced_as_too_large_is_not_downloaded(self, world: World) -> None:
        with pytest.raises(BadImage, match="20 MB"):
            await world.videos().order(with_image().model_copy(update={"image_bytes": 20_000_001}))
        assert world.web.asked == []
        assert await world.balance() == UNTOUCHED

    @pytest.mark.parametrize(
        ("trouble", "refusal"),
        [
            (FetchTooLarge, BadImage),
            (FetchGone, ImageUnreachable),
            (FetchFailed, ImageUnreachable),
            (FetchForbidden, ImageUnreachable),
        ],
    )
    async def test_that_cannot_be_downloaded_is_refused(
        self, world: World, trouble: type[FetchError], refusal: type[RequestRefused]
    ) -> None:
        world.script.at("fetch", trouble("why"))
        with pytest.raises(refusal):
            await world.videos().order(with_image())
        assert await world.balance() == UNTOUCHED
        assert await world.jobs() == []

    @pytest.mark.parametrize("point", ["measure", "make"])
    async def test_that_is_no_picture_is_refused(self, world: World, point: str) -> None:
        world.script.at(point, BadImage("it is no picture"))
        with pytest.raises(BadImage):
            await world.videos().order(with_image())
        assert await world.balance() == UNTOUCHED
        assert await world.jobs() == []


class TestARefusal:
    @pytest.mark.parametrize(
        ("changes", "refusal"),
        [
            ({"prompt": " \u200b "}, EmptyPrompt),
            ({"prompt": "x" * (PROMPT_CHARACTERS_MAX + 1)}, PromptTooLong),
            ({"aspect": "2:1"}, UnsupportedWish),
            ({"duration_s": 7}, UnsupportedWish),
        ],
    )
    async def test_comes_at_once_and_holds_nothing(
        self, world: World, changes: dict[str, object], refusal: type[RequestRefused]
    ) -> None:
        with pytest.raises(refusal):
            world.videos().check(with_image(**changes))
        with pytest.raises(refusal):
            await world.videos().order(with_image(**changes))
        assert world.web.asked == []
        assert await world.jobs() == []
        assert await world.balance() == UNTOUCHED

    async def test_for_want_of_credits_says_how_many(self, world: World) -> None:
        with pytest.raises(NotEnoughCredits) as refused:
            await world.videos(opening_credits=131).order(wish())
        assert (refused.value.needed, refused.value.available) == (132, 131)
        assert await world.jobs() == []

    async def test_leaves_the_interaction_free_for_another_try(self, world: World) -> None:
        world.script.at("fetch", FetchFailed())
        with pytest.raises(ImageUnreachable):
            await world.videos().order(with_image())
        assert (await world.videos().order(with_image())).request.start_frame

    def test_a_good_wish_passes_the_check(self, world: World) -> None:
        world.videos().check(with_image(aspect="1:1", duration_s=10))


class TestCancel:
    async def test_a_queued_job_is_cancelled_at_once_and_free(self, world: World) -> None:
        job = await world.order()
        outcome = await world.videos().cancel(job.id, member(), confirmed=False)
        assert (outcome, world.nudges) == (CancelOutcome.CANCELLED, 1)
        assert (await world.see(job)).state is State.CANCELLED
        assert await world.balance() == UNTOUCHED

    @pytest.mark.parametrize("state", sorted(CANCELLABLE_AT_A_PRICE))
    async def test_a_job_at_the_provider_needs_a_confirmation(
        self, world: World, state: State
    ) -> None:
        job = await world.order_in(state)
        outcome = await world.videos().cancel(job.id, member(), confirmed=False)
        assert outcome is CancelOutcome.NEEDS_CONFIRMATION
        assert await world.see(job) == job

    @pytest.mark.parametrize("state", sorted(CANCELLABLE_AT_A_PRICE))
    async def test_with_a_confirmation_it_is_marked_and_keeps_its_run(
        self, world: World, state: State
    ) -> None:
        job = await world.order_in(state)
        outcome = await world.videos().cancel(job.id, member(), confirmed=True)
        assert outcome is CancelOutcome.CANCELLING
        marked = await world.see(job)
        assert (marked.state, marked.fence, marked.worker) == (state, job.fence, job.worker)
        assert marked.cancel_requested_at == world.clock.now

    @pytest.mark.parametrize("confirmed", [True, False])
    async def test_again_is_no_second_cancellation(self, world: World, *, confirmed: bool) -> None:
        job = await world.order_in(State.GENERATING)
        await world.videos().cancel(job.id, member(), confirmed=True)
        world.clock.now += 60
        outcome = await world.videos().cancel(job.id, member(), confirmed=confirmed)
        assert outcome is CancelOutcome.CANCELLING
        assert (await world.see(job)).cancel_requested_at == START

    async def test_while_it_is_posted_is_too_late(self, world: World) -> None:
        job = await world.order_in(State.POSTING)
        outcome = await world.videos().cancel(job.id, member(), confirmed=True)
        assert outcome is CancelOutcome.TOO_LATE
        assert await world.see(job) == job

    async def test_after_the_end_is_too_late(self, world: World) -> None:
        job = await world.finish(await world.order())
        outcome = await world.videos().cancel(job.id, member(), confirmed=True)
        assert outcome is CancelOutcome.TOO_LATE

    async def test_of_somebody_elses_job_is_refused(self, world: World) -> None:
        job = await world.order()
        stranger = member(member_id=SOMEBODY)
        outcome = await world.videos().cancel(job.id, stranger, confirmed=True)
        assert outcome is CancelOutcome.NOT_YOURS
        assert await world.see(job) == job

    async def test_by_a_moderator_is_allowed(self, world: World) -> None:
        job = await world.order()
        moderator = member(member_id=SOMEBODY, is_moderator=True)
        outcome = await world.videos().cancel(job.id, moderator, confirmed=False)
        assert outcome is CancelOutcome.CANCELLED

    @pytest.mark.parametrize("is_moderator", [True, False])
    async def test_from_another_server_finds_nothing(
        self, world: World, *, is_moderator: bool
    ) -> None:
        """Its buttons' ids can be made up: nobody learns that there is such a job."""
        job = await world.order()
        outsider = member(guild_id=GUILD + 1, is_moderator=is_moderator)
        outcome = await world.videos().cancel(job.id, outsider, confirmed=True)
        assert outcome is CancelOutcome.UNKNOWN
        assert await world.see(job) == job

    async def test_of_no_job_finds_nothing(self, world: World) -> None:
        outcome = await world.videos().cancel("0" * 16, member(), confirmed=True)
        assert outcome is CancelOutcome.UNKNOWN

    async def test_that_comes_as_the_job_is_submitted_asks_first(self, world: World) -> None:
        """Between the look and the cancellation the worker sends the order."""
        await world.order()
        job = await world.claim()

        async def submit() -> None:
            await world.store.move(job, State.SUBMITTING, {"submitted_at": world.clock.now})

        world.script.at("commit cancelled", submit)
        outcome = await world.videos().cancel(job.id, member(), confirmed=False)
        assert outcome is CancelOutcome.NEEDS_CONFIRMATION
        assert (await world.see(job)).state is State.SUBMITTING

    async def test_that_comes_as_the_job_is_posted_is_too_late(self, world: World) -> None:
        """And is never answered with "cancelling": the clip will be there."""
        job = await world.order_in(State.FETCHING)

        async def post() -> None:
            await world.store.begin_posting(job, {})

        world.script.at("request cancel", post)
        outcome = await world.videos().cancel(job.id, member(), confirmed=True)
        assert outcome is CancelOutcome.TOO_LATE
        assert (await world.see(job)).cancel_requested_at is None
