"""The transactions on jobs. Every arrow is one UPDATE that its fence guards, with its money."""

from __future__ import annotations

import logging
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, or_, select, update

from core import ledger as book
from core.jobs import (
    ARROWS,
    CANCELLABLE_AT_A_PRICE,
    CANCELLABLE_AT_ONCE,
    Changes,
    Job,
    StaleJob,
    State,
)
from core.video import VideoRequest
from storage import ledger
from storage.tables import jobs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from sqlalchemy import ColumnElement, Row

    from core.ledger import Balance
    from storage.database import Database

log = logging.getLogger(__name__)

DUE_S_MAX = 3600.0
"""No job is put off for longer: a later time was written by a clock that was wrong."""
COLUMNS = [jobs.c[field.name] for field in fields(Job)]


class JobStore:
    """Keeps jobs and their credits: the core's OrderStore and WorkStore."""

    def __init__(self, database: Database) -> None:
        self._run = database.transaction
        self._unreadable: set[str] = set()

    async def enqueue(self, job: Job, opening_credits: int) -> Job:
        """See OrderStore."""
        return await self._run(_enqueue, job, opening_credits)

    async def get(self, job_id: str) -> Job | None:
        """See OrderStore."""
        return await self._run(_get, jobs.c.id == job_id)

    async def of_interaction(self, interaction_id: int) -> Job | None:
        """See OrderStore."""
        return await self._run(_get, jobs.c.interaction_id == interaction_id)

    async def set_placeholder(self, job_id: str, message_id: int, now: float) -> None:
        """See OrderStore."""
        await self._run(_set_placeholder, job_id, message_id, now)

    async def cancel_at_once(self, job_id: str, now: float) -> Job | None:
        """See OrderStore."""
        return await self._run(_cancel_at_once, job_id, now)

    async def request_cancel(self, job_id: str, now: float) -> Job | None:
        """See OrderStore."""
        return await self._run(_request_cancel, job_id, now)

    async def balance(self, guild_id: int, opening_credits: int, now: float) -> Balance:
        """See OrderStore."""
        return await self._run(_balance, guild_id, opening_credits, now)

    async def claim(
        self, worker: str, limit: int, now: float, driving: Collection[str] = ()
    ) -> list[Job]:
        """See WorkStore."""
        return await self._run(_claim, worker, limit, now, driving, self._unreadable)

    async def reload(self, job: Job) -> Job:
        """See WorkStore."""
        return await self._run(_reload, job)

    async def move(self, job: Job, to: State, changes: Changes) -> Job:
        """See WorkStore."""
        return await self._run(_move, job, to, changes)

    async def begin_posting(self, job: Job, changes: Changes) -> Job:
        """See WorkStore."""
        return await self._run(_begin_posting, job, changes)

    async def settle(self, job: Job, to: State, captured: int, now: float, changes: Changes) -> Job:
        """See WorkStore."""
        return await self._run(_settle, job, to, captured, now, changes)

    async def told(self, job: Job, now: float) -> Job:
        """See WorkStore."""
        return await self._run(_told, job, now)

    async def unclaimed(self, provider: str, ids: list[str]) -> list[str]:
        """See WorkStore."""
        return await self._run(_unclaimed, provider, ids)

    async def has_rival(self, job: Job) -> bool:
        """See WorkStore."""
        return await self._run(_has_rival, job)

    async def audit(self) -> list[str]:
        """Return what is wrong with the books; see storage.ledger.audit."""
        return await self._run(ledger.audit)


def _job(row: Row[Any]) -> Job:
    values = dict(row._mapping)  # noqa: SLF001 — SQLAlchemy's documented accessor
    values["request"] = VideoRequest.model_validate(values["request"])
    values["state"] = State(values["state"])
    return Job(**values)


def _values(job: Job) -> dict[str, Any]:
    return asdict(job) | {"request": job.request.model_dump(mode="json")}


def _get(connection: Connection, where: ColumnElement[bool]) -> Job | None:
    row = connection.execute(select(*COLUMNS).where(where)).one_or_none()
    return None if row is None else _job(row)


def _enqueue(connection: Connection, job: Job, opening_credits: int) -> Job:
    earlier = _get(connection, jobs.c.interaction_id == job.interaction_id)
    if earlier is not None:
        return earlier
    ledger.open_guild(connection, job.guild_id, opening_credits, job.created_at)
    connection.execute(insert(jobs).values(_values(job)))
    ledger.post(connection, book.hold(job.guild_id, job.hold, job.id), job.created_at)
    return job


def _set_placeholder(connection: Connection, job_id: str, message_id: int, now: float) -> None:
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(placeholder_id=message_id))
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.state == State.QUEUED, jobs.c.attempts == 0)
        .values(due_at=now)
    )


def _cancel_at_once(connection: Connection, job_id: str, now: float) -> Job | None:
    """Take the job out of its worker's hands: the end still has to be told by whoever claims it."""
    job = _get(connection, (jobs.c.id == job_id) & jobs.c.state.in_(CANCELLABLE_AT_ONCE))
    if job is None:
        return None
    _settle(connection, job, State.CANCELLED, 0, now, {})
    return _update(connection, jobs.c.id == job_id, {"worker": None, "due_at": now})


def _request_cancel(connection: Connection, job_id: str, now: float) -> Job | None:
    """Leave the fence alone: the worker may be in the middle of a submit that it must record."""
    may_still = (jobs.c.id == job_id) & jobs.c.state.in_(CANCELLABLE_AT_A_PRICE)
    return _update(connection, may_still, {"cancel_requested_at": now})


def _balance(connection: Connection, guild_id: int, opening_credits: int, now: float) -> Balance:
    ledger.open_guild(connection, guild_id, opening_credits, now)
    return ledger.balance(connection, guild_id)


def _claim(
    connection: Connection,
    worker: str,
    limit: int,
    now: float,
    driving: Collection[str],
    unreadable: set[str],
) -> list[Job]:
    """A job that names this worker, but is not driven, was dropped: it is taken up again."""
    is_driven = (jobs.c.worker == worker) & jobs.c.id.in_(driving)
    is_due = or_(
        jobs.c.state != State.QUEUED,
        jobs.c.due_at <= now,
        jobs.c.due_at > now + DUE_S_MAX,
    )
    free = (
        select(jobs.c.id)
        .where(
            jobs.c.told_at.is_(None),
            jobs.c.state != State.HELD,
            is_due,
            jobs.c.id.not_in(unreadable),
            or_(jobs.c.worker.is_(None), ~is_driven),
        )
        .order_by(jobs.c.due_at)
        .limit(limit)
    )
    rows = connection.execute(
        update(jobs)
        .where(jobs.c.id.in_(free))
        .values(worker=worker, fence=jobs.c.fence + 1)
        .returning(*COLUMNS)
    )
    return sorted(_readable(rows, unreadable), key=lambda job: job.due_at)


def _readable(rows: Iterable[Row[Any]], unreadable: set[str]) -> Iterator[Job]:
    """Leave out a row that another version wrote: it must not keep all others from being done."""
    for row in rows:
        try:
            yield _job(row)
        except ValueError:
            log.exception("job %s cannot be read; it waits for the next start", row.id)
            unreadable.add(row.id)


def _reload(connection: Connection, job: Job) -> Job:
    fresh = _get(connection, _fenced(job))
    if fresh is None:
        raise StaleJob(job.id)
    return fresh


def _move(connection: Connection, job: Job, to: State, changes: Changes) -> Job:
    if to not in ARROWS.get(job.state, frozenset()):
        raise ValueError(f"there is no arrow from {job.state} to {to}")
    return _arrow(connection, _fenced(job), job, {"state": to, **changes})


def _begin_posting(connection: Connection, job: Job, changes: Changes) -> Job:
    fresh = _reload(connection, job)
    if fresh.cancel_requested_at is not None:
        return fresh
    return _move(connection, job, State.POSTING, changes)


def _settle(
    connection: Connection, job: Job, to: State, captured: int, now: float, changes: Changes
) -> Job:
    job_now = _move(connection, job, to, changes)
    for transfer in book.settlement(job.guild_id, job.hold, captured, job.id):
        ledger.post(connection, transfer, now)
    if to is State.IN_DOUBT:
        ledger.post(connection, book.doubt(job.hold, job.id), now)
    ended = {"captured": captured, "ended_at": now, "deadline": None}
    return _arrow(connection, _fenced(job_now), job_now, ended)


def _told(connection: Connection, job: Job, now: float) -> Job:
    return _arrow(connection, _fenced(job), job, {"told_at": now})


def _fenced(job: Job) -> ColumnElement[bool]:
    return (jobs.c.id == job.id) & (jobs.c.fence == job.fence)


def _arrow(
    connection: Connection, where: ColumnElement[bool], job: Job, values: dict[str, Any]
) -> Job:
    moved = _update(connection, where, {"fence": jobs.c.fence + 1, **values})
    if moved is None:
        raise StaleJob(job.id)
    return moved


def _update(
    connection: Connection, where: ColumnElement[bool], values: dict[str, Any]
) -> Job | None:
    row = connection.execute(
        update(jobs).where(where).values(**values).returning(*COLUMNS)
    ).one_or_none()
    return None if row is None else _job(row)


def _unclaimed(connection: Connection, provider: str, ids: list[str]) -> list[str]:
    taken = set(
        connection.scalars(
            select(jobs.c.provider_job_id).where(
                jobs.c.provider == provider, jobs.c.provider_job_id.in_(ids)
            )
        )
    )
    return [provider_id for provider_id in ids if provider_id not in taken]


def _has_rival(connection: Connection, job: Job) -> bool:
    others = connection.execute(
        select(jobs.c.body).where(
            jobs.c.state == State.SUBMITTING,
            jobs.c.provider == job.provider,
            jobs.c.model == job.model,
            jobs.c.id != job.id,
        )
    )
    return any(other.body == job.body for other in others)
