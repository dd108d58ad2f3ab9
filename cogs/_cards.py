"""What a job looks like in its channel: the placeholder's card and the clip's message."""

from __future__ import annotations

import re

import discord

from cogs._sentences import plain, sentence
from core.errors import by_name
from core.jobs import Job, State

RED = discord.Colour(0xED4245)
WORDS: dict[State, str] = {
    State.HELD: "Waiting for a moderator",
    State.QUEUED: "Queued",
    State.SUBMITTING: "Sending to the video service",
    State.GENERATING: "Generating",
    State.FETCHING: "Fetching the clip",
    State.POSTING: "Posting",
    State.DONE: "Done",
    State.FAILED: "No video this time",
    State.REJECTED: "Rejected by a moderator",
    State.CANCELLED: "Cancelled",
    State.EXPIRED: "No video this time",
    State.IN_DOUBT: "No video this time",
}


def placeholder_card(job: Job, usual_wait_s: float) -> discord.Embed:
    """Draw a job as it stands; a clip usually takes `usual_wait_s` seconds."""
    card = discord.Embed(title=_title(job), colour=_colour(job))
    card.description = f"> {plain(job.request.prompt, 400)}"
    if job.error:
        card.description += f"\n\n{sentence(by_name(job.error, job.error_detail))}"
    elif job.state is State.CANCELLED:
        card.description += f"\n\n{_cancelled(job)}"
    elif job.state is State.DONE:
        card.description += f"\n\n[The clip]({_link(job)})"
    card.add_field(name="Format", value=_format(job))
    card.add_field(name="Price", value=_price(job))
    if not job.state.is_end and job.cancel_requested_at is None:
        name, value = _wait(job, usual_wait_s)
        card.add_field(name=name, value=value)
    return card.set_footer(text=f"{job.model} · {job.provider} · job {job.id[:8]}")


def clip_message(job: Job) -> str:
    """Return the words above the clip. Only the requester's mention is a real one."""
    return (
        f"<@{job.member_id}> your video is ready.\n"
        f"> {plain(job.request.prompt, 1200)}\n"
        f"-# {job.model} · {_format(job)} · {price(job.hold if job.cost is None else job.cost)}"
        " · made by AI"
    )


def end_message(job: Job) -> str:
    """Return the words for a job whose placeholder is gone."""
    reason = sentence(by_name(job.error, job.error_detail)) if job.error else _cancelled(job)
    return f"<@{job.member_id}> about “{plain(job.request.prompt, 200)}”: {reason}"


def refusal(text: str) -> discord.Embed:
    """Draw an answer that is no video."""
    return discord.Embed(title="No video this time", description=text, colour=RED)


def clip_file_name(job: Job) -> str:
    """Name the clip's file after its prompt; the end of the name finds it again."""
    words = re.sub(r"[^a-z0-9]+", "-", job.request.prompt.lower())[:40].strip("-")
    return f"{words or 'video'}{clip_mark(job)}"


def clip_mark(job: Job) -> str:
    """Return how the name of this job's file ends, and of no other job's."""
    return f"-{job.id[:8]}.mp4"


def price(credit_count: int) -> str:
    """Return credits with their worth."""
    return f"{credit_count:,} credits (US${credit_count / 100:,.2f})"


def _title(job: Job) -> str:
    if job.cancel_requested_at is not None and not job.state.is_end:
        return "Cancelling: waiting for the video service's bill"
    return WORDS[job.state]


def _colour(job: Job) -> discord.Colour:
    if job.state is State.DONE:
        return discord.Colour.green()
    if job.state is State.CANCELLED:
        return discord.Colour.light_grey()
    return RED if job.state.is_end else discord.Colour.blurple()


def _wait(job: Job, usual_wait_s: float) -> tuple[str, str]:
    """Return a field that stays true, whenever it is read."""
    if job.state is State.QUEUED and job.attempts:
        return "The video service is busy", f"next try <t:{int(job.due_at)}:R>"
    if job.state in {State.FETCHING, State.POSTING}:
        return "Ready", "any moment now"
    start = job.submitted_at or job.created_at
    return "Usually ready", f"<t:{int(start + usual_wait_s)}:R>"


def _format(job: Job) -> str:
    request = job.request
    frame = " · start frame" if request.start_frame else ""
    return f"{request.aspect} · {request.duration_s}s · {request.resolution}{frame}"


def _price(job: Job) -> str:
    return f"up to {price(job.hold)}" if job.captured is None else price(job.captured)


def _cancelled(job: Job) -> str:
    if not job.captured:
        return "Nothing was charged: the held credits are back in this server's budget."
    if job.cost is None:
        return "The video service did not say what it charges, so the whole price was kept."
    return f"The video service had already billed it: {price(job.captured)} were charged."


def _link(job: Job) -> str:
    return f"https://discord.com/channels/{job.guild_id}/{job.channel_id}/{job.message_id}"
