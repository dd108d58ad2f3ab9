"""Every error of an interaction ends here, as a sentence the member can read."""

from __future__ import annotations

import logging
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import discord
from discord import app_commands

from cogs._cards import refusal
from cogs._sentences import sentence, trouble
from core.errors import DailiesError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger(__name__)

ALREADY_ACKNOWLEDGED = 40060
"""Also when Discord's first "yes" got lost and discord.py asked again."""


class Tree(app_commands.CommandTree[Any]):
    """Answers every error of a command."""

    async def on_error(
        self,
        interaction: discord.Interaction[Any],
        error: app_commands.AppCommandError,
        /,
    ) -> None:
        """See answer_error."""
        await answer_error(interaction, getattr(error, "original", error))


@asynccontextmanager
async def answering_errors(interaction: discord.Interaction[Any]) -> AsyncIterator[None]:
    """Do the same for a button: discord.py only logs what a dynamic item raises."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 — answered, and logged with its reference
        await answer_error(interaction, error)


async def acknowledge(
    interaction: discord.Interaction[Any], *, ephemeral: bool = False, thinking: bool = False
) -> discord.InteractionCallbackResponse[Any] | None:
    """Defer the answer; return what Discord says to that, if we heard it."""
    try:
        return await interaction.response.defer(ephemeral=ephemeral, thinking=thinking)
    except discord.HTTPException as error:
        if error.code != ALREADY_ACKNOWLEDGED:
            raise
        return None


async def answer_error(interaction: discord.Interaction[Any], error: BaseException) -> None:
    """Tell the member what went wrong, privately where nothing was said yet."""
    if isinstance(error, DailiesError):
        text = sentence(error)
    else:
        reference = secrets.token_hex(4)
        log.error("interaction failed, reference %s", reference, exc_info=error)
        text = trouble(reference)
    try:
        await _answer(interaction, refusal(text))
    except (discord.DiscordException, aiohttp.ClientError, OSError) as failure:
        log.warning("an error could not be told: %s", failure)


async def _answer(interaction: discord.Interaction[Any], card: discord.Embed) -> None:
    if not interaction.response.is_done():
        try:
            await interaction.response.send_message(embed=card, ephemeral=True)
        except discord.HTTPException as error:
            if error.code != ALREADY_ACKNOWLEDGED:
                raise
        else:
            return
    await interaction.edit_original_response(content=None, embed=card, view=None)
