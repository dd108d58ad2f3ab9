"""The prompt as it is cleaned, and the aspect that an image asks for."""

from __future__ import annotations

import pytest

from core.errors import EmptyPrompt, PromptTooLong
from core.video import PROMPT_CHARACTERS_MAX, clean_prompt, nearest_aspect, ratio

ASPECTS = ("16:9", "1:1", "21:9", "3:4", "4:3", "9:16")
PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"  # joined by a zero-width non-joiner
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


@pytest.mark.parametrize(
    ("typed", "prompt"),
    [
        ("a red fox", "a red fox"),
        ("  a \n\t red\r\n\u2028 fox\u00a0 ", "a red fox"),
        ("a\x00red\x1b[31m fox\x85", "a red [31m fox"),
        ("a \u202excof der\u202c \u2066fox\u2069", "a xcof der fox"),
        ("a \ud83e fox", "a fox"),
        (FAMILY, FAMILY),
        (PERSIAN, PERSIAN),
        ("@everyone <@1> **fox**", "@everyone <@1> **fox**"),
        ("?", "?"),
    ],
)
def test_a_prompt_keeps_its_words_and_loses_what_is_not_seen(typed: str, prompt: str) -> None:
    assert clean_prompt(typed) == prompt
    assert clean_prompt(prompt) == prompt


@pytest.mark.parametrize(
    "typed", ["", "   ", "\n\t", "\u200b\u200d", "\u202e\u2069", "\ufeff", "\x00"]
)
def test_a_prompt_without_a_visible_character_is_empty(typed: str) -> None:
    with pytest.raises(EmptyPrompt):
        clean_prompt(typed)


def test_a_prompt_is_measured_after_cleaning() -> None:
    longest = "🦊" * PROMPT_CHARACTERS_MAX
    assert clean_prompt(f"  {longest}\n\n") == longest
    with pytest.raises(PromptTooLong, match=f"^{PROMPT_CHARACTERS_MAX}$"):
        clean_prompt(longest + "x")


def test_a_ratio_is_width_to_height() -> None:
    assert ratio("21:9") == (21, 9)


@pytest.mark.parametrize(
    ("width", "height", "aspect"),
    [
        (1920, 1080, "16:9"),
        (1080, 1920, "9:16"),
        (500, 500, "1:1"),
        (4032, 3024, "4:3"),
        (3024, 4032, "3:4"),
        (3440, 1440, "21:9"),
        (10_000, 1, "21:9"),
        (1, 10_000, "9:16"),
        (1000, 900, "1:1"),
    ],
)
def test_an_image_gets_the_aspect_that_crops_it_least(width: int, height: int, aspect: str) -> None:
    assert nearest_aspect(width, height, ASPECTS) == aspect
