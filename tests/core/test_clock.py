from __future__ import annotations

import time
from typing import TYPE_CHECKING

from core.clock import SteadyClock

if TYPE_CHECKING:
    import pytest


def test_starts_at_the_time_of_day_and_goes_on() -> None:
    clock = SteadyClock()
    first = clock()
    assert abs(first - time.time()) < 1
    assert clock() >= first


def test_a_jump_of_the_machines_clock_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SteadyClock()
    before = clock()
    monkeypatch.setattr(time, "time", lambda: before + 86_400)
    assert clock() - before < 1
