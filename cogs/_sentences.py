"""The one table from error class to sentence: what happened, what it cost, what to do next."""

from __future__ import annotations

import re

import discord

from core.errors import (
    BadClip,
    BadImage,
    ChannelGone,
    ClipTooLarge,
    DailiesError,
    EmptyPrompt,
    GenerationExpired,
    GenerationFailed,
    GuildOnly,
    ImageUnreachable,
    InternalTrouble,
    MissingRights,
    ModelGone,
    ModerationRefused,
    NoOrdersTaken,
    NotEnoughCredits,
    PostRefused,
    PromptTooLong,
    ProviderKeyRejected,
    ProviderOutOfCredits,
    RequestRejected,
    ResultGone,
    SubmitLost,
    TooBusy,
    UnsupportedWish,
)

REFUSED_FREE = "Nothing was made and nothing was charged."
RELEASED = "Nothing was charged: the held credits are back in this server's budget."

MARKUP = re.compile(r"[\\`*_~|<\[]|:(?=//)|^[#>+-]")
"""Whatever Discord renders within a line; discord.py's own escape misses all links but one."""

SENTENCES: dict[type[DailiesError], str] = {
    GuildOnly: f"Videos are made in servers, from a server's budget. {REFUSED_FREE} "
    "Use `/video` in a channel of a server that I am in.",
    EmptyPrompt: f"The prompt is empty. {REFUSED_FREE} Describe what should be seen, for example "
    "“a red fox in the snow”.",
    PromptTooLong: "The prompt is too long: {detail} characters at most. "
    f"{REFUSED_FREE} Shorten it and try again.",
    UnsupportedWish: f"I cannot make {{detail}}. {REFUSED_FREE} Choose one of these and try again.",
    NotEnoughCredits: "This server does not have enough credits: {detail}. "
    f"{REFUSED_FREE} Whoever runs this bot sets how many credits a server starts with; "
    "`/budget` shows what is left.",
    MissingRights: "I could not post the clip in this channel: I am missing {detail}. "
    f"{REFUSED_FREE} Ask a moderator to allow it, or use another channel.",
    TooBusy: f"Many images are being prepared just now. {REFUSED_FREE} Try again in a minute.",
    BadImage: "The image cannot be a start frame: {detail}. "
    f"{REFUSED_FREE} Attach another image and try again.",
    ImageUnreachable: "The image could not be downloaded from Discord. "
    f"{REFUSED_FREE} Attach it again and try once more.",
    ProviderKeyRejected: "The video service does not accept this bot's key. "
    f"{RELEASED} Please tell whoever runs this bot; trying again will not help before that.",
    ProviderOutOfCredits: "This bot's account at the video service is empty. "
    f"{RELEASED} Please tell whoever runs this bot; trying again will not help before that.",
    ModelGone: "The video service does not offer this model any more. "
    f"{RELEASED} Please tell whoever runs this bot.",
    RequestRejected: "The video service refused the request: “{detail}”. "
    f"{RELEASED} Change the prompt or the options and try again.",
    ModerationRefused: "The video service's moderation refused this prompt or image: “{detail}”. "
    f"{RELEASED} Change it and try again.",
    GenerationFailed: "The video service could not make this clip: “{detail}”. "
    f"{RELEASED} Try again, or change the prompt.",
    NoOrdersTaken: f"The video service took no orders for hours. {RELEASED} Try again later.",
    GenerationExpired: "The video service did not finish this clip in time. "
    f"{RELEASED} Try again later.",
    SubmitLost: "The connection to the video service broke at the worst moment, and it cannot be "
    f"found out whether it made the clip. {RELEASED} It is safe to use `/video` again.",
    ResultGone: f"The clip was made, but its file could not be downloaded. {RELEASED} Try again.",
    BadClip: "The video service delivered a file that is no playable video: {detail}. "
    f"{RELEASED} Try again.",
    ClipTooLarge: "The clip is larger than what Discord lets me post here. "
    f"{RELEASED} Try a shorter duration.",
    ChannelGone: f"I may not post in that channel any more. {RELEASED} Check that I may view the "
    "channel and its history, send messages and attach files there, then try again.",
    PostRefused: "Discord did not take the message with the clip: “{detail}”. "
    f"{RELEASED} Try again; if it happens again, tell whoever runs this bot.",
    InternalTrouble: "Something went wrong on my side. "
    f"{RELEASED} Try again; if it happens again, tell whoever runs this bot the reference "
    "`{detail}`.",
}


def sentence(error: DailiesError) -> str:
    """Return what a member reads about an error; what others said in it is defused."""
    return SENTENCES[type(error)].format(detail=plain(error.detail, 300))


def trouble(reference: str) -> str:
    """Return what a member reads when we failed to answer: we cannot tell how far we came."""
    return (
        "Something went wrong on my side, and I may not have done what you asked. Nothing was "
        "charged so far; `/budget` shows whether credits are held for it. Try again; if it happens "
        f"again, tell whoever runs this bot the reference `{reference}`."
    )


def plain(text: str, limit: int) -> str:
    """Return text from outside as Discord shows it literally: no markdown, no mention, no link.

    `limit` is in characters as they are sent, with the escapes.
    """
    one_line = " ".join(text.split())
    escaped = discord.utils.escape_mentions(MARKUP.sub(r"\\\g<0>", one_line))
    if len(escaped) <= limit:
        return escaped
    return escaped[: limit - 1].rstrip("\\") + "…"
