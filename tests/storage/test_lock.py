from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from storage.lock import AlreadyLocked, holding

ROOT = Path(__file__).parents[2]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with holding(tmp_path / "lock"), pytest.raises(AlreadyLocked), holding(tmp_path / "lock"):
        pytest.fail("two hold it")
    with holding(tmp_path / "lock"):
        pass


def test_a_killed_process_gives_it_back(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from storage.lock import holding\n"
        "with holding(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(  # noqa: S603 — our own interpreter and code
        [sys.executable, "-c", code, str(tmp_path / "lock")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(AlreadyLocked), holding(tmp_path / "lock"):
        pytest.fail("two hold it")
    holder.kill()
    holder.communicate()
    with holding(tmp_path / "lock"):
        pass
