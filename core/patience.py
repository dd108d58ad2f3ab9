"""When to try again, and when trying ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.ports import Clock

BACKOFF_S_MAX = 30.0
GRACE_S = 2 * 60 * 60.0


def backoff_s(failures: int) -> float:
    """Return seconds to wait after the n-th failure in a row: 1, 2, 4 … 30."""
    return min(2.0 ** min(max(0, failures - 1), 10), BACKOFF_S_MAX)


@dataclass(slots=True)
class Patience:
    """Failures in a row of one run, against a persisted deadline.

    A failure is no answer, so beyond the deadline it ends nothing until failures have lasted for
    `grace_s`: after a long downtime the other side may just be waking up, too.
    """

    clock: Clock
    deadline: float
    grace_s: float
    failures: int = 0
    _failing_since: float = 0.0

    def fail(self) -> None:
        """Count one failure."""
        if not self.failures:
            self._failing_since = self.clock()
        self.failures += 1

    def answered(self) -> None:
        """Forget the failures."""
        self.failures = 0

    @property
    def wait_s(self) -> float:
        """Seconds until the next try; none without a failure."""
        return backoff_s(self.failures) if self.failures else 0.0

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed: one more answer decides."""
        return self.clock() >= self.deadline

    @property
    def is_over(self) -> bool:
        """Whether it has failed too long beyond the deadline to go on without an answer."""
        lasted_s = self.clock() - self._failing_since
        return bool(self.failures) and self.is_late and lasted_s >= self.grace_s
