"""The real bot in SimCord's Discord: real use cases, a real database, a real frame maker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import discord
import pytest
from discord.gateway import DiscordWebSocket
from simcord.backend.models import Overwrite
from simcord.enums import OverwriteType
from simcord.http import router
from simcord.http.router import RequestContext, route
from sqlalchemy import select

from cogs._bot import DailiesBot, Services
from cogs._delivery import DiscordMessenger
from core.budgets import Budgets
from core.errors import FetchFailed
from core.jobs import Job, State
from core.progress import Progress
from core.videos import DISCORD_CDN, IMAGE_BYTES_MAX, IMAGE_TIMEOUT_S, Videos
from media.frame import FrameMaker
from providers.catalog import LUMA_RAY_3_2
from storage.tables import jobs as jobs_table

if TYPE_CHECKING:
    from pathlib import Path

    from simcord import ChannelHandle, Env, GuildHandle, MemberActor
    from simcord.backend import Backend
    from sqlalchemy import Connection

    from storage.database import Database
    from storage.jobs import JobStore

OPENING_CREDITS = 300

AllJobs = Callable[[], Awaitable[list[Job]]]
Lead = Callable[..., Awaitable[Job]]
Order = Callable[..., Awaitable[Job]]
Restart = Callable[[], Awaitable[None]]
SetPermissions = Callable[..., None]


@route("GET", "/gateway")
def gateway(_context: RequestContext) -> dict[str, str]:
    """Teach SimCord the one route it lacks, so that the bot under test is the whole bot."""
    return {"url": "wss://gateway.simcord.invalid"}


class DiscordCdn:
    """The Fetcher port over discord.py's own download, the only one that SimCord answers."""

    def __init__(self) -> None:
        self.client: discord.Client | None = None
        self.is_down = False

    async def fetch(
        self,
        url: str,
        to: Path,
        *,
        max_bytes: int,
        timeout_s: float,
        hosts: frozenset[str] | None = None,
    ) -> None:
        assert (max_bytes, timeout_s, hosts) == (IMAGE_BYTES_MAX, IMAGE_TIMEOUT_S, DISCORD_CDN)
        if self.is_down or self.client is None:
            raise FetchFailed("connection refused")
        to.write_bytes(await self.client.http.get_from_cdn(url))


def simcords_clock() -> float:
    """Discord's time and ours must be one: SimCord's stands still in January 2026."""
    return discord.utils.utcnow().timestamp()


@pytest.fixture
def cdn() -> DiscordCdn:
    return DiscordCdn()


@pytest.fixture
def services(store: JobStore, tmp_path: Path, cdn: DiscordCdn) -> Services:
    videos = Videos(
        store=store,
        model=LUMA_RAY_3_2,
        fetcher=cdn,
        frames=FrameMaker(tmp_path / "frames"),
        clock=simcords_clock,
        nudge=lambda: None,
        show=lambda _job: None,
        temporary=tmp_path,
        markup=Decimal(1),
        opening_credits=OPENING_CREDITS,
    )
    budgets = Budgets(store, simcords_clock, OPENING_CREDITS)
    return Services(videos, budgets)


@pytest.fixture
def simcord_bot(services: Services, cdn: DiscordCdn, monkeypatch: pytest.MonkeyPatch) -> DailiesBot:
    # The bot points this class attribute at SimCord; the tests after ours want it back.
    monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", DiscordWebSocket.DEFAULT_GATEWAY)
    return start(services, cdn)


def start(services: Services, cdn: DiscordCdn) -> DailiesBot:
    """Start a process of the bot."""
    cdn.client = bot = DailiesBot(services)
    messenger = DiscordMessenger(bot, LUMA_RAY_3_2.usual_wait_s)
    services.videos.show = Progress(messenger).show
    bot.shard_count = 1  # discord.py would ask the real gateway
    return bot


@pytest.fixture
def restart(simcord_env: Env, services: Services, cdn: DiscordCdn) -> Restart:
    """Return what puts a new process in the bot's place, over the same database."""

    async def replace() -> None:
        await simcord_env.restart_bot(start(services, cdn))

    return replace


@pytest.fixture
def repeat_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose Discord's "yes" to every first answer, whereupon discord.py says it again."""
    whole = router.dispatch

    def lossy(backend: Backend, method: str, path: str, **request: Any) -> Any:
        reply = whole(backend, method, path, **request)
        return whole(backend, method, path, **request) if path.endswith("/callback") else reply

    monkeypatch.setattr(router, "dispatch", lossy)


@pytest.fixture
def guild(simcord_env: Env) -> GuildHandle:
    return simcord_env.create_guild("Film club")


@pytest.fixture
def channel(guild: GuildHandle) -> ChannelHandle:
    return guild.create_text_channel("dailies")


@pytest.fixture
def alice(simcord_env: Env, guild: GuildHandle) -> MemberActor:
    return guild.add_member(simcord_env.create_user("alice"))


@pytest.fixture
def bob(simcord_env: Env, guild: GuildHandle) -> MemberActor:
    return guild.add_member(simcord_env.create_user("bob"))


@pytest.fixture
def moderator(simcord_env: Env, guild: GuildHandle) -> MemberActor:
    role = guild.create_role("mods", permissions=discord.Permissions(manage_messages=True))
    return guild.add_member(simcord_env.create_user("mod"), roles=[role])


@pytest.fixture
def messenger(simcord_env: Env) -> DiscordMessenger:
    return DiscordMessenger(simcord_env.bot, LUMA_RAY_3_2.usual_wait_s)


@pytest.fixture
def set_permissions(simcord_env: Env, guild: GuildHandle, channel: ChannelHandle) -> SetPermissions:
    """Return what sets everyone's permissions in the channel, and so the bot's."""

    def change(**permissions: bool) -> None:
        allow, deny = discord.PermissionOverwrite(**permissions).pair()
        everyone = Overwrite(guild.default_role.id, OverwriteType.ROLE, allow.value, deny.value)
        simcord_env.backend.set_overwrite(channel.id, everyone)

    return change


@pytest.fixture
def all_jobs(database: Database, store: JobStore) -> AllJobs:
    """Return what reads every job there is."""

    def ids(connection: Connection) -> list[str]:
        return list(connection.scalars(select(jobs_table.c.id)))

    async def read() -> list[Job]:
        found = [await store.get(job_id) for job_id in await database.transaction(ids)]
        return [job for job in found if job is not None]

    return read


@pytest.fixture
def order(alice: MemberActor, channel: ChannelHandle, all_jobs: AllJobs) -> Order:
    """Return what lets alice use /video and hands out her newest job."""

    async def use(prompt: str = "a red fox", **options: Any) -> Job:
        known = {job.id for job in await all_jobs()}
        await alice.slash(channel, "video", prompt=prompt, **options)
        [job] = [job for job in await all_jobs() if job.id not in known]
        return job

    return use


@pytest.fixture
def lead(store: JobStore) -> Lead:
    """Return what takes a job over, as a worker does, and leads it along arrows."""

    async def along(job: Job, *states: State) -> Job:
        [job] = await store.claim("worker", 1, job.due_at)
        for state in states:
            job = await store.move(job, state, {})
        return job

    return along
