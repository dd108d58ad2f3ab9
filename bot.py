"""Dailies' entry point: settings → storage → providers → worker → bot → run."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import discord
from alembic.util.exc import CommandError
from sqlalchemy.exc import SQLAlchemyError

from cogs._bot import DailiesBot, Services, use_api
from cogs._delivery import DiscordMessenger
from core import logs
from core.budgets import Budgets
from core.clips import Clips
from core.housekeeping import clear_leftovers, sweep_for_ever
from core.progress import Progress
from core.settings import Settings, SettingsError
from core.steps import Steps, Timings
from core.videos import Videos
from core.worker import Alarm, Worker
from media.clip import ClipChecker
from media.fetch import GuardedFetcher
from media.frame import FrameMaker
from providers.catalog import LUMA_RAY_3_2
from providers.segmind import Segmind
from storage.database import Database
from storage.jobs import JobStore
from storage.lock import AlreadyLocked, holding
from storage.migrate import migrate
from web.server import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from core.jobs import Job

log = logging.getLogger("dailies")

DAY_S = 86_400.0
EXIT_CONFIGURATION = 2


class StartError(Exception):
    """The bot cannot start; the text is one sentence for whoever runs it."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where files lie: clips on their way, start frames, images that are not checked yet."""

    clips: Path
    frames: Path
    temporary: Path


@dataclass(slots=True)
class App:
    """Everything that runs, put together."""

    bot: DailiesBot
    worker: Worker
    alarm: Alarm
    folders: Folders
    keep_files_s: float


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """Put everything together; what has to be closed is closed by `stack`."""
    folders = open_folders(settings)
    store = await open_store(settings, stack)
    segmind = await stack.enter_async_context(open_segmind(settings))
    fetcher = await stack.enter_async_context(
        GuardedFetcher(loopback_origins=settings.loopback_origins)
    )
    alarm, clock = Alarm(), time.time

    def show(job: Job) -> None:
        progress.show(job)

    videos = Videos(
        store=store,
        model=LUMA_RAY_3_2,
        fetcher=fetcher,
        frames=FrameMaker(folders.frames),
        clock=clock,
        nudge=alarm.nudge,
        show=show,
        temporary=folders.temporary,
        markup=settings.price_markup,
        opening_credits=settings.default_guild_credits,
    )
    budgets = Budgets(store, clock, settings.default_guild_credits)
    bot = DailiesBot(Services(videos, budgets))
    messenger = DiscordMessenger(bot, LUMA_RAY_3_2.usual_wait_s)
    progress = Progress(messenger)
    clips = Clips(
        folder=folders.clips,
        fetcher=fetcher,
        checker=ClipChecker(),
        clock=clock,
        pause=alarm.pause,
        poll_s=settings.poll_interval_s,
    )
    steps = Steps(
        store=store,
        providers={segmind.name: segmind},
        messenger=messenger,
        clips=clips,
        frames=folders.frames,
        clock=clock,
        pause=alarm.pause,
        markup=settings.price_markup,
        timings=Timings(poll_s=settings.poll_interval_s, doubt_s=settings.submit_doubt_s),
    )
    worker = Worker(store, steps, progress, alarm, clock, jobs_max=settings.jobs_max)
    return App(bot, worker, alarm, folders, keep_files_s=settings.keep_files_days * DAY_S)


def open_folders(settings: Settings) -> Folders:
    """Make the data folder and what is in it.

    Raises:
        StartError: it cannot be made or written.
    """
    data = settings.data_dir
    folders = Folders(data / "clips", data / "frames", data / "temporary")
    try:
        for folder in (folders.clips, folders.frames, folders.temporary):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"DATA_DIR cannot be used: {error.strerror}.") from error
    return folders


def claim_folders(settings: Settings, stack: AsyncExitStack) -> None:
    """Make sure that this process alone works on the data folder and the database.

    Raises:
        StartError: another bot is running on it.
    """
    folders = open_folders(settings)
    try:
        for lock in (settings.data_dir / "lock", settings.database_lock):
            stack.enter_context(holding(lock))
        clear_leftovers(folders.temporary, [folders.clips, folders.frames])
    except AlreadyLocked:
        raise StartError(
            "Another bot is already running on this DATA_DIR or DATABASE_URL; stop it, or set"
            " another one."
        ) from None
    except OSError as error:
        raise StartError(f"DATA_DIR cannot be used: {error.strerror}.") from error


async def open_store(settings: Settings, stack: AsyncExitStack) -> JobStore:
    """Open the database, at its newest tables.

    Raises:
        StartError: it cannot be opened or written.
    """
    database = Database(settings.database)
    stack.push_async_callback(database.close)
    try:
        await migrate(database)
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None) or type(error).__name__
        raise StartError(f"The database cannot be used: {reason}.") from error
    except CommandError as error:
        raise StartError(f"The database is of a newer Dailies than this one ({error}).") from error
    return JobStore(database)


def open_segmind(settings: Settings) -> Segmind:
    """Return the one provider, not yet connected."""
    return Segmind(
        settings.segmind_api_key.get_secret_value(),
        base_url=settings.segmind_base_url,
        upload_url=settings.segmind_upload_url,
        history_url=settings.segmind_history_url,
        submit_limit_s=settings.submit_timeout_s,
    )


async def run(settings: Settings) -> None:
    """Run everything until a signal comes or a part of it dies."""
    async with AsyncExitStack() as stack:
        claim_folders(settings, stack)
        app = await build(settings, stack)
        await stack.enter_async_context(app.bot)
        await log_in(app.bot, settings)
        checks = {
            "gateway": lambda: app.bot.is_connected,
            "worker": lambda: app.worker.is_alive,
        }
        await serve_health(settings, checks, stack)
        stop_on_signals(app.alarm.stop)
        await supervise(app)


async def serve_health(
    settings: Settings, checks: dict[str, Callable[[], bool]], stack: AsyncExitStack
) -> None:
    """Serve the health page where HTTP_BIND says.

    Raises:
        StartError: that address cannot be used.
    """
    try:
        await stack.enter_async_context(serving(settings.http_bind, checks))
    except OSError as error:
        number = error.errno or 0  # negative where a host name is unknown
        reason = os.strerror(number).lower() if number > 0 else str(error.strerror or error)
        raise StartError(f"HTTP_BIND cannot be used: {reason}.") from error


async def log_in(bot: DailiesBot, settings: Settings) -> None:
    """Log in and register the commands.

    Raises:
        StartError: Discord refused the token or could not be reached.
    """
    use_api(settings.discord_api_url)
    try:
        await bot.login(settings.discord_token.get_secret_value())
    except discord.LoginFailure:
        raise StartError("Discord does not accept DISCORD_TOKEN; copy it again.") from None
    except (aiohttp.ClientError, discord.HTTPException, OSError) as error:
        raise StartError(f"Discord cannot be reached ({type(error).__name__}).") from error


async def supervise(app: App) -> None:
    """Run the parts side by side; when one ends, all end, the worker in good order."""
    gateway = asyncio.create_task(app.bot.connect(), name="gateway")
    worker = asyncio.create_task(app.worker.run(), name="worker")
    swept = [app.folders.clips, app.folders.frames]
    background = [
        asyncio.create_task(announce(app.bot), name="announcement"),
        asyncio.create_task(sweep_for_ever(swept, app.keep_files_s), name="sweeper"),
    ]
    try:
        ended, _ = await asyncio.wait({gateway, worker}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        app.alarm.stop()
        await asyncio.wait([worker])
        for task in (gateway, *background):
            task.cancel()
        await asyncio.gather(gateway, *background, return_exceptions=True)
    try:
        for task in ended:
            task.result()
    except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise StartError(f"The connection to Discord ended: {reason}") from error


async def announce(bot: DailiesBot) -> None:
    """Say once that members can use the bot now."""
    await bot.wait_until_ready()
    count = f"{len(bot.guilds)} server{'' if len(bot.guilds) == 1 else 's'}"
    print(f"Ready: {bot.user} in {count}.", flush=True)  # noqa: T201 — whoever started it waits


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` at SIGINT and SIGTERM, on Windows too, where asyncio has no handlers."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))


async def sync(settings: Settings) -> None:
    """Register the commands, whatever Discord has, and exit."""
    async with AsyncExitStack() as stack:
        app = await build(settings, stack)
        await stack.enter_async_context(app.bot)
        await log_in(app.bot, settings)
        await app.bot.register_commands(force=True)


async def migrate_only(settings: Settings) -> None:
    """Bring the database to its newest tables, and exit."""
    async with AsyncExitStack() as stack:
        claim_folders(settings, stack)
        await open_store(settings, stack)


COMMANDS: dict[str, Callable[[Settings], Coroutine[None, None, None]]] = {
    "run": run,
    "sync": sync,
    "migrate": migrate_only,
}
HELP = """run: the bot (the default) · sync: register the commands, also unchanged ones · migrate:
bring the database to its newest tables. Settings come from the environment or a .env file;
.env.example lists them."""


def main() -> int:
    """Run one subcommand and return the process's exit status."""
    parser = argparse.ArgumentParser(
        prog="bot.py", description="Dailies, a Discord bot that makes videos.", epilog=HELP
    )
    parser.add_argument("command", nargs="?", default="run", choices=COMMANDS)
    command = COMMANDS[parser.parse_args().command]
    try:
        settings = Settings.load()
    except SettingsError as error:
        return complain(error, EXIT_CONFIGURATION)
    logs.set_up(settings.log_level, settings.secrets)
    try:
        asyncio.run(command(settings))
    except StartError as error:
        return complain(error, 1)
    except Exception:
        log.exception("Dailies ended by a fault of its own")  # through the formatter that blots
        return 1
    return 0


def complain(error: Exception, status: int) -> int:
    """Print the one sentence that says what is wrong."""
    print(error, file=sys.stderr)  # noqa: T201 — meant for whoever started the bot
    return status


if __name__ == "__main__":
    sys.exit(main())
