from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy import create_engine, text

from storage.migrate import migrate
from storage.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from storage.database import Database


async def test_migrations_and_tables_agree(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    assert await database.transaction(differences) == []


async def test_checks_and_unique_keys_are_migrated_too(database: Database) -> None:
    def names(connection: Connection) -> set[str]:
        rows = connection.execute(text("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))
        words = " ".join(row.sql for row in rows).replace('"', " ").split()
        return {word for word in words if word.startswith(("ck_", "uq_", "fk_", "ix_", "pk_"))}

    fresh = create_engine("sqlite://")
    with fresh.begin() as connection:
        metadata.create_all(connection)
        expected = names(connection)
    fresh.dispose()
    migrated = await database.transaction(names)
    assert {name for name in expected if not name.startswith("pk_alembic")} <= migrated


async def test_migrating_twice_changes_nothing(database: Database) -> None:
    def schema(connection: Connection) -> list[str]:
        return list(connection.scalars(text("SELECT sql FROM sqlite_master ORDER BY name")))

    before = await database.transaction(schema)
    await migrate(database)
    assert await database.transaction(schema) == before


async def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    await database.transaction(
        lambda connection: connection.execute(
            text("UPDATE alembic_version SET version_num = '9999'")
        )
    )
    with pytest.raises(CommandError, match="9999"):
        await migrate(database)


async def test_commits_survive_a_power_loss(database: Database) -> None:
    def pragmas(connection: Connection) -> tuple[object, ...]:
        return tuple(
            connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys")
        )

    assert await database.transaction(pragmas) == ("wal", 2, 1)


async def test_transactions_take_turns(database: Database) -> None:
    def increase(connection: Connection) -> None:
        seen = connection.scalar(text("SELECT balance FROM accounts WHERE name = 'x'"))
        connection.execute(
            text("UPDATE accounts SET balance = :b WHERE name = 'x'"), {"b": (seen or 0) + 1}
        )

    await database.transaction(
        lambda connection: connection.execute(text("INSERT INTO accounts VALUES ('x', 0, false)"))
    )
    await asyncio.gather(*(database.transaction(increase) for _ in range(50)))
    total = await database.transaction(
        lambda connection: connection.scalar(text("SELECT balance FROM accounts"))
    )
    assert total == 50


async def test_a_cancelled_transaction_is_whole_or_not_there(database: Database) -> None:
    """Cancelled at any moment: two rows or none, and the connection serves the next one."""

    def insert_two(connection: Connection, number: int) -> None:
        for name in (f"a{number}", f"b{number}"):
            connection.execute(
                text("INSERT INTO accounts VALUES (:name, 0, false)"), {"name": name}
            )

    for number in range(60):
        task = asyncio.create_task(database.transaction(insert_two, number))
        await asyncio.sleep(number / 20_000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await database.transaction(insert_two, 60)
    counts = await database.transaction(
        lambda connection: connection.execute(
            text("SELECT substr(name, 2), count(*) FROM accounts GROUP BY 1")
        ).all()
    )
    assert {count for _, count in counts} == {2}
