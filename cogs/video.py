"""`/video`: an interaction in, an order to the core, a placeholder out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands

from cogs._cards import placeholder_card, refusal
from cogs._errors import acknowledge
from cogs._sentences import sentence
from cogs._views import job_buttons
from core.errors import DailiesError, GuildOnly, MissingRights
from core.video import PROMPT_CHARACTERS_MAX, Wish

if TYPE_CHECKING:
    from cogs._bot import DailiesBot, Services
    from core.catalog import Model
    from core.jobs import Job

log = logging.getLogger(__name__)

SHAPES = {
    "16:9": "widescreen",
    "9:16": "vertical",
    "1:1": "square",
    "4:3": "classic",
    "3:4": "portrait",
    "21:9": "cinema",
}
RIGHTS = {
    "view_channel": "View Channel",
    "send_messages": "Send Messages",
    "send_messages_in_threads": "Send Messages in Threads",
    "embed_links": "Embed Links",
    "attach_files": "Attach Files",
    "read_message_history": "Read Message History",
}
"""What posting a clip needs, as Discord's client names it."""


async def setup(bot: DailiesBot) -> None:
    """Load the cog."""
    bot.tree.add_command(video_command(bot.services.videos.model))


def video_command(model: Model) -> app_commands.Command[Any, ..., None]:
    """Build the command from what the model can do."""
    aspects = [
        app_commands.Choice(name=f"{aspect} {SHAPES.get(aspect, '')}".strip(), value=aspect)
        for aspect in model.aspects
    ]
    durations = [app_commands.Choice(name=f"{s}s", value=s) for s in model.durations_s]

    @app_commands.command(name="video", description="Make a short video from your words")
    @app_commands.describe(
        prompt="What should be seen: subject, motion, camera, light",
        aspect=f"Shape of the picture (default: the image's, or else {model.aspects[0]})",
        duration=f"Length of the clip (default: {model.durations_s[0]}s)",
        image="A picture that becomes the first frame",
    )
    @app_commands.choices(aspect=aspects)
    @app_commands.choices(duration=durations)
    async def video(
        interaction: discord.Interaction[DailiesBot],
        prompt: app_commands.Range[str, 1, PROMPT_CHARACTERS_MAX],
        aspect: str | None = None,
        duration: int | None = None,
        image: discord.Attachment | None = None,
    ) -> None:
        if interaction.guild_id is None or interaction.channel_id is None:
            raise GuildOnly
        wish = Wish(
            interaction_id=interaction.id,
            guild_id=interaction.guild_id,
            channel_id=interaction.channel_id,
            member_id=interaction.user.id,
            prompt=prompt,
            aspect=aspect,
            duration_s=duration,
            image_url=image.url if image else None,
            image_bytes=image.size if image else 0,
        )
        await _order(interaction, wish)

    return video


async def _order(interaction: discord.Interaction[DailiesBot], wish: Wish) -> None:
    """Refuse at once what needs no look-up; acknowledge; then order and show the placeholder."""
    services = interaction.client.services
    services.videos.check(wish)
    _check_rights(interaction)
    acknowledged = await acknowledge(interaction)
    if acknowledged is not None:
        wish = wish.model_copy(update={"placeholder_id": acknowledged.message_id})
    try:
        job = await services.videos.order(wish)
    except DailiesError as error:
        await interaction.edit_original_response(embed=refusal(sentence(error)))
        return
    await _show_placeholder(interaction, services, job)


def _check_rights(interaction: discord.Interaction[DailiesBot]) -> None:
    """Refuse where the clip could not be posted: a command works without, a message does not."""
    is_thread = isinstance(interaction.channel, discord.Thread)
    speaking = "send_messages_in_threads" if is_thread else "send_messages"
    needed = ("view_channel", speaking, "embed_links", "attach_files", "read_message_history")
    missing = [RIGHTS[it] for it in needed if not getattr(interaction.app_permissions, it)]
    if missing:
        *others, last = missing
        raise MissingRights(f"{', '.join(others)} and {last}" if others else last)


async def _show_placeholder(
    interaction: discord.Interaction[DailiesBot], services: Services, job: Job
) -> None:
    """Show that the job is accepted. Whatever fails here, it is, and will run all the same."""
    try:
        message = await interaction.edit_original_response(
            embed=placeholder_card(job, services.videos.model.usual_wait_s),
            view=job_buttons(job),
        )
        await services.videos.placed(job, message.id)
    except Exception:
        log.exception("job %s runs, but without its placeholder", job.id)
