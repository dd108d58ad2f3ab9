"""The ledger's transactions: every movement of credits passes through `post`."""

from __future__ import annotations

from sqlalchemy import Connection, case, func, insert, select, update

from core.errors import NotEnoughCredits
from core.ledger import ISSUER, Balance, Transfer, free, grant, held, spent
from storage.tables import accounts, entries, jobs, transfers


def post(connection: Connection, transfer: Transfer, now: float) -> None:
    """Write one transfer with its two legs.

    Raises:
        NotEnoughCredits: the source would fall below zero.
        IntegrityError: the job has a transfer of this kind already.
    """
    row = connection.execute(
        insert(transfers)
        .values(kind=transfer.kind, job_id=transfer.job_id, note=transfer.note, at=now)
        .returning(transfers.c.id)
    )
    transfer_id = row.scalar_one()
    for account, amount in (
        (transfer.source, -transfer.amount),
        (transfer.target, transfer.amount),
    ):
        _open(connection, account)
        _add(connection, account, amount)
        connection.execute(
            insert(entries).values(transfer_id=transfer_id, account=account, amount=amount)
        )


def open_guild(connection: Connection, guild_id: int, opening_credits: int, now: float) -> None:
    """Give a guild its first credits, once; while there are none to give, it is not opened."""
    if opening_credits > 0 and _open(connection, free(guild_id)):
        post(connection, grant(guild_id, opening_credits, "opening credits"), now)


def balance(connection: Connection, guild_id: int) -> Balance:
    """Return a guild's credits; zeros for a guild without an account."""
    names = {free(guild_id), held(guild_id), spent(guild_id)}
    rows = connection.execute(
        select(accounts.c.name, accounts.c.balance).where(accounts.c.name.in_(names))
    )
    found = {row.name: row.balance for row in rows}
    return Balance(
        available=found.get(free(guild_id), 0),
        held=found.get(held(guild_id), 0),
        spent=found.get(spent(guild_id), 0),
    )


def audit(connection: Connection) -> list[str]:
    """Return what is wrong with the books, one sentence each; empty when all is well."""
    return [
        *_unbalanced_transfers(connection),
        *_balances_off_the_journal(connection),
        *_holds_off_the_jobs(connection),
    ]


def _open(connection: Connection, account: str) -> bool:
    """Make the account if it is not there; tell whether it is new."""
    if connection.scalar(select(accounts.c.name).where(accounts.c.name == account)):
        return False
    connection.execute(
        insert(accounts).values(name=account, balance=0, may_be_negative=account == ISSUER)
    )
    return True


def _add(connection: Connection, account: str, amount: int) -> None:
    stays_above_zero = accounts.c.may_be_negative | (accounts.c.balance + amount >= 0)
    changed = connection.execute(
        update(accounts)
        .where(accounts.c.name == account, stays_above_zero)
        .values(balance=accounts.c.balance + amount)
    )
    if changed.rowcount == 0:
        available = connection.scalar(select(accounts.c.balance).where(accounts.c.name == account))
        raise NotEnoughCredits(needed=-amount, available=available or 0)


def _unbalanced_transfers(connection: Connection) -> list[str]:
    rows = connection.execute(
        select(entries.c.transfer_id)
        .group_by(entries.c.transfer_id)
        .having((func.sum(entries.c.amount) != 0) | (func.count() != 2))  # noqa: PLR2004 — legs
    )
    return [f"transfer {row.transfer_id} does not have two legs that sum to zero" for row in rows]


def _balances_off_the_journal(connection: Connection) -> list[str]:
    journal = func.coalesce(func.sum(entries.c.amount), 0)
    rows = connection.execute(
        select(accounts.c.name, accounts.c.balance, journal.label("journal"))
        .select_from(accounts.outerjoin(entries, entries.c.account == accounts.c.name))
        .group_by(accounts.c.name, accounts.c.balance)
        .having(accounts.c.balance != journal)
    )
    return [f"account {row.name} says {row.balance}, its journal {row.journal}" for row in rows]


def _holds_off_the_jobs(connection: Connection) -> list[str]:
    """Compare each guild's held credits with the holds of its jobs that have not ended."""
    open_hold = func.sum(case((jobs.c.ended_at.is_(None), jobs.c.hold), else_=0))
    rows = connection.execute(
        select(jobs.c.guild_id, open_hold.label("expected")).group_by(jobs.c.guild_id)
    ).all()
    wrong = []
    for guild_id, expected in rows:
        actual = balance(connection, guild_id).held
        if actual != expected:
            wrong.append(f"guild {guild_id} holds {actual}, its open jobs need {expected}")
    return wrong
