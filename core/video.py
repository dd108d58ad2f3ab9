"""What a member asks for: a wish from the Discord edge, and the request that a job carries."""

from __future__ import annotations

import unicodedata

from pydantic import BaseModel, ConfigDict

from core.errors import EmptyPrompt, PromptTooLong

PROMPT_CHARACTERS_MAX = 1500


class VideoRequest(BaseModel):
    """What is to be made, in our own words; a provider translates it into its own.

    Attributes:
        prompt: cleaned by `clean_prompt`.
        aspect: width to height, such as `9:16`.
        duration_s: seconds.
        resolution: the short side, such as `720p`.
        start_frame: file name of the normalised image in the frames folder, if one was given.
    """

    model_config = ConfigDict(frozen=True)

    prompt: str
    aspect: str
    duration_s: int
    resolution: str
    start_frame: str | None = None


class Wish(BaseModel):
    """One `/video` as it was typed: who, where, and what is still unchecked.

    Attributes:
        interaction_id: makes the request unique; the same interaction never makes two jobs.
        placeholder_id: the message that shows the progress, if it is known already.
        aspect: None lets the image decide, or else the catalog's default.
        image_url: where Discord keeps the attached image, for a short while.
        image_bytes: its size as Discord tells it.
    """

    model_config = ConfigDict(frozen=True)

    interaction_id: int
    guild_id: int
    channel_id: int
    member_id: int
    placeholder_id: int | None = None
    prompt: str
    aspect: str | None = None
    duration_s: int | None = None
    image_url: str | None = None
    image_bytes: int = 0


def clean_prompt(text: str) -> str:
    """Return the prompt without control characters, white space folded.

    Format characters (right-to-left marks, zero-width joiners) stay where they join letters or
    emoji, except the bidirectional overrides, with which a text can be made to look like another.

    Raises:
        EmptyPrompt: nothing visible is left.
        PromptTooLong: over `PROMPT_CHARACTERS_MAX` characters.
    """
    kept = "".join(" " if unicodedata.category(c) == "Cc" else c for c in text if _harmless(c))
    prompt = " ".join(kept.split())
    if not any(unicodedata.category(c)[0] not in "ZC" for c in prompt):
        raise EmptyPrompt
    if len(prompt) > PROMPT_CHARACTERS_MAX:
        raise PromptTooLong(str(PROMPT_CHARACTERS_MAX))
    return prompt


def _harmless(character: str) -> bool:
    bidirectional_override = "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    return not bidirectional_override and unicodedata.category(character) != "Cs"


def ratio(aspect: str) -> tuple[int, int]:
    """Return `(9, 16)` for `"9:16"`."""
    width, height = aspect.split(":")
    return int(width), int(height)


def nearest_aspect(width: int, height: int, aspects: tuple[str, ...]) -> str:
    """Return the aspect that crops a picture of `width` by `height` pixels the least."""

    def kept_share(aspect: str) -> float:
        target_width, target_height = ratio(aspect)
        stretch = (width * target_height) / (height * target_width)
        return min(stretch, 1 / stretch)

    return max(aspects, key=kept_share)
