"""A clock for deadlines."""

from __future__ import annotations

import time


class SteadyClock:
    """Unix time that goes on evenly, whatever is done to the machine's clock while we run."""

    def __init__(self) -> None:
        self._start = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Return Unix seconds."""
        return self._start + time.monotonic()
