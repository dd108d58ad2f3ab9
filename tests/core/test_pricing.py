"""Prices: whole credits, rounded up, and never more captured than was held."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import product

import pytest

from core.catalog import Model
from core.errors import UnsupportedWish
from core.pricing import capture_for, hold_for
from core.video import VideoRequest

MODEL = Model("acme", "m", ("16:9", "1:1"), (5, 10), ("720p",), list_price=132, usual_wait_s=52)


@pytest.mark.parametrize(
    ("list_price", "markup", "hold"),
    [(132, "1", 132), (132, "1.5", 198), (132, "1.001", 133), (1, "0.01", 1), (132, "0.5", 66)],
)
def test_a_hold_is_the_list_price_times_the_markup(list_price: int, markup: str, hold: int) -> None:
    assert hold_for(replace(MODEL, list_price=list_price), Decimal(markup)) == hold


@pytest.mark.parametrize(
    ("billed_usd", "markup", "captured"),
    [
        ("1.10", "1", 110),
        ("0.5", "1", 50),
        ("1.101", "1", 111),
        ("0.5", "1.5", 75),
        ("0", "1", 0),
        ("0.0001", "1", 1),
        ("1.32", "1", 132),
        ("1.33", "1", 132),
        ("1e30", "1", 132),
        (None, "1", 132),
        ("-0.5", "1", 132),
    ],
)
def test_what_was_billed_is_captured(billed_usd: str | None, markup: str, captured: int) -> None:
    billed = None if billed_usd is None else Decimal(billed_usd)
    assert capture_for(132, billed, Decimal(markup)) == captured


def test_a_capture_stays_between_nothing_and_the_hold() -> None:
    bills = [None, *(Decimal(text) for text in ("-1", "0", "1e-9", "0.333", "1.32", "7e20"))]
    markups = [Decimal(text) for text in ("0.01", "1", "1.37", "1000")]
    for hold, bill, markup in product((0, 1, 132, 10**9), bills, markups):
        captured = capture_for(hold, bill, markup)
        assert isinstance(captured, int)
        assert 0 <= captured <= hold


def test_a_model_refuses_what_it_does_not_make_and_names_what_it_does() -> None:
    request = VideoRequest(prompt="fox", aspect="1:1", duration_s=10, resolution="720p")
    MODEL.check(request)
    for wish, words in (
        ({"aspect": "9:16"}, r"aspect 9:16 \(possible: 16:9, 1:1\)"),
        ({"duration_s": 9}, r"duration 9s \(possible: 5s, 10s\)"),
        ({"resolution": "4k"}, r"resolution 4k \(possible: 720p\)"),
    ):
        with pytest.raises(UnsupportedWish, match=words):
            MODEL.check(request.model_copy(update=wish))
