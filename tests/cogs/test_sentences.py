"""The table from error class to sentence, and words from outside in it."""

from __future__ import annotations

import re

import pytest

from cogs._sentences import SENTENCES, plain, sentence, trouble
from core.errors import DailiesError, JobEnded, NotEnoughCredits, RequestRefused, by_name

WHAT_TO_DO = re.compile(
    r"\b(Try|Use|Whoever runs this bot sets|Choose|Ask|Attach|Describe|"
    r"Shorten|Change|Check|Please tell)\b"
)
ENDS = [error for error in SENTENCES if issubclass(error, JobEnded)]


def leaves(root: type[DailiesError]) -> set[type[DailiesError]]:
    below = root.__subclasses__()
    return set[type[DailiesError]]().union(*map(leaves, below)) if below else {root}


def said(error: type[DailiesError], detail: str = "so and so") -> str:
    return sentence(NotEnoughCredits(5, 3) if error is NotEnoughCredits else error(detail))


def test_every_end_that_a_member_may_meet_has_a_sentence() -> None:
    assert set(SENTENCES) == leaves(RequestRefused) | leaves(JobEnded)


@pytest.mark.parametrize("error", SENTENCES)
def test_a_sentence_says_what_was_charged_and_what_to_do(error: type[DailiesError]) -> None:
    words = said(error)
    assert "othing was charged" in words
    assert WHAT_TO_DO.search(words) or "It is safe to use `/video` again." in words
    assert "{" not in words


@pytest.mark.parametrize("error", ENDS)
def test_the_end_of_a_job_says_that_its_credits_are_back(error: type[DailiesError]) -> None:
    assert "the held credits are back" in said(error)
    assert said(type(by_name(error.__name__, ""))) == said(error)


def test_a_fault_of_ours_promises_nothing_and_names_its_reference() -> None:
    assert "credits are back" not in trouble("abc123")
    assert "`abc123`" in trouble("abc123")


@pytest.mark.parametrize("error", SENTENCES)
def test_words_from_outside_are_short_and_mention_nobody(error: type[DailiesError]) -> None:
    words = said(error, "@everyone **now** <@123456789012345678> " * 99)
    assert "@everyone" not in words
    assert "**" not in words
    assert len(words) < 700


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\t and   gaps", "two lines and gaps"),
        ("*a* _b_ ~c~ |d| `e`", r"\*a\* \_b\_ \~c\~ \|d\| \`e\`"),
        ("# not a heading", r"\# not a heading"),
        ("> not a quote", r"\> not a quote"),
        ("- not a list", r"\- not a list"),
        ("-# not small", r"\-# not small"),
        ("[a](x) [b](y)", r"\[a](x) \[b](y)"),
        ("https://a.example", r"https\://a.example"),
        ("<t:0:R> <:fox:1> </video:1>", r"\<t:0:R> \<:fox:1> \</video:1>"),
        ("@here", "@\u200bhere"),
        ("9:16 - a fox; 100% #1", "9:16 - a fox; 100% #1"),
    ],
)
def test_discord_shows_a_text_as_it_was_written(text: str, shown: str) -> None:
    assert plain(text, 99) == shown


@pytest.mark.parametrize("character", ["x", "*", "\\", "@everyone"])
@pytest.mark.parametrize("limit", [10, 11])
def test_a_long_text_is_cut_within_the_limit_and_between_escapes(
    character: str, limit: int
) -> None:
    shown = plain(character * 99, limit)
    assert len(shown) <= limit
    assert re.search(r"(^|[^\\])…$|^…$", shown)
