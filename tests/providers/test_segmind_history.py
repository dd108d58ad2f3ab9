"""How a submit in doubt is looked up: the identical body, inside the window, in whole history."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import PollFailed
from tests.providers.conftest import HTML, Script, hang_up, reply, say_nothing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from providers.segmind import Segmind
    from tests.providers.conftest import Answer

HISTORY, MODEL = "/request-history", "luma-ray-3-2"
BODY = {"prompt": "a red fox", "aspect_ratio": "9:16", "duration": "5s", "resolution": "720p"}
SUBMITTED = datetime(2026, 11, 20, 23, 59, 30, tzinfo=UTC)
SINCE, UNTIL = SUBMITTED.timestamp(), SUBMITTED.timestamp() + 60


def row(request_id: object = "r1", body: object = BODY, **changes: object) -> dict[str, Any]:
    created = (SUBMITTED + timedelta(seconds=2)).isoformat()
    return {"request_id": request_id, "request_body": body, "model_created": created, **changes}


def page(*rows: object) -> Answer:
    return reply(200, {"page": 1, "data": list(rows), "total": len(rows)})


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put this machine into Tokyo's time zone, where the system lets a process do that."""
    if not hasattr(time, "tzset"):
        pytest.skip("this system has one time zone for all processes")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def find(segmind: Segmind) -> list[str]:
    return await segmind.find(MODEL, BODY, SINCE, UNTIL)


async def test_the_one_record_with_the_identical_body_is_found(
    script: Script, segmind: Segmind
) -> None:
    others = [
        row("prompt", BODY | {"prompt": "a red fox "}),
        row("less", {"prompt": "a red fox"}),
        row("more", BODY | {"start_frame": "https://x/1.jpg"}),
        row("text", str(BODY)),
        row("nothing", None),
    ]
    script.answers(HISTORY, page(*others, row("ours"), *others))
    assert await find(segmind) == ["ours"]


async def test_the_history_is_asked_for_this_model_and_these_days(
    script: Script, segmind: Segmind
) -> None:
    script.answers(HISTORY, page())
    assert await find(segmind) == []
    [request] = script.seen
    assert request.query == {
        "page": "1",
        "per_page": "100",
        "sort_by": "model_created",
        "sort_order": "desc",
        "model_name": MODEL,
        "from_date": "2026-11-20",
        "to_date": "2026-11-22",
    }


@pytest.mark.parametrize(
    ("after_s", "is_found"), [(-61, False), (-59, True), (0, True), (119, True), (121, False)]
)
async def test_the_window_is_a_minute_wider_than_the_submit(
    script: Script, segmind: Segmind, after_s: float, *, is_found: bool
) -> None:
    created = SUBMITTED + timedelta(seconds=after_s)
    script.answers(HISTORY, page(row(model_created=created.isoformat())))
    assert bool(await find(segmind)) is is_found


@pytest.mark.parametrize(
    "created",
    [
        {"model_created": "2026-11-20T23:59:40Z"},
        {"model_created": "2026-11-20 23:59:40.123"},
        {"model_created": SUBMITTED.astimezone(timezone(timedelta(hours=5.5))).isoformat()},
        {"model_created": None, "created_at": "2026-11-20T23:59:40+00:00"},
    ],
)
@pytest.mark.usefixtures("far_from_utc")
async def test_times_are_read_as_utc_in_any_notation(
    script: Script, segmind: Segmind, created: dict[str, object]
) -> None:
    script.answers(HISTORY, page(row(**created)))
    assert await find(segmind) == ["r1"]


@pytest.mark.parametrize(
    "spoilt",
    [
        row(model_created=None),
        row(model_created="yesterday"),
        row(model_created=SINCE),
        row(None),
        row(7),
        row(""),
        "r1",
        None,
    ],
)
async def test_a_row_that_cannot_be_read_is_not_ours(
    script: Script, segmind: Segmind, spoilt: object
) -> None:
    script.answers(HISTORY, page(spoilt, row("ours")))
    assert await find(segmind) == ["ours"]


async def test_several_pages_are_read_to_the_end(script: Script, segmind: Segmind) -> None:
    strangers = [row(f"s{i}", {"prompt": "else"}) for i in range(99)]
    script.answers(HISTORY, page(row("first"), *strangers), page(row("second"), *strangers))
    script.answers(HISTORY, page(row("third")))
    assert await find(segmind) == ["first", "second", "third"]
    assert [request.query["page"] for request in script.seen] == ["1", "2", "3"]


async def test_pages_older_than_the_window_are_not_read(script: Script, segmind: Segmind) -> None:
    old = row("old", model_created=(SUBMITTED - timedelta(hours=1)).isoformat())
    script.answers(HISTORY, page(row("ours"), *[old] * 99))
    assert await find(segmind) == ["ours"]
    assert len(script.seen) == 1


async def test_a_history_too_long_to_be_read_is_not_an_answer(
    script: Script, segmind: Segmind
) -> None:
    script.answers(HISTORY, page(*[row("ours")] * 100))
    with pytest.raises(PollFailed, match="too long"):
        await find(segmind)
    assert len(script.seen) == 5


async def test_a_request_with_several_outputs_counts_once(script: Script, segmind: Segmind) -> None:
    script.answers(HISTORY, page(row("r1"), row("r2"), row("r1")))
    assert await find(segmind) == ["r1", "r2"]


@pytest.mark.parametrize("key", ["data", "requests", "generations"])
async def test_the_rows_may_stand_under_any_key(script: Script, segmind: Segmind, key: str) -> None:
    script.answers(HISTORY, reply(200, {"total": 1, key: [row()]}))
    assert await find(segmind) == ["r1"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(500, {"error": "Internal server error"}), id="500"),
        pytest.param(reply(401, {"error": "Unauthorized"}), id="401"),
        pytest.param(reply(200, HTML), id="HTML"),
        pytest.param(reply(200, {"error": "try later"}), id="no rows"),
        pytest.param(reply(302, headers={"Location": "/elsewhere"}), id="302"),
        pytest.param(hang_up, id="hangs up"),
        pytest.param(say_nothing, id="says nothing"),
    ],
)
async def test_a_history_that_cannot_be_read_is_not_an_empty_one(
    script: Script, segmind: Segmind, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.segmind.POLL_LIMIT_S", 0.3)
    script.answers(HISTORY, answer)
    with pytest.raises(PollFailed):
        await asyncio.wait_for(find(segmind), timeout=5)


async def test_a_broken_second_page_spoils_the_first(script: Script, segmind: Segmind) -> None:
    script.answers(HISTORY, page(*[row(f"r{i}") for i in range(100)]), reply(502, HTML))
    with pytest.raises(PollFailed):
        await find(segmind)
