"""Buttons under a job. They carry only the job's id and work after any restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import discord

from cogs._cards import price
from cogs._errors import acknowledge, answering_errors
from core.jobs import CANCELLABLE_AT_A_PRICE, CANCELLABLE_AT_ONCE, Job
from core.videos import Canceller, CancelOutcome

if TYPE_CHECKING:
    import re

    from cogs._bot import DailiesBot

OUTCOMES: dict[CancelOutcome, str] = {
    CancelOutcome.CANCELLED: "Cancelled. Nothing was charged.",
    CancelOutcome.CANCELLING: "Cancelled: nothing will be posted. What the video service charges "
    "for it is kept, the rest comes back as soon as it says how much.",
    CancelOutcome.NEEDS_CONFIRMATION: "The video service is already working on this clip and will "
    "most likely charge for it. If you cancel now, nothing is posted; this server still pays what "
    "the service charges, at most {price}; the rest comes back.",
    CancelOutcome.TOO_LATE: "Too late to cancel: this clip is already being posted, or it ended.",
    CancelOutcome.UNKNOWN: "I do not know this clip any more. Nothing was changed.",
    CancelOutcome.NOT_YOURS: "Only the member who asked for this clip, or a moderator who may "
    "manage messages, can cancel it. Nothing was changed.",
}


def job_buttons(job: Job) -> discord.ui.View | None:
    """Return the buttons of a placeholder, if there is anything left to press."""
    is_open = job.state in CANCELLABLE_AT_ONCE | CANCELLABLE_AT_A_PRICE
    if not is_open or job.cancel_requested_at is not None:
        return None
    return _stateless(CancelButton(job.id))


def _stateless(item: discord.ui.Item[Any]) -> discord.ui.View:
    """Return a view that discord.py does not keep: the dynamic item answers for it."""
    view = discord.ui.View(timeout=None)
    view.add_item(item)
    view.stop()
    return view


class CancelButton(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]],
    template=r"cancel(?P<anyway>-anyway)?:(?P<job>[0-9a-f]{16})",
):
    """*Cancel* under a placeholder, and *Cancel anyway* under the warning that it costs."""

    def __init__(self, job_id: str, *, anyway: bool = False) -> None:
        self.job_id = job_id
        self.anyway = anyway
        super().__init__(
            discord.ui.Button(
                label="Cancel anyway" if anyway else "Cancel",
                style=discord.ButtonStyle.danger if anyway else discord.ButtonStyle.secondary,
                custom_id=f"cancel{'-anyway' if anyway else ''}:{job_id}",
            )
        )

    @classmethod
    async def from_custom_id(
        cls,
        _interaction: discord.Interaction[Any],
        _item: discord.ui.Item[Any],
        match: re.Match[str],
        /,
    ) -> Self:
        """Rebuild the button from its custom id."""
        return cls(match["job"], anyway=match["anyway"] is not None)

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Cancel, or ask first when that will cost something; the answer replaces the question."""
        async with answering_errors(interaction):
            await acknowledge(interaction, ephemeral=True, thinking=not self.anyway)
            outcome = await _cancel(interaction, self.job_id, confirmed=self.anyway)
            must_ask = outcome is CancelOutcome.NEEDS_CONFIRMATION
            hold = interaction.client.services.videos.hold
            await interaction.edit_original_response(
                content=OUTCOMES[outcome].format(price=price(hold)),
                view=_stateless(CancelButton(self.job_id, anyway=True)) if must_ask else None,
            )


async def _cancel(
    interaction: discord.Interaction[DailiesBot], job_id: str, *, confirmed: bool
) -> CancelOutcome:
    """Rights are those of the click, as Discord sends them with it."""
    who = Canceller(
        guild_id=interaction.guild_id or 0,
        member_id=interaction.user.id,
        is_moderator=interaction.permissions.manage_messages,
    )
    return await interaction.client.services.videos.cancel(job_id, who, confirmed=confirmed)
