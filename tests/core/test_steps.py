"""A job on its whole way, and what nobody foresaw, on the real database in virtual time."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from core.jobs import Job, State
from core.ledger import Balance
from core.video import VideoRequest
from tests.core.looks import (
    DOUBT_ENDS_S,
    RELEASED,
    seeing,
    with_start_frame,
)
from tests.core.world import CLIP_URL, CREDITS, TIMINGS, completed

if TYPE_CHECKING:
    from tests.core.world import World


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
