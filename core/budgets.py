"""The use case of a server's budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from core.ledger import Balance
    from core.ports import Clock


class BudgetStore(Protocol):
    """What `/budget` reads."""

    async def balance(self, guild_id: int, opening_credits: int, now: float) -> Balance:
        """Return a guild's credits, opening its account if it is new."""
        ...


@dataclass(frozen=True, slots=True)
class Budgets:
    """Tells what a server has, holds and has spent."""

    store: BudgetStore
    clock: Clock
    opening_credits: int

    async def of(self, guild_id: int) -> Balance:
        """Return the credits of a guild."""
        return await self.store.balance(guild_id, self.opening_credits, self.clock())
