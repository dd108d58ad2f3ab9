"""The bot: discord.py's client with our cogs, pointed at the Discord that the settings name."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import discord
import yarl
from discord import app_commands
from discord.ext import commands
from discord.gateway import DiscordWebSocket
from discord.http import Route

from cogs._errors import Tree
from cogs._views import CancelButton

if TYPE_CHECKING:
    from core.budgets import Budgets
    from core.videos import Videos

log = logging.getLogger(__name__)

# We never speak; without this, discord.py warns of missing voice libraries at every start.
discord.VoiceClient.warn_nacl = False
discord.VoiceClient.warn_dave = False


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases that cogs call."""

    videos: Videos
    budgets: Budgets


class DailiesBot(commands.AutoShardedBot):
    """One process of the bot.

    Attributes:
        services: what the cogs call.
    """

    def __init__(self, services: Services) -> None:
        super().__init__(
            command_prefix=commands.when_mentioned,
            help_command=None,
            tree_cls=Tree,
            intents=discord.Intents(guilds=True),
            allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=True),
            allowed_installs=app_commands.AppInstallationType(guild=True, user=False),
            allowed_mentions=discord.AllowedMentions.none(),
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_messages=None,
            guild_ready_timeout=0.2,
            max_ratelimit_timeout=60.0,
        )
        self.services = services

    @property
    def is_connected(self) -> bool:
        """Whether every shard of this process hears Discord just now."""
        return self.is_ready() and not any(shard.is_closed() for shard in self.shards.values())

    async def setup_hook(self) -> None:
        """Load the cogs and register their commands where they differ; runs once, at login."""
        await self._find_gateway()
        for name in cog_names():
            await self.load_extension(f"cogs.{name}")
        self.add_dynamic_items(CancelButton)
        await self.register_commands()

    async def register_commands(self, *, force: bool = False) -> bool:
        """Register our commands if Discord has others; return whether it was needed."""
        if self.application_id is None:
            raise RuntimeError("commands are registered after the login")
        ours = [command.to_dict(self.tree) for command in self.tree.get_commands()]
        theirs = await self.http.get_global_commands(self.application_id)
        if not force and _same_commands(ours, theirs):
            return False
        await self.tree.sync()
        log.info("registered %d commands", len(ours))
        return True

    async def _find_gateway(self) -> None:
        """Ask our Discord for its gateway: discord.py never does, and knows only the real one."""
        answer = await self.http.request(Route("GET", "/gateway"))
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(answer["url"])


def use_api(url: str) -> None:
    """Point discord.py's REST calls at `url`, version included. Call it before the login."""
    Route.BASE = url


def cog_names() -> list[str]:
    """Return the loadable cogs: the files here without a leading underscore."""
    folder = Path(__file__).parent
    return sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_"))


def _same_commands(ours: list[dict[str, Any]], theirs: Any) -> bool:
    """Compare what we would send with what Discord has."""
    if len(ours) != len(theirs):
        return False
    found = {(command["type"], command["name"]): command for command in theirs}
    return all(_covers(found.get((our["type"], our["name"])), our) for our in ours)


def _covers(theirs: Any, our_command: dict[str, Any]) -> bool:
    """Compare a command's own keys: Discord adds ids and versions of its own."""
    return theirs is not None and all(
        _equal(theirs.get(key), value) for key, value in our_command.items()
    )


def _equal(theirs: Any, ours: Any) -> bool:
    """Compare values, where a key that is missing and an empty value mean the same."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = theirs.keys() | ours.keys()
        return all(_equal(theirs.get(key), ours.get(key)) for key in keys)
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(map(_equal, theirs, ours))
    return bool(theirs == ours or (not theirs and not ours))
