"""From list prices and provider's bills to whole credits (1 credit = US$0.01 of list price)."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.catalog import Model


def hold_for(model: Model, markup: Decimal) -> int:
    """Return the credits to hold: an upper bound of what a clip will be charged."""
    return _whole(Decimal(model.list_price) * markup)


def capture_for(hold: int, billed_usd: Decimal | None, markup: Decimal) -> int:
    """Return the credits to capture: the provider's bill, never more than the hold.

    The whole hold where the provider does not say what it charged.
    """
    if billed_usd is None or not 0 <= billed_usd * 100 * markup < hold:
        return hold
    return _whole(billed_usd * 100 * markup)


def _whole(credits_exact: Decimal) -> int:
    return int(credits_exact.to_integral_value(rounding=ROUND_CEILING))
