"""The child runner: what it reports, and that nothing survives it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from media.child import ChildKilled, ChildTimeout, Limits, run

ROOT = Path(__file__).parents[2]
GENEROUS = Limits(wall_s=20, cpu_s=10, memory_bytes=1 << 30, file_bytes=1_000_000)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="limits need Linux")

# Starts a grandchild, tells both ids, and sleeps.
FAMILY = """
import os, subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("ids.new", "w") as file:
    file.write(f"{os.getpid()} {grandchild.pid}")
os.rename("ids.new", "ids")
time.sleep(600)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


async def family_in(folder: Path) -> list[int]:
    while not (folder / "ids").exists():
        await asyncio.sleep(0.01)
    return [int(pid) for pid in (folder / "ids").read_text().split()]


async def all_gone(pids: list[int]) -> bool:
    """Whether they end within a second (who reaps an orphan may take a moment)."""
    for _ in range(100):
        if not any(is_running(pid) for pid in pids):
            return True
        await asyncio.sleep(0.01)
    return False


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


async def test_it_reports_how_the_child_ended(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd()); print('oh', file=sys.stderr); sys.exit(7)"
    finished = await run(python(code), GENEROUS, cwd=tmp_path)
    assert finished.returncode == 7
    assert finished.stdout.decode().strip().endswith(tmp_path.name)
    assert finished.stderr.decode().strip() == "oh"


async def test_the_child_sees_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "canary")
    finished = await run(python("import os; print(dict(os.environ))"), GENEROUS, cwd=tmp_path)
    assert b"PATH" in finished.stdout
    assert b"canary" not in finished.stdout


async def test_a_flood_of_output_is_read_but_not_kept(tmp_path: Path) -> None:
    code = "import sys; sys.stdout.write('a' * 10**7); sys.stderr.write('b' * 10**7)"
    finished = await run(python(code), GENEROUS, cwd=tmp_path)
    assert finished.returncode == 0
    assert finished.stdout == b"a" * 65_536
    assert finished.stderr == b"b" * 65_536


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX's")
async def test_a_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    limits = Limits(wall_s=1, cpu_s=10, memory_bytes=1 << 30, file_bytes=1_000_000)
    started_s = time.monotonic()
    with pytest.raises(ChildTimeout):
        await run(python(FAMILY), limits, cwd=tmp_path)
    assert time.monotonic() - started_s < 3
    assert await all_gone(await family_in(tmp_path))


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX's")
async def test_cancellation_leaves_no_orphan(tmp_path: Path) -> None:
    task = asyncio.create_task(run(python(FAMILY), GENEROUS, cwd=tmp_path))
    family = await family_in(tmp_path)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await all_gone(family)


@linux_only
async def test_cancellation_at_any_moment_of_the_start_leaves_no_orphan(tmp_path: Path) -> None:
    marker = f"import time; time.sleep(600)  # {tmp_path}"
    for delay_ms in range(12):
        task = asyncio.create_task(run(python(marker), GENEROUS, cwd=tmp_path))
        await asyncio.sleep(delay_ms / 1000)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not is_argument_somewhere(str(tmp_path))


def is_argument_somewhere(text: str) -> bool:
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # It has just ended.
            if text.encode() in cmdline.read_bytes():
                return True
    return False


@linux_only
async def test_a_child_that_left_a_process_behind_takes_it_along(tmp_path: Path) -> None:
    code = FAMILY.replace("time.sleep(600)\n", "").replace(
        'time.sleep(600)"]', 'time.sleep(600)"], stdout=-3, stderr=-3'
    )
    finished = await run(python(code), GENEROUS, cwd=tmp_path)
    assert finished.returncode == 0
    assert await all_gone(await family_in(tmp_path))


@linux_only
async def test_memory_is_limited(tmp_path: Path) -> None:
    limits = Limits(wall_s=20, cpu_s=10, memory_bytes=200_000_000, file_bytes=1)
    finished = await run(
        python("import time; time.sleep(0.2); x = bytearray(10**9)"), limits, cwd=tmp_path
    )
    assert finished.returncode == 1
    assert b"MemoryError" in finished.stderr


@linux_only
async def test_cpu_time_is_limited(tmp_path: Path) -> None:
    limits = Limits(wall_s=20, cpu_s=1, memory_bytes=1 << 30, file_bytes=1)
    with pytest.raises(ChildTimeout, match="CPU"):
        await run(python("while True: pass"), limits, cwd=tmp_path)


@linux_only
async def test_the_size_of_a_file_is_limited(tmp_path: Path) -> None:
    limits = Limits(wall_s=20, cpu_s=10, memory_bytes=1 << 30, file_bytes=1000)
    code = "import time; time.sleep(0.2); open('big', 'wb').write(bytes(10**6))"
    finished = await run(python(code), limits, cwd=tmp_path)
    assert b"File too large" in finished.stderr  # Python ignores SIGXFSZ.
    assert (tmp_path / "big").stat().st_size <= 1000


@linux_only
async def test_the_child_lets_others_go_first(tmp_path: Path) -> None:
    code = "import os, time; time.sleep(0.2); print(os.nice(0))"
    finished = await run(python(code), GENEROUS, cwd=tmp_path)
    assert int(finished.stdout) == max(os.nice(0), 10)


@linux_only
def test_a_child_is_never_less_nice_than_we_are(tmp_path: Path) -> None:
    # Without the right to lower it, trying to would be refused; with it, it would succeed.
    code = f"""
import asyncio, os, pathlib, sys
sys.path.insert(0, {str(ROOT)!r})
from media.child import Limits, run
os.nice(15)
argv = [sys.executable, "-c", "import os, time; time.sleep(0.2); print(os.nice(0))"]
limits = Limits(wall_s=20, cpu_s=10, memory_bytes=1 << 30, file_bytes=1)
print(asyncio.run(run(argv, limits, cwd=pathlib.Path.cwd())).stdout.decode())
"""
    ours = subprocess.run(python(code), cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: S603 — our own words
    assert int(ours.stdout) == min(os.nice(0) + 15, 19)


@linux_only
async def test_a_system_without_niceness_still_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    limits = Limits(wall_s=20, cpu_s=10, memory_bytes=200_000_000, file_bytes=1)
    code = "import time; time.sleep(0.2); x = bytearray(10**9)"
    assert (await run(python(code), limits, cwd=tmp_path)).returncode == 1


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
async def test_a_crash_is_told(tmp_path: Path) -> None:
    with pytest.raises(ChildKilled, match="11"):
        await run(python("import os; os.kill(os.getpid(), 11)"), GENEROUS, cwd=tmp_path)


async def test_a_missing_command_is_our_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await run(["no-such-command-anywhere"], GENEROUS, cwd=tmp_path)
