"""What each answer to a poll means: still running, a clip, the provider's own no, or no verdict."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import GenerationFailed, JobEnded, ModerationRefused, PollFailed
from core.ports import Completed, Failed, Running
from tests.providers.conftest import (
    HTML,
    KEY,
    Script,
    drip,
    hang_up,
    hang_up_in_the_middle,
    reply,
    say_nothing,
)

if TYPE_CHECKING:
    from providers.segmind import Segmind
    from tests.providers.conftest import Answer

RESULT = "/v2/requests/r1"
STATUS, RECORD = f"{RESULT}/status", "/request-history/r1"
CLIP = "https://images.segmind.com/outputs/1.mp4"
COMPLETED = {"status": "COMPLETED", "request_id": "r1", "metrics": {}}
FAILED = {"status": "FAILED", "request_id": "r1", "error": "Prompt is Mandatory", "metrics": {}}
GONE = {"error": "Request r1 not found"}


# --- Running ---


@pytest.mark.parametrize("state", ["QUEUED", "PROCESSING", "processing", "SOMETHING_NEW"])
async def test_any_other_state_is_still_running(
    script: Script, segmind: Segmind, state: str
) -> None:
    answer = {"status": state, "request_id": "r1", "metrics": {}}
    script.answers(STATUS, reply(200, answer))
    assert await segmind.poll("r1") == Running(answer)
    assert script.paths == [STATUS]
    assert script.seen[0].headers["x-api-key"] == KEY


async def test_a_status_may_run_ahead_of_the_result(script: Script, segmind: Segmind) -> None:
    script.answers(STATUS, reply(200, COMPLETED))
    script.answers(RESULT, reply(200, COMPLETED | {"status": "PROCESSING"}))
    assert isinstance(await segmind.poll("r1"), Running)


async def test_an_id_cannot_lead_to_another_address(script: Script, segmind: Segmind) -> None:
    script.answers("/v2/requests/a/b?c/status", reply(200, {"status": "QUEUED"}))
    assert isinstance(await segmind.poll("a/b?c"), Running)


# --- Completed ---


@pytest.mark.parametrize(
    "where",
    [
        {"video": {"url": CLIP, "content_type": "video/mp4"}, "output": "https://x/other"},
        {"output": CLIP},
        {"output": [CLIP, "https://x/2.mp4"]},
        {"output": {"url": CLIP}},
        {"output": [{"url": CLIP}]},
        {"video": None, "output": None, "video_url": CLIP},
        {"video": {"url": "data:video/mp4;base64,AA"}, "url": CLIP},
        {"output": {"video": {"url": CLIP}}},
        {"output": {"video": CLIP}},
        {"output": [None, {"video": {"url": CLIP}}]},
        {"outputs": [CLIP]},
        {"outputs": [{"url": CLIP}]},
        {"output": None, "outputs": {"video": [{"url": CLIP}]}},
    ],
)
async def test_the_clip_is_found_wherever_it_is_documented_or_was_seen(
    script: Script, segmind: Segmind, where: dict[str, Any]
) -> None:
    answer = COMPLETED | where
    script.answers(STATUS, reply(200, COMPLETED))
    script.answers(RESULT, reply(200, answer))
    assert await segmind.poll("r1") == Completed(CLIP, None, answer)
    assert script.paths == [STATUS, RESULT]


@pytest.mark.parametrize(
    ("metrics", "billed"),
    [
        ('{"cost": 0.5, "remaining_credits": 9.1}', Decimal("0.5")),
        ('{"cost": "1.32"}', Decimal("1.32")),
        ('{"cost": 0}', Decimal(0)),
        ('{"cost": -0.5}', Decimal("-0.5")),
        ("{}", None),
        ("null", None),
        ("[]", None),
        ('{"cost": null}', None),
        ('{"cost": true}', None),
        ('{"cost": "free"}', None),
        ('{"cost": [1]}', None),
        ('{"cost": NaN}', None),
        ('{"cost": 1e400}', None),
        ('{"cost": "NaN"}', None),
        ('{"cost": "-Infinity"}', None),
    ],
)
async def test_the_bill_is_read_or_not_known(
    script: Script, segmind: Segmind, metrics: str, billed: Decimal | None
) -> None:
    answer = f'{{"status": "COMPLETED", "output": "{CLIP}", "metrics": {metrics}}}'
    script.answers(STATUS, reply(200, COMPLETED))
    script.answers(RESULT, reply(200, answer))
    outcome = await segmind.poll("r1")
    assert isinstance(outcome, Completed)
    assert outcome.billed_usd == billed
    assert json.dumps(outcome.answer, allow_nan=False), "no database takes NaN"


# --- Failed ---


@pytest.mark.parametrize("path", [STATUS, RESULT])
@pytest.mark.parametrize("status", [422, 200])
async def test_a_failure_is_the_providers_word_on_either_address(
    script: Script, segmind: Segmind, path: str, status: int
) -> None:
    script.answers(STATUS, reply(200, COMPLETED))
    script.answers(RESULT, reply(200, COMPLETED))
    script._answers[path].clear()  # noqa: SLF001 — this one answers otherwise
    script.answers(path, reply(status, FAILED))
    outcome = await segmind.poll("r1")
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is GenerationFailed
    assert (outcome.error.detail, outcome.answer) == ("Prompt is Mandatory", FAILED)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Content moderation refused the prompt", ModerationRefused),
        ("NSFW content detected", ModerationRefused),
        ("Blocked by RAI", ModerationRefused),
        ({"code": "x", "message": "violates our content policy"}, ModerationRefused),
        ("Worker crashed", GenerationFailed),
        (None, GenerationFailed),
    ],
)
async def test_moderation_is_told_by_its_words(
    script: Script, segmind: Segmind, words: object, kind: type[JobEnded]
) -> None:
    script.answers(STATUS, reply(422, FAILED | {"error": words}))
    outcome = await segmind.poll("r1")
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is kind


# --- No verdict ---


@pytest.mark.parametrize("path", [STATUS, RESULT])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(500, {"error": "Internal server error"}), id="500"),
        pytest.param(reply(500, FAILED), id="500 that says failed"),
        pytest.param(reply(503, {"status": "failed", "message": "upstream"}), id="gateway"),
        pytest.param(reply(503, COMPLETED), id="503 that says completed"),
        pytest.param(reply(401, {"error": "Unauthorized"}), id="401"),
        pytest.param(reply(422, {"error": "Unprocessable"}), id="422 without a state"),
        pytest.param(reply(429, {"error": "Slow down"}), id="429"),
        pytest.param(reply(200, HTML), id="HTML"),
        pytest.param(reply(200, {"status": None}), id="no state"),
        pytest.param(reply(200, {"status": "QUEUED", "x": "x" * 2_000_000}), id="2 MB"),
        pytest.param(hang_up, id="hangs up"),
        pytest.param(hang_up_in_the_middle, id="hangs up in the middle"),
    ],
)
async def test_trouble_while_polling_is_no_verdict(
    script: Script, segmind: Segmind, path: str, answer: Answer
) -> None:
    if path == RESULT:
        script.answers(STATUS, reply(200, COMPLETED))
    script.answers(path, answer)
    with pytest.raises(PollFailed):
        await segmind.poll("r1")


@pytest.mark.parametrize("answer", [say_nothing, drip])
async def test_a_hung_poll_ends(
    script: Script, segmind: Segmind, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.segmind.POLL_LIMIT_S", 0.2)
    script.answers(STATUS, answer)
    with pytest.raises(PollFailed, match="Timeout"):
        await asyncio.wait_for(segmind.poll("r1"), timeout=5)


async def test_a_redirect_is_not_followed_with_our_key(script: Script, segmind: Segmind) -> None:
    script.answers(STATUS, reply(302, headers={"Location": "/elsewhere"}))
    script.answers("/elsewhere", reply(200, COMPLETED))
    with pytest.raises(PollFailed, match="302"):
        await segmind.poll("r1")
    assert script.paths == [STATUS]


# --- After an hour Segmind has forgotten the request, and its history has not ---


def record(status: str, **changes: object) -> dict[str, object]:
    return {"request_id": "r1", "model_status": status, "credits_deduction": 1.32, **changes}


@pytest.mark.parametrize("status", ["COMPLETED", "completed"])
async def test_an_expired_request_is_completed_by_the_history(
    script: Script, segmind: Segmind, status: str
) -> None:
    found = record(status, generation_url=CLIP)
    script.answers(STATUS, reply(404, GONE))
    script.answers(RECORD, reply(200, found))
    assert await segmind.poll("r1") == Completed(CLIP, Decimal("1.32"), found)
    assert script.paths == [STATUS, RECORD]
    assert script.seen[1].headers["x-api-key"] == KEY


@pytest.mark.parametrize(
    ("words", "kind", "detail"),
    [
        ("Worker crashed", GenerationFailed, "Worker crashed"),
        ("Blocked by moderation", ModerationRefused, "Blocked by moderation"),
        ("x" * 10_000, GenerationFailed, "x" * 500),
        (None, GenerationFailed, "no reason given"),
    ],
)
async def test_an_expired_request_is_failed_by_the_history(
    script: Script, segmind: Segmind, words: object, kind: type[JobEnded], detail: str
) -> None:
    script.answers(STATUS, reply(404, GONE))
    script.answers(RECORD, reply(200, record("FAILED", error=words)))
    outcome = await segmind.poll("r1")
    assert isinstance(outcome, Failed)
    assert (type(outcome.error), outcome.error.detail) == (kind, detail)


async def test_an_expired_request_may_still_be_pending(script: Script, segmind: Segmind) -> None:
    script.answers(STATUS, reply(404, GONE))
    script.answers(RECORD, reply(200, record("PENDING")))
    assert await segmind.poll("r1") == Running(record("PENDING"))


DEEP: list[object] = []
for _ in range(500):
    DEEP = [DEEP]
NO_CLIP = [None, "", [], {}, "file:///etc/passwd", 7, [None], {"clip": CLIP}, DEEP]
UNUSABLE_RESULTS = [
    pytest.param(reply(404, GONE), id="404"),
    *[reply(200, COMPLETED | {"output": output}) for output in NO_CLIP],
]


@pytest.mark.parametrize("result", UNUSABLE_RESULTS)
async def test_a_result_without_a_clip_is_looked_up_in_the_history(
    script: Script, segmind: Segmind, result: Answer
) -> None:
    found = record("COMPLETED", generation_url=CLIP)
    script.answers(STATUS, reply(200, COMPLETED))
    script.answers(RESULT, result)
    script.answers(RECORD, reply(200, found))
    assert await segmind.poll("r1") == Completed(CLIP, Decimal("1.32"), found)
    assert script.paths == [STATUS, RESULT, RECORD]


@pytest.mark.parametrize("url", [None, "", [], "file:///etc/passwd"])
@pytest.mark.parametrize("result", UNUSABLE_RESULTS[:2])
async def test_a_completed_job_without_a_clip_anywhere_has_not_failed(
    script: Script, segmind: Segmind, result: Answer, url: object
) -> None:
    script.answers(STATUS, reply(200, COMPLETED))
    script.answers(RESULT, result)
    script.answers(RECORD, reply(200, record("COMPLETED", generation_url=url)))
    with pytest.raises(PollFailed, match="without naming a video"):
        await segmind.poll("r1")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(404, GONE), id="404 everywhere"),
        pytest.param(reply(500, {"error": "Internal server error"}), id="500"),
        pytest.param(reply(200, HTML), id="HTML"),
        pytest.param(reply(200, {"request_id": "r1"}), id="no status"),
        pytest.param(hang_up, id="hangs up"),
    ],
)
async def test_a_history_that_says_nothing_is_no_verdict(
    script: Script, segmind: Segmind, answer: Answer
) -> None:
    script.answers(STATUS, reply(404, GONE))
    script.answers(RECORD, answer)
    with pytest.raises(PollFailed):
        await segmind.poll("r1")
