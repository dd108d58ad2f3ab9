"""The double-entry ledger: every movement of credits is a transfer with two legs.

A hold moves a guild's free credits aside; it ends as a capture, a release, or both for parts of
it. Nothing is edited, and all balances sum to zero at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ISSUER = "issuer"
"""Where credits come from; the only account that may be below zero."""

IN_DOUBT = "in_doubt"
"""What providers may have billed for jobs that ended in doubt: never a guild's loss."""


class Kind(StrEnum):
    """Why credits moved. A job has at most one transfer of each kind."""

    GRANT = "grant"
    HOLD = "hold"
    CAPTURE = "capture"
    RELEASE = "release"
    DOUBT = "doubt"


@dataclass(frozen=True, slots=True)
class Transfer:
    """`amount` credits (whole, above zero) from account `source` to account `target`."""

    kind: Kind
    source: str
    target: str
    amount: int
    job_id: str | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.amount <= 0:
            raise ValueError(f"a transfer moves at least one credit, not {self.amount}")


@dataclass(frozen=True, slots=True)
class Balance:
    """A guild's credits: free, held by running jobs, and spent so far."""

    available: int
    held: int
    spent: int


def free(guild_id: int) -> str:
    """Name the account of a guild's free credits."""
    return f"guild:{guild_id}"


def held(guild_id: int) -> str:
    """Name the account of the credits that a guild's running jobs hold."""
    return f"held:{guild_id}"


def spent(guild_id: int) -> str:
    """Name the account of what a guild has paid for clips."""
    return f"spent:{guild_id}"


def grant(guild_id: int, amount: int, note: str) -> Transfer:
    """Create credits for a guild."""
    return Transfer(Kind.GRANT, ISSUER, free(guild_id), amount, note=note)


def hold(guild_id: int, amount: int, job_id: str) -> Transfer:
    """Set the upper bound of a job's price aside."""
    return Transfer(Kind.HOLD, free(guild_id), held(guild_id), amount, job_id)


def settlement(guild_id: int, on_hold: int, captured: int, job_id: str) -> list[Transfer]:
    """End a hold: `captured` credits are spent, the rest goes back.

    Raises:
        ValueError: more would be captured than is held.
    """
    if not 0 <= captured <= on_hold:
        raise ValueError(f"cannot capture {captured} of {on_hold} held credits")
    moves = [
        (Kind.CAPTURE, spent(guild_id), captured),
        (Kind.RELEASE, free(guild_id), on_hold - captured),
    ]
    return [
        Transfer(kind, held(guild_id), target, amount, job_id)
        for kind, target, amount in moves
        if amount
    ]


def doubt(amount: int, job_id: str) -> Transfer:
    """Book what a provider may have billed for a job that nobody can account for."""
    return Transfer(Kind.DOUBT, ISSUER, IN_DOUBT, amount, job_id)
