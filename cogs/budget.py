"""`/budget`: what this server has, holds and has spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands

from cogs._cards import price
from cogs._errors import acknowledge
from core.errors import GuildOnly

if TYPE_CHECKING:
    from cogs._bot import DailiesBot


async def setup(bot: DailiesBot) -> None:
    """Load the cog."""
    bot.tree.add_command(budget)


@app_commands.command(name="budget", description="See this server's video credits")
async def budget(interaction: discord.Interaction[DailiesBot]) -> None:
    """Answer privately, so that a look costs nobody's attention."""
    if interaction.guild_id is None:
        raise GuildOnly
    await acknowledge(interaction, ephemeral=True)
    services = interaction.client.services
    balance = await services.budgets.of(interaction.guild_id)
    card = discord.Embed(title="This server's video credits", colour=discord.Colour.blurple())
    card.add_field(name="Available", value=price(balance.available))
    card.add_field(name="Held by running videos", value=price(balance.held))
    card.add_field(name="Spent", value=price(balance.spent))
    clips = balance.available // services.videos.hold
    card.set_footer(text=f"Enough for {clips:,} more video{'' if clips == 1 else 's'} right now.")
    await interaction.edit_original_response(embed=card)
