"""Start the emulators, and the real bot as a child process beside them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shlex
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.client_wire import PYTHON
from sandbox.server import Config, Running, listen, serve

if TYPE_CHECKING:
    import argparse
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Awaitable

REPOSITORY = Path(__file__).resolve().parent.parent
BOT = REPOSITORY / "bot.py"
DATA = REPOSITORY / "data"
MARK = ".made-by-the-sandbox"
RESTART_AFTER_S = 1.0
TERMINATE_S = 10.0
LOG_LINES = 20

# What a process needs to run at all. Nothing that could set the bot: a real key, a proxy, a token.
INHERITED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "TEMP", "TMP", "USERPROFILE"),
)


def main(options: argparse.Namespace) -> int:
    """Run the sandbox until a signal ends it. Return the exit status."""
    return asyncio.run(run(options))


async def run(options: argparse.Namespace, bot: Path = BOT) -> int:
    """Start the servers, and `bot` unless only they are wanted; return the exit status."""
    stop = _stop_signal()
    try:
        listener = listen(options.port)
    except OSError as error:
        return _unusable(f"Port {options.port}", error, "--port")
    port = listener.getsockname()[1]
    data = (options.data or DATA / f"sandbox-{port}").absolute()
    # Who brings a bot of their own wants to hear what Discord would refuse.
    config = Config(data / "emulators", port, options.speed, options.command != "serve")
    try:
        folder = _emptied(data / "bot")
        running = await serve(config, listener)
    except OSError as error:
        return _unusable(f"The folder {data}", error, "--data")
    try:
        if options.command == "serve":
            return await _serve_only(running, folder, stop)
        return await Supervisor(running, bot, folder, stop).run()
    finally:
        await running.close()


def _emptied(folder: Path) -> Path:
    """Return an empty folder for the bot: the world that its database knew is gone.

    Raises:
        OSError: it cannot be made, or was not made here and is left alone.
    """
    if folder.exists():
        if not (folder / MARK).is_file():
            raise FileExistsError(errno.EEXIST, "it has a folder bot that is not the sandbox's")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    return folder


def _environment(running: Running, folder: Path) -> dict[str, str]:
    return {**running.environment(), "DATA_DIR": str(folder)}


async def _serve_only(running: Running, folder: Path, stop: asyncio.Event) -> int:
    for name, value in _environment(running, folder).items():
        _say(f"export {name}={shlex.quote(value)}")
    _say(f"Sandbox ready: {running.url}")
    await stop.wait()
    return 0


@dataclass
class Supervisor:
    """Keeps one bot running beside the servers, in its `folder`, until `stop`."""

    running: Running
    bot: Path
    folder: Path
    stop: asyncio.Event

    @property
    def log(self) -> Path:
        """Where the bot's output goes; emptied at each start of the sandbox."""
        return self.folder.with_name("bot.log")

    async def run(self) -> int:
        """Return 0 when stopped, 1 when the bot never came up."""
        self.log.write_bytes(b"")
        async with self._bot() as process:
            if not await self._came_up(process):
                return 0 if self.stop.is_set() else 1
            self._greet()
            await self._ended(process)
        while not self.stop.is_set():
            _complain(f"It starts again in {RESTART_AFTER_S:g} s.")
            await _first_of(self.stop.wait(), asyncio.sleep(RESTART_AFTER_S))
            if not self.stop.is_set():
                async with self._bot() as process:
                    await self._ended(process)
        return 0

    async def _came_up(self, process: Process) -> bool:
        """Wait for the registered commands; False where the bot or the sandbox ended before."""
        registered = asyncio.ensure_future(self.running.commands_registered())
        await _first_of(registered, self._ended(process))
        return registered.done() and not registered.cancelled() and not self.stop.is_set()

    async def _ended(self, process: Process) -> None:
        """Wait for the end of the bot, and say why it came unless it was asked for."""
        await _first_of(process.wait(), self.stop.wait())
        if not self.stop.is_set():
            _complain(f"The bot ended with status {process.returncode}. Its last words:")
            for line in self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]:
                _complain(f"bot: {line}")

    def _greet(self) -> None:
        url = self.running.url
        where = "" if url.endswith(":8090") else f" --url {url}"
        _say(f"Sandbox ready: {url}")
        _say(
            "Open it in a browser and type /video, or, in another terminal: "
            f"{PYTHON} -m sandbox say '/video prompt:a red fox' --out fox.mp4{where}"
        )

    @contextlib.asynccontextmanager
    async def _bot(self) -> AsyncIterator[Process]:
        # A folder and an environment of its own: no `.env` and no inherited setting is ever read.
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(self.bot)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**_inherited(), **_environment(self.running, self.folder)},
                start_new_session=True,  # Ctrl+C is for us; the bot gets SIGTERM
            )
        try:
            yield process
        finally:
            await _end(process)


async def _end(process: Process) -> None:
    """Ask the process to end; after ten seconds, end it."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), TERMINATE_S)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _first_of(*waits: Awaitable[object]) -> None:
    """Return when one has happened; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


def _stop_signal() -> asyncio.Event:
    """Return an event that Ctrl+C, SIGTERM and a closed terminal set, however often they come."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
            continue  # Windows has no SIGHUP, and `nohup` wants it ignored
        # `loop.add_signal_handler` does not exist on Windows.
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    return stop


def _unusable(what: str, error: OSError, option: str) -> int:
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    _complain(f"{what} cannot be used ({reason}); choose another by {option}.")
    return 2


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _complain(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
