"""What the emulated Segmind remembers of requests, and its request history.

Filters, limits and the fields of a row are those of the SDK 1.3.0 (`generations.history`; its
`status` and other orders than newest first are left out, and refused). The
keys around a page (`data`, `page`, `per_page`, `total`, `total_pages`) are invented: no source
names them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sandbox.books import Submit

DEFAULT_DAYS, MOST_DAYS = 7, 31
PER_PAGE, MOST_PER_PAGE = 20, 100
FILTERS = {"model_name", "from_date", "to_date", "page", "per_page"}
NEWEST_FIRST = {"sort_by": "model_created", "sort_order": "desc"}


@dataclass
class Request:
    """One request, with its line in the books. Latencies are emulated seconds, before `speed`."""

    entry: Submit
    queue_s: float
    work_s: float
    url: str
    error: str | None = None

    @property
    def history_status(self) -> str:
        """The state as the history names it: it knows no difference before the end."""
        ended = self.entry.status in ("COMPLETED", "FAILED")
        return self.entry.status if ended else "PENDING"

    def metrics(self) -> dict[str, Any]:
        """Return the times of a finished request; nothing before the end."""
        if self.entry.finished_at is None:
            return {}
        return {
            "inference_time": round(self.work_s, 2),
            "queue_time": round(self.queue_s, 2),
            "total_time": round(self.queue_s + self.work_s, 2),
            "retry_count": 0,
        }


def refusal(kind: type[web.HTTPException], words: str) -> web.HTTPException:
    """Return the provider's usual error: a JSON object with `error`."""
    return kind(text=json.dumps({"error": words}), content_type="application/json")


def row(request: Request) -> dict[str, Any]:
    """Return a request as the history shows it."""
    entry, done = request.entry, request.entry.status == "COMPLETED"
    created = datetime.fromtimestamp(entry.at, UTC)
    return {
        "request_id": entry.id,
        "model_name": entry.model,
        "model_status": request.history_status,
        "model_created": created.isoformat(),
        "credits_deduction": entry.cost or 0.0,
        "request_body": entry.body,
        "generation_url": request.url if done else None,
        "latency_ms": round((request.queue_s + request.work_s) * 1000) if done else None,
        "error": request.error,
    }


def page_of(requests: Iterable[Request], query: Mapping[str, str], now: float) -> dict[str, Any]:
    """Return the page of the history that `query` asks for, the newest first.

    Raises:
        web.HTTPBadRequest: a filter that is not emulated, or has a value that it cannot have.
    """
    if unknown := {name for name in query if query[name] != NEWEST_FIRST.get(name)} - FILTERS:
        raise refusal(web.HTTPBadRequest, f"Not emulated: {', '.join(sorted(unknown))}")
    first, last = _window(query, datetime.fromtimestamp(now, UTC).date())
    page = _number(query, "page", 1, 10**6)
    per_page = _number(query, "per_page", PER_PAGE, MOST_PER_PAGE)

    def wanted(request: Request) -> bool:
        day = datetime.fromtimestamp(request.entry.at, UTC).date()
        return first <= day <= last and query.get("model_name", "") in request.entry.model

    found = sorted(filter(wanted, requests), key=lambda each: each.entry.at, reverse=True)
    return {
        "data": [row(each) for each in found[(page - 1) * per_page : page * per_page]],
        "page": page,
        "per_page": per_page,
        "total": len(found),
        "total_pages": math.ceil(len(found) / per_page),
    }


def _window(query: Mapping[str, str], today: date) -> tuple[date, date]:
    try:
        last = date.fromisoformat(query.get("to_date", str(today)))
        first = date.fromisoformat(query.get("from_date", str(last - timedelta(DEFAULT_DAYS))))
    except ValueError:
        raise refusal(web.HTTPBadRequest, "Dates must be YYYY-MM-DD") from None
    if not 0 <= (last - first).days <= MOST_DAYS:
        raise refusal(web.HTTPBadRequest, f"The window may span at most {MOST_DAYS} days")
    return first, last


def _number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise refusal(web.HTTPBadRequest, f"{name} must be 1 to {most}")
    return int(text)
