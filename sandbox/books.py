"""The sandbox's books: what each provider was asked, and what was posted where."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Submit:
    """One billable request that a provider accepted. Times are Unix seconds, cost is US$."""

    provider: str
    model: str
    id: str
    body: dict[str, Any]
    at: float
    finished_at: float | None = None
    status: str = "QUEUED"
    cost: float | None = None


@dataclass
class Post:
    """One message that a bot posted. `attachments` are file names."""

    guild_id: str | None
    channel_id: str
    message_id: str
    nonce: str | None
    attachments: list[str]
    at: float
    deleted: bool = False


@dataclass
class Books:
    """Append-only; `GET /sandbox/books` shows them. Oracles of tests compare them with a ledger."""

    submits: list[Submit] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the shape that the sandbox's contract fixes."""
        return asdict(self)
