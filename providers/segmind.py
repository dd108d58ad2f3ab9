"""Segmind's v2 API: submit, poll, result; uploads; and its history for submits in doubt.

Sources: the model page of luma-ray-3-2, the async-inference page, and the official Python SDK
1.3.0. What they leave open is read tolerantly and said where it is read.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self, TypeGuard
from urllib.parse import quote

import aiohttp

from core.errors import (
    GenerationFailed,
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
from core.ports import Completed, Failed, Receipt, Running
from providers._http import Answer, read_answer

if TYPE_CHECKING:
    from pathlib import Path

    from core.video import VideoRequest

UPLOAD_LIMIT_S = 60.0
POLL_LIMIT_S = 20.0
CLOCK_SKEW_S = 60.0
HISTORY_PAGES_MAX = 5
HISTORY_ROWS = 100
ID_CHARACTERS_MAX = 200
RETRY_AFTER_S_MAX = 600.0
MODERATION_WORDS = ("moderat", "nsfw", "safety", "content policy", "blocked", "prohibited")
REFUSALS: dict[int, type[JobEnded]] = {
    HTTPStatus.UNAUTHORIZED: ProviderKeyRejected,
    HTTPStatus.FORBIDDEN: ProviderKeyRejected,
    HTTPStatus.PAYMENT_REQUIRED: ProviderOutOfCredits,
    HTTPStatus.NOT_FOUND: ModelGone,
    HTTPStatus.METHOD_NOT_ALLOWED: ModelGone,
    HTTPStatus.GONE: ModelGone,
}
# Documented as such, so that they are read without words too; 405 is a page of HTML.
PLAIN_REFUSALS = {
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.PAYMENT_REQUIRED,
    HTTPStatus.METHOD_NOT_ALLOWED,
}
UNDECIDED = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
URL_PLACES = ("video", "output", "outputs", "video_url", "url")
URL_DEPTH_MAX = 8
TROUBLE = (aiohttp.ClientError, TimeoutError, OSError, ValueError)


class Segmind:
    """One API key at Segmind; use it as an async context manager."""

    name = "segmind"

    def __init__(
        self, key: str, *, base_url: str, upload_url: str, history_url: str, submit_limit_s: float
    ) -> None:
        self.submit_limit_s = submit_limit_s
        self._key = key
        self._headers = {"x-api-key": key, "Accept": "application/json"}
        self._v2 = f"{base_url.rstrip('/')}/v2"
        self._upload_url = upload_url
        self._history_url = history_url.rstrip("/")

    async def __aenter__(self) -> Self:
        """Open the connections."""
        self._session = aiohttp.ClientSession(headers=self._headers)
        # A kept connection that the server has just closed would put a submit in doubt.
        self._submits = aiohttp.ClientSession(
            headers=self._headers, connector=aiohttp.TCPConnector(force_close=True)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._session.close()
        await self._submits.close()

    # --- build ---

    def build(self, request: VideoRequest, start_frame_url: str | None) -> dict[str, Any]:
        """See Provider. Without an image no `start_frame` is sent: its default is a demo image."""
        body = {
            "prompt": request.prompt,
            "aspect_ratio": request.aspect,
            "duration": f"{request.duration_s}s",
            "resolution": request.resolution,
        }
        return body | ({"start_frame": start_frame_url} if start_frame_url else {})

    # --- post ---

    async def upload(self, picture: Path) -> str:
        """See Provider. The answer's key is `file_urls` in the SDK and `urls` in the docs."""
        data = base64.b64encode(await asyncio.to_thread(picture.read_bytes)).decode("ascii")
        body = {"data_urls": [f"data:image/jpeg;base64,{data}"]}
        limit = aiohttp.ClientTimeout(total=UPLOAD_LIMIT_S)
        try:
            async with self._session.post(
                self._upload_url, json=body, timeout=limit, allow_redirects=False
            ) as response:
                answer = await read_answer(response, self._key)
        except TROUBLE as error:
            raise NotSubmitted(type(error).__name__) from error
        if not answer.is_ok:
            raise _upload_refusal(answer)
        url = _first_url(answer.data.get("file_urls") or answer.data.get("urls"))
        if url is None:
            raise NotSubmitted("the upload's answer names no address")
        return url

    async def submit(self, model: str, body: dict[str, Any]) -> Receipt:
        """See Provider."""
        url = f"{self._v2}/{quote(model, safe='/')}"
        # Half of the time for the connection: where that fails, certainly nothing was ordered.
        limit = aiohttp.ClientTimeout(total=self.submit_limit_s, connect=self.submit_limit_s / 2)
        try:
            async with self._submits.post(
                url, json=body, timeout=limit, allow_redirects=False
            ) as response:
                answer = await read_answer(response, self._key)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSubmitted(type(error).__name__) from error  # no byte has left
        except TROUBLE as error:
            raise SubmitInDoubt(type(error).__name__) from error
        return _receipt(answer)

    async def poll(self, provider_job_id: str) -> Running | Completed | Failed:
        """See Provider. What the result lacks, or lost after its hour, the history may know."""
        request_url = f"{self._v2}/requests/{quote(provider_job_id, safe='')}"
        status = await self._get(f"{request_url}/status")
        if status.status == HTTPStatus.NOT_FOUND:
            return await self._poll_history(provider_job_id)
        if _state(status) != "COMPLETED":
            return _unfinished(status)
        outcome = _outcome_of_result(await self._get(request_url))
        return outcome or await self._poll_history(provider_job_id)

    async def find(self, model: str, body: dict[str, Any], since: float, until: float) -> list[str]:
        """See Provider. The window is widened by a minute, since two clocks are compared."""
        window = (since - CLOCK_SKEW_S, until + CLOCK_SKEW_S)
        found: dict[str, None] = {}
        for page in range(1, HISTORY_PAGES_MAX + 1):
            rows = await self._history_page(model, window, page)
            found |= {row["request_id"]: None for row in rows if _is_record(row, body, window)}
            if len(rows) < HISTORY_ROWS or _is_before(rows[-1], window[0]):
                return list(found)
        raise PollFailed("the history is too long")  # what was not read might be a second one

    async def _poll_history(self, provider_job_id: str) -> Running | Completed | Failed:
        answer = await self._get(f"{self._history_url}/{quote(provider_job_id, safe='')}")
        if not answer.is_ok:
            raise PollFailed(_words(answer))
        return _outcome_of_record(answer.data)

    async def _history_page(
        self, model: str, window: tuple[float, float], page: int
    ) -> list[dict[str, Any]]:
        first_day, last_day = (datetime.fromtimestamp(moment, UTC) for moment in window)
        answer = await self._get(
            self._history_url,
            page=str(page),
            per_page=str(HISTORY_ROWS),
            sort_by="model_created",
            sort_order="desc",
            model_name=model,
            from_date=first_day.strftime("%Y-%m-%d"),
            to_date=(last_day + timedelta(days=1)).strftime("%Y-%m-%d"),
        )
        if not answer.is_ok:
            raise PollFailed(_words(answer))
        return _rows(answer.data)

    async def _get(self, url: str, **params: str) -> Answer:
        limit = aiohttp.ClientTimeout(total=POLL_LIMIT_S)
        try:
            async with self._session.get(
                url, params=params, timeout=limit, allow_redirects=False
            ) as response:
                return await read_answer(response, self._key)
        except TROUBLE as error:
            raise PollFailed(type(error).__name__) from error


# --- parse ---


def _receipt(answer: Answer) -> Receipt:
    """Sort the answer to a submit into its three outcomes."""
    if answer.is_ok:
        request_id = answer.data.get("request_id")
        if _is_id(request_id):
            return Receipt(request_id, answer.data)
        raise SubmitInDoubt("the answer names no request")
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise NotSubmitted(_words(answer), _retry_after_s(answer))
    raise _refusal(answer) or SubmitInDoubt(_words(answer))


def _upload_refusal(answer: Answer) -> JobEnded | NotSubmitted:
    """Read a failed upload: a missing page says nothing about the model."""
    refusal = _refusal(answer)
    if isinstance(refusal, ModelGone):
        return RequestRejected(_words(answer))
    return refusal or NotSubmitted(_words(answer), _retry_after_s(answer))


def _refusal(answer: Answer) -> JobEnded | None:
    """Return what a definite refusal means, or None where the answer is none."""
    if not _is_definite(answer):
        return None
    words = _words(answer)
    known = REFUSALS.get(answer.status)
    if known is not None:
        return known(words)
    if answer.status == HTTPStatus.NOT_ACCEPTABLE and _is_about_money(words):
        return ProviderOutOfCredits(words)
    return _moderation(words) or RequestRejected(words)


def _is_definite(answer: Answer) -> bool:
    """Tell Segmind's own 4xx from a proxy's page: that one cannot know what Segmind did."""
    if answer.status in PLAIN_REFUSALS:
        return True
    is_refusal = HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
    if not is_refusal or answer.status in UNDECIDED:
        return False
    is_documented_text = (
        answer.status == HTTPStatus.NOT_ACCEPTABLE and answer.text.strip() == "Invalid content type"
    )
    return is_documented_text or bool(_words_in(answer.data))


def _is_about_money(words: str) -> bool:
    """Tell 406's meanings apart: empty account, content type, bad parameter, team cap."""
    return any(word in words.lower() for word in ("credit", "balance", "fund"))


def _is_id(value: object) -> TypeGuard[str]:
    """An id is opaque, but it has to fit into an address and into a job's row."""
    is_word = isinstance(value, str) and value.isascii() and value.isprintable()
    return is_word and 0 < len(str(value)) <= ID_CHARACTERS_MAX


def _state(answer: Answer) -> str | None:
    """Return the job's state; a failed job's is served as 422 (the model's page)."""
    # A gateway's 5xx whose JSON happens to say `"status": "failed"` speaks of itself.
    state = answer.data.get("status")
    is_verdict = answer.is_ok or answer.status == HTTPStatus.UNPROCESSABLE_ENTITY
    return state.upper() if is_verdict and isinstance(state, str) else None


def _unfinished(answer: Answer) -> Running | Failed:
    """Read a status that is not COMPLETED."""
    state = _state(answer)
    if state == "FAILED":
        return _failed(answer.data, _words(answer))
    if not answer.is_ok or state is None:
        raise PollFailed(_words(answer))
    return Running(answer.data)


def _outcome_of_result(result: Answer) -> Running | Completed | Failed | None:
    """Return None where the result is gone, or names no video where we know to look."""
    if result.status == HTTPStatus.NOT_FOUND:
        return None
    if _state(result) != "COMPLETED":
        return _unfinished(result)
    url = _first_url(result.data)
    return Completed(url, _metrics_cost(result.data), result.data) if url else None


def _outcome_of_record(record: dict[str, Any]) -> Running | Completed | Failed:
    status = record.get("model_status")
    match status.upper() if isinstance(status, str) else None:
        case "COMPLETED":
            url = _first_url(record.get("generation_url"))
            if url is None:
                raise PollFailed("it finished without naming a video")
            return Completed(url, _usd(record.get("credits_deduction")), record)
        case "FAILED":
            return _failed(record, _words_in(record) or "no reason given")
        case str():
            return Running(record)
        case _:
            raise PollFailed("the history's record has no status")


def _failed(data: dict[str, Any], words: str) -> Failed:
    return Failed(_moderation(words) or GenerationFailed(words), data)


def _first_url(value: object, depth: int = URL_DEPTH_MAX) -> str | None:
    """Look where the docs, the pages and what was observed put an address, one in another."""
    if isinstance(value, str):
        return value if value.startswith(("https://", "http://")) else None
    if isinstance(value, dict):
        value = [value.get(place) for place in URL_PLACES]
    if not isinstance(value, list) or depth == 0:
        return None
    return next(filter(None, (_first_url(item, depth - 1) for item in value)), None)


def _metrics_cost(data: dict[str, Any]) -> Decimal | None:
    metrics = data.get("metrics")
    return _usd(metrics.get("cost")) if isinstance(metrics, dict) else None


def _usd(value: object) -> Decimal | None:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None


def _rows(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a history page; the SDK does not name the key that holds them."""
    lists = [value for value in data.values() if isinstance(value, list)]
    if not lists:
        raise PollFailed("the history's page has no rows")
    return [row for row in lists[0] if isinstance(row, dict)]


def _is_record(row: dict[str, Any], body: dict[str, Any], window: tuple[float, float]) -> bool:
    created_at = _created_at(row)
    return (
        _is_id(row.get("request_id"))
        and row.get("request_body") == body
        and created_at is not None
        and window[0] <= created_at <= window[1]
    )


def _is_before(row: dict[str, Any], moment: float) -> bool:
    created_at = _created_at(row)
    return created_at is not None and created_at < moment


def _created_at(row: dict[str, Any]) -> float | None:
    return _moment(row.get("model_created") or row.get("created_at"))


def _moment(value: object) -> float | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _moderation(words: str) -> ModerationRefused | None:
    """Segmind gives moderation no code, only text."""
    is_moderation = any(word in words.lower() for word in MODERATION_WORDS)
    return ModerationRefused(words) if is_moderation else None


def _words(answer: Answer) -> str:
    """Return the provider's own words, never a page of HTML."""
    text = answer.text.strip()
    plain = "" if answer.data or "<" in text else text[:200]
    return _words_in(answer.data) or plain or f"HTTP {answer.status}"


def _words_in(data: dict[str, Any]) -> str:
    """Return what an answer says in words; some errors are lists or objects, shown as they are."""
    for key in ("error", "error_description", "detail", "message"):
        if value := data.get(key):
            words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            return words[:500]
    return ""


def _retry_after_s(answer: Answer) -> float | None:
    """Read `Retry-After`, or Segmind's own `x-rate-limit-reset-at-utc`."""
    try:
        wait_s = float(answer.headers["Retry-After"])
    except (KeyError, ValueError):
        reset_at = _moment(answer.headers.get("x-rate-limit-reset-at-utc"))
        if reset_at is None:
            return None
        wait_s = reset_at - time.time()
    return min(max(0.0, wait_s), RETRY_AFTER_S_MAX)  # in this order NaN becomes 0
