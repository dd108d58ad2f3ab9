"""What each answer to a submit means, and that no submit is ever sent twice.

A submit costs money and Segmind knows no idempotency key. So every answer is exactly one of three:
accepted, certainly not accepted, or in doubt.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import unused_port

from core.errors import (
    DailiesError,
    JobEnded,
    ModelGone,
    ModerationRefused,
    NotSubmitted,
    ProviderKeyRejected,
    ProviderOutOfCredits,
    RequestRejected,
    SubmitInDoubt,
)
from core.ports import Receipt
from core.video import VideoRequest
from tests.providers.conftest import (
    HTML,
    KEY,
    Script,
    drip,
    hang_up,
    hang_up_in_the_middle,
    reply,
    say_nothing,
    segmind_at,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from providers.segmind import Segmind
    from tests.providers.conftest import Answer

MODEL, SUBMIT = "luma-ray-3-2", "/v2/luma-ray-3-2"
BODY = {"prompt": 'a "red" fox 🦊', "aspect_ratio": "9:16", "duration": "5s", "resolution": "720p"}
ACCEPTED = {
    "request_id": "47416c8e-0d3c-4f0e-9d3b-2f6f1a5c7e11",
    "status": "QUEUED",
    "status_url": "https://api.segmind.com/v2/requests/47416c8e/status",
}
SERVER_ERROR = {"error": "Internal server error"}


def assert_ordered_once(script: Script) -> None:
    [request] = script.seen
    assert (request.method, request.path) == ("POST", SUBMIT)
    assert request.headers["x-api-key"] == KEY
    assert request.headers["Content-Type"] == "application/json"
    assert request.data == BODY


# --- Accepted ---


@pytest.mark.parametrize("status", [200, 201, 202])
async def test_an_answer_that_names_a_request_is_a_receipt(
    script: Script, segmind: Segmind, status: int
) -> None:
    script.answers(SUBMIT, reply(status, ACCEPTED))
    assert await segmind.submit(MODEL, BODY) == Receipt(str(ACCEPTED["request_id"]), ACCEPTED)
    assert_ordered_once(script)


async def test_the_receipt_is_read_whatever_the_content_type_claims(
    script: Script, segmind: Segmind
) -> None:
    script.answers(SUBMIT, reply(200, json.dumps(ACCEPTED)))
    assert (await segmind.submit(MODEL, BODY)).answer == ACCEPTED


# --- Certainly not accepted, or in doubt ---


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        # A success that cannot be read may well be a success.
        pytest.param(reply(200, {"status": "QUEUED"}), SubmitInDoubt, "no request", id="no id"),
        pytest.param(reply(200, {"request_id": ""}), SubmitInDoubt, "no request", id="empty id"),
        pytest.param(reply(200, {"request_id": 7}), SubmitInDoubt, "no request", id="number as id"),
        pytest.param(reply(200, {"request_id": "a\nb"}), SubmitInDoubt, "", id="id of two lines"),
        pytest.param(reply(200, {"request_id": "a" * 201}), SubmitInDoubt, "", id="endless id"),
        pytest.param(reply(200, [ACCEPTED]), SubmitInDoubt, "no request", id="a list"),
        pytest.param(reply(200, HTML), SubmitInDoubt, "no request", id="200 HTML"),
        pytest.param(reply(200, ""), SubmitInDoubt, "no request", id="200 empty"),
        pytest.param(reply(200, "[" * 100_000), SubmitInDoubt, "no request", id="200 deep"),
        pytest.param(
            reply(200, ACCEPTED | {"padding": "x" * 2_000_000}), SubmitInDoubt, "", id="2 MB"
        ),
        pytest.param(
            reply(302, headers={"Location": "/elsewhere"}), SubmitInDoubt, "HTTP 302", id="302"
        ),
        # Refusals.
        pytest.param(reply(400, {"error": "Bad aspect"}), RequestRejected, "Bad aspect", id="400"),
        pytest.param(
            reply(
                401, {"error": "Unauthorized", "error_description": "No key", "status_code": 401}
            ),
            ProviderKeyRejected,
            "Unauthorized",
            id="401",
        ),
        pytest.param(reply(402, {"error": "Pay"}), ProviderOutOfCredits, "Pay", id="402"),
        pytest.param(reply(403, {"error": "Plan"}), ProviderKeyRejected, "Plan", id="403"),
        pytest.param(reply(404, {"error": "No model"}), ModelGone, "No model", id="404"),
        pytest.param(reply(405, HTML), ModelGone, "HTTP 405", id="405 HTML"),
        pytest.param(
            reply(406, {"error": "Insufficient credits"}),
            ProviderOutOfCredits,
            "Insufficient credits",
            id="406 credits",
        ),
        pytest.param(
            reply(406, "Invalid content type"),
            RequestRejected,
            "Invalid content type",
            id="406 content type",
        ),
        pytest.param(reply(410, {"error": "Retired"}), ModelGone, "Retired", id="410"),
        pytest.param(
            reply(422, {"detail": "Prompt is mandatory"}),
            RequestRejected,
            "Prompt is mandatory",
            id="422",
        ),
        pytest.param(
            reply(422, {"detail": [{"loc": ["prompt"], "msg": "field required"}]}),
            RequestRejected,
            "field required",
            id="422 with a list",
        ),
        pytest.param(
            reply(422, {"error": {"message": "Blocked by moderation"}}),
            ModerationRefused,
            "Blocked by moderation",
            id="422 moderation",
        ),
        # Documented, so that they need no words.
        pytest.param(reply(401, HTML), ProviderKeyRejected, "HTTP 401", id="401 HTML"),
        pytest.param(reply(402, ""), ProviderOutOfCredits, "HTTP 402", id="402 empty"),
        # Not Segmind's words: a proxy on the way, which may have passed the order on.
        *[
            pytest.param(reply(status, HTML), SubmitInDoubt, f"HTTP {status}", id=f"{status} HTML")
            for status in (400, 403, 404, 406, 410, 413, 422)
        ],
        pytest.param(reply(400, "Bad Request"), SubmitInDoubt, "Bad Request", id="400 text"),
        pytest.param(reply(403, ""), SubmitInDoubt, "HTTP 403", id="403 empty"),
        pytest.param(reply(404, {"path": "/v2"}), SubmitInDoubt, "HTTP 404", id="404 wordless"),
        pytest.param(reply(404, [{"error": "x"}]), SubmitInDoubt, "", id="404 with a list"),
        pytest.param(reply(406, "Not Acceptable"), SubmitInDoubt, "Not Acc", id="406 other text"),
        # It may have been accepted before this went wrong.
        pytest.param(reply(408, {"error": "Timeout"}), SubmitInDoubt, "Timeout", id="408"),
        pytest.param(reply(500, SERVER_ERROR), SubmitInDoubt, "Internal", id="500"),
        pytest.param(reply(502, HTML), SubmitInDoubt, "HTTP 502", id="502 HTML"),
        pytest.param(reply(504, " "), SubmitInDoubt, "HTTP 504", id="504 empty"),
        pytest.param(hang_up, SubmitInDoubt, "", id="hangs up"),
        pytest.param(hang_up_in_the_middle, SubmitInDoubt, "", id="hangs up in the middle"),
    ],
)
async def test_every_other_answer_means_one_thing_and_nothing_is_sent_again(
    script: Script, segmind: Segmind, answer: Answer, outcome: type[DailiesError], words: str
) -> None:
    script.answers(SUBMIT, answer)
    with pytest.raises(DailiesError) as ended:
        await segmind.submit(MODEL, BODY)
    assert type(ended.value) is outcome
    assert words in ended.value.detail
    assert_ordered_once(script)


@pytest.mark.parametrize("answer", [say_nothing, drip])
async def test_an_answer_later_than_the_limit_is_in_doubt(script: Script, answer: Answer) -> None:
    script.answers(SUBMIT, answer)
    async with segmind_at(script.origin, submit_limit_s=0.3) as segmind:
        with pytest.raises(SubmitInDoubt):
            await asyncio.wait_for(segmind.submit(MODEL, BODY), timeout=5)
    assert_ordered_once(script)


# --- Too many requests ---


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"Retry-After": "17"}, 17),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "86400"}, 600),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "nan"}, 0),
        ({"Retry-After": "inf"}, 600),
        ({"Retry-After": "soon"}, None),
        ({"x-rate-limit-reset-at-utc": in_seconds(300)}, 300),
        ({"x-rate-limit-reset-at-utc": in_seconds(300).removesuffix("+00:00")}, 300),
        ({"x-rate-limit-reset-at-utc": in_seconds(-300)}, 0),
        ({"x-rate-limit-reset-at-utc": in_seconds(86_400)}, 600),
        ({"x-rate-limit-reset-at-utc": "tomorrow"}, None),
        ({"x-rate-limit-reset-at-utc": in_seconds(300), "Retry-After": "7"}, 7),
    ],
)
async def test_too_many_requests_made_nothing_and_may_say_for_how_long(
    script: Script, segmind: Segmind, headers: dict[str, str], wait_s: float | None
) -> None:
    script.answers(SUBMIT, reply(429, {"error": "Slow down"}, headers))
    with pytest.raises(NotSubmitted, match="Slow down") as refused:
        await segmind.submit(MODEL, BODY)
    # A reset's time of day was written when the tests were collected.
    assert refused.value.retry_after_s == pytest.approx(wait_s, abs=120 if wait_s == 300 else 0)
    assert_ordered_once(script)


# --- No byte left ---


async def test_a_refused_connection_made_nothing() -> None:
    async with segmind_at(f"http://127.0.0.1:{unused_port()}") as segmind:
        with pytest.raises(NotSubmitted):
            await segmind.submit(MODEL, BODY)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems queue connections differently")
async def test_a_connection_that_never_comes_about_made_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        with socket.create_connection(address):  # fills the backlog
            async with segmind_at(f"http://127.0.0.1:{address[1]}", submit_limit_s=0.4) as segmind:
                with pytest.raises(NotSubmitted):
                    await segmind.submit(MODEL, BODY)


# --- A connection of its own ---


@asynccontextmanager
async def server_that_hangs_up_on_second_requests() -> AsyncIterator[tuple[str, list[bytes]]]:
    """Keep each connection open after its answer, and break it when it is used again."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.readexactly(len(json.dumps(BODY)))
        answer = json.dumps(ACCEPTED).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\nConnection: keep-alive\r\n\r\n"
        writer.write(head.encode() + answer)
        await reader.read(1)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


async def test_a_submit_never_travels_on_a_connection_that_was_used_before() -> None:
    async with (
        server_that_hangs_up_on_second_requests() as (origin, heads),
        segmind_at(origin) as segmind,
    ):
        for _ in range(3):
            assert (await segmind.submit(MODEL, BODY)).id == ACCEPTED["request_id"]
    assert len(heads) == 3
    assert all(b"connection: close" in head.lower() for head in heads)


# --- What is kept of a refusal ---


async def test_a_key_that_the_refusal_quotes_is_blotted_out(
    script: Script, segmind: Segmind
) -> None:
    script.answers(SUBMIT, reply(401, {"error": f"Invalid API key {KEY}"}))
    with pytest.raises(JobEnded) as refused:
        await segmind.submit(MODEL, BODY)
    assert refused.value.detail == "Invalid API key [secret]"


async def test_words_are_kept_short_and_storable(script: Script, segmind: Segmind) -> None:
    script.answers(SUBMIT, reply(400, {"error": "half an emoji: \ud83e" + "x" * 10_000}))
    with pytest.raises(RequestRejected) as refused:
        await segmind.submit(MODEL, BODY)
    assert refused.value.detail.encode().startswith(b"half an emoji: ?xxx")
    assert len(refused.value.detail) == 500


# --- The body ---


async def test_the_body_says_what_was_asked_in_segminds_words(segmind: Segmind) -> None:
    request = VideoRequest(prompt="a red fox", aspect="9:16", duration_s=10, resolution="540p")
    body = {"prompt": "a red fox", "aspect_ratio": "9:16", "duration": "10s", "resolution": "540p"}
    assert segmind.build(request, None) == body
    assert segmind.build(request, "https://x/1.jpg") == body | {"start_frame": "https://x/1.jpg"}
