"""Uploading a start frame: it costs nothing, so that whatever goes wrong may be tried again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import unused_port

from core.errors import (
    DailiesError,
    NotSubmitted,
    ProviderKeyRejected,
    ProviderOutOfCredits,
    RequestRejected,
)
from tests.providers.conftest import (
    HTML,
    KEY,
    Script,
    drip,
    hang_up,
    reply,
    say_nothing,
    segmind_at,
)

if TYPE_CHECKING:
    from pathlib import Path

    from providers.segmind import Segmind
    from tests.providers.conftest import Answer

UPLOAD, ADDRESS = "/upload-asset", "https://images.segmind.com/assets/1.jpg"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "frame.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 a picture")
    return path


@pytest.mark.parametrize(
    "answer",
    [
        {"file_urls": [ADDRESS], "message": "Files uploaded successfully"},
        {"urls": [ADDRESS]},
        {"file_urls": None, "urls": [ADDRESS]},
        {"file_urls": [{"url": ADDRESS}]},
        {"file_urls": ADDRESS},
    ],
)
async def test_a_picture_goes_out_as_a_data_url_and_its_address_comes_back(
    script: Script, segmind: Segmind, picture: Path, answer: object
) -> None:
    script.answers(UPLOAD, reply(200, answer))
    assert await segmind.upload(picture) == ADDRESS
    [request] = script.seen
    assert (request.method, request.headers["x-api-key"]) == ("POST", KEY)
    assert request.data == {"data_urls": ["data:image/jpeg;base64,/9j/4CBhIHBpY3R1cmU="]}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        pytest.param(reply(200, {"file_urls": []}), NotSubmitted, id="no address"),
        pytest.param(reply(200, {"urls": ["ftp://x/1.jpg"]}), NotSubmitted, id="no http"),
        pytest.param(reply(200, HTML), NotSubmitted, id="HTML"),
        pytest.param(reply(302, headers={"Location": "/x"}), NotSubmitted, id="302"),
        pytest.param(reply(400, {"error": "Not a picture"}), RequestRejected, id="400"),
        pytest.param(reply(401, {"error": "Unauthorized"}), ProviderKeyRejected, id="401"),
        pytest.param(reply(402, {"error": "Pay"}), ProviderOutOfCredits, id="402"),
        pytest.param(reply(404, {"error": "Not found"}), RequestRejected, id="404"),
        pytest.param(reply(413, {"message": "Too large"}), RequestRejected, id="413"),
        pytest.param(reply(400, HTML), NotSubmitted, id="400 HTML"),
        pytest.param(reply(403, HTML), NotSubmitted, id="403 HTML"),
        pytest.param(reply(404, HTML), NotSubmitted, id="404 HTML"),
        pytest.param(reply(500, {"error": "Internal server error"}), NotSubmitted, id="500"),
        pytest.param(hang_up, NotSubmitted, id="hangs up"),
        pytest.param(say_nothing, NotSubmitted, id="says nothing"),
        pytest.param(drip, NotSubmitted, id="drips"),
    ],
)
async def test_every_other_answer_is_a_refusal_or_may_be_tried_again(
    script: Script,
    segmind: Segmind,
    picture: Path,
    answer: Answer,
    outcome: type[DailiesError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("providers.segmind.UPLOAD_LIMIT_S", 0.3)
    script.answers(UPLOAD, answer)
    with pytest.raises(DailiesError) as ended:
        await asyncio.wait_for(segmind.upload(picture), timeout=5)
    assert type(ended.value) is outcome
    assert script.paths == [UPLOAD]


async def test_a_limited_upload_says_for_how_long(
    script: Script, segmind: Segmind, picture: Path
) -> None:
    script.answers(UPLOAD, reply(429, {"error": "Slow down"}, {"Retry-After": "9"}))
    with pytest.raises(NotSubmitted, match="Slow down") as refused:
        await segmind.upload(picture)
    assert refused.value.retry_after_s == 9


async def test_a_refused_connection_may_be_tried_again(picture: Path) -> None:
    async with segmind_at(f"http://127.0.0.1:{unused_port()}") as segmind:
        with pytest.raises(NotSubmitted):
            await segmind.upload(picture)
