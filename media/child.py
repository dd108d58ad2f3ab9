"""Runs one command on untrusted bytes in a child process that cannot outgrow its limits."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

if sys.platform == "linux":
    import resource

# What a program needs to find itself; above all no token and no key.
INHERITED = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "SYSTEMROOT", "TMPDIR", "TEMP")
NICENESS = 10
OUTPUT_BYTES_MAX = 65_536


class ChildTimeout(Exception):
    """The child used up its wall-clock or CPU time."""


class ChildKilled(Exception):
    """The child was ended by a signal: it crashed, or ran into a limit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use. Windows and macOS know only the wall-clock time.

    Attributes:
        wall_s: seconds by the clock.
        cpu_s: seconds of CPU.
        memory_bytes: address space; about three times what it really uses.
        file_bytes: the largest file that it may write.
    """

    wall_s: float
    cpu_s: int
    memory_bytes: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child ended by itself; of each output the first 64 KiB."""

    returncode: int
    stdout: bytes
    stderr: bytes


async def run(argv: Sequence[str], limits: Limits, *, cwd: Path) -> Finished:
    """Run a command to its end; neither it nor its own children ever outlive this call.

    The limits are set from outside, a moment after the start (a `preexec_fn` is unsafe beside
    threads). That moment is harmless: CPU time counts from the start, memory and file size are
    checked at every further allocation and write, and an interpreter or ffmpeg is still loading
    itself then.

    Raises:
        ChildTimeout: it took too long.
        ChildKilled: a signal ended it.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        cwd=cwd,
        env={name: os.environ[name] for name in INHERITED if name in os.environ},
        start_new_session=True,
    )
    try:
        _restrict(process.pid, limits)
        async with asyncio.timeout(limits.wall_s):
            finished = await _finish(process)
    except TimeoutError:
        raise ChildTimeout(f"after {limits.wall_s} s") from None
    finally:
        _kill_group(process)
        await process.wait()
    _check_signal(finished.returncode)
    return finished


async def _finish(process: Process) -> Finished:
    stdout, stderr = await asyncio.gather(_head(process.stdout), _head(process.stderr))
    return Finished(await process.wait(), stdout, stderr)


async def _head(stream: asyncio.StreamReader | None) -> bytes:
    """Keep the head of an output, and read the rest away so that the child is never blocked."""
    head = bytearray()
    while stream is not None and (chunk := await stream.read(OUTPUT_BYTES_MAX)):
        head += chunk[: OUTPUT_BYTES_MAX - len(head)]
    return bytes(head)


def _restrict(pid: int, limits: Limits) -> None:
    with suppress(ProcessLookupError):  # It has ended already.
        if sys.platform != "win32":
            _be_nice(pid)
        if sys.platform == "linux":
            # One second between the limits tells "too slow" (SIGXCPU) from other kills.
            _limit(pid, resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 1)
            _limit(pid, resource.RLIMIT_AS, limits.memory_bytes, limits.memory_bytes)
            _limit(pid, resource.RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes)
            _limit(pid, resource.RLIMIT_CORE, 0, 0)


if sys.platform != "win32":

    def _be_nice(pid: int) -> None:
        """Let others go first; a system that forbids even that makes no picture unreadable."""
        with suppress(PermissionError):
            # Below our own niceness, only a privileged process may go.
            niceness = max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))
            os.setpriority(os.PRIO_PROCESS, pid, niceness)


if sys.platform == "linux":

    def _limit(pid: int, kind: int, soft: int, hard: int) -> None:
        """Lower a limit; one that is lower already stays (raising it would be refused)."""
        _, present = resource.prlimit(pid, kind)
        if present != resource.RLIM_INFINITY:
            soft, hard = min(soft, present), min(hard, present)
        resource.prlimit(pid, kind, (soft, hard))


def _kill_group(process: Process) -> None:
    # A group without a living member: ESRCH on Linux, EPERM on macOS.
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _check_signal(returncode: int) -> None:
    if sys.platform != "win32" and returncode == -signal.SIGXCPU:
        raise ChildTimeout("used up its CPU time")
    if returncode < 0:
        raise ChildKilled(f"by signal {-returncode}")
