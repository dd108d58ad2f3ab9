"""When to ask again."""

from __future__ import annotations

BACKOFF_S_MAX = 30.0


def backoff_s(failures: int) -> float:
    """Return seconds to wait after the n-th failure in a row: 1, 2, 4 … 30."""
    return min(2.0 ** min(max(0, failures - 1), 10), BACKOFF_S_MAX)
