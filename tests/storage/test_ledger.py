from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from core import ledger as book
from core.errors import NotEnoughCredits
from storage import ledger

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from storage.database import Database


async def test_a_guild_opens_once(database: Database) -> None:
    for _ in range(2):
        await database.transaction(ledger.open_guild, 1, 500, 0.0)
    balance = await database.transaction(ledger.balance, 1)
    assert balance == book.Balance(available=500, held=0, spent=0)
    assert await database.transaction(ledger.audit) == []


async def test_a_guild_that_got_nothing_gets_its_first_credits_later(database: Database) -> None:
    """An operator who first starts with DEFAULT_GUILD_CREDITS=0 can still set it."""
    await database.transaction(ledger.open_guild, 1, 0, 0.0)
    await database.transaction(ledger.open_guild, 1, 500, 0.0)
    assert (await database.transaction(ledger.balance, 1)).available == 500


async def test_an_account_never_falls_below_zero(database: Database) -> None:
    await database.transaction(ledger.open_guild, 1, 100, 0.0)
    transfer = book.Transfer(book.Kind.HOLD, book.free(1), book.held(1), 101)
    with pytest.raises(NotEnoughCredits):
        await database.transaction(ledger.post, transfer, 0.0)
    assert (await database.transaction(ledger.balance, 1)).available == 100
    assert await database.transaction(ledger.audit) == []


async def test_the_database_itself_forbids_a_balance_below_zero(database: Database) -> None:
    await database.transaction(ledger.open_guild, 1, 100, 0.0)
    with pytest.raises(Exception, match="never_below_zero"):
        await database.transaction(_run, "UPDATE accounts SET balance = -1 WHERE name='guild:1'")


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("UPDATE accounts SET balance = 99 WHERE name = 'guild:1'", "account guild:1 says 99"),
        ("UPDATE entries SET amount = 99 WHERE account = 'guild:1'", "two legs"),
        ("DELETE FROM entries WHERE account = 'issuer'", "two legs"),
    ],
)
async def test_the_audit_finds_damage(database: Database, damage: str, finding: str) -> None:
    await database.transaction(ledger.open_guild, 1, 100, 0.0)
    await database.transaction(_run, damage)
    assert any(finding in wrong for wrong in await database.transaction(ledger.audit))


@pytest.mark.parametrize("amount", [0, -1])
def test_a_transfer_moves_at_least_one_credit(amount: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        book.grant(1, amount, "")


def _run(connection: Connection, statement: str) -> None:
    connection.execute(text(statement))
