"""One database, one writer, and transactions as plain functions.

`await database.transaction(function, …)` runs `function(connection, …)`, a synchronous Core
function, inside one transaction that commits when it returns and rolls back when it raises.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, StaticPool, event
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine.interfaces import DBAPIConnection

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """A SQLite file behind one connection, handed out in the order of asking.

    One writer is faster than several that starve each other, and makes BEGIN IMMEDIATE
    never wait.
    """

    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(url, poolclass=StaticPool)
        self._turn = asyncio.Lock()
        event.listen(self._engine.sync_engine, "connect", _set_up)
        event.listen(self._engine.sync_engine, "begin", _begin_immediate)

    async def transaction(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function` in one transaction and return what it returns."""
        async with self._turn, self._engine.begin() as connection:
            return await connection.run_sync(function, *args, **kwargs)

    async def close(self) -> None:
        """Close the connection; transactions in progress end first."""
        async with self._turn:
            await self._engine.dispose()


def _set_up(connection: DBAPIConnection, _record: object) -> None:
    """FULL: after a power loss we still know what we submitted."""
    connection.isolation_level = None  # sqlite3 shall not begin transactions of its own
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=5000",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
