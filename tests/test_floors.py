"""The table of floors (docs/ARCHITECTURE.md): who may import whom."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {
    "core": set(),
    "cogs": {"core"},
    "web": {"core"},
    "providers": {"core"},
    "storage": {"core"},
    "media": {"core"},
}
OURS = {*FLOORS, "sandbox", "benchmarks", "tests", "bot"}
OUTSIDE = {
    "core": {"pydantic", "pydantic_settings"},
    "cogs": {"aiohttp", "discord", "yarl"},
    "web": {"aiohttp"},
    "providers": {"aiohttp"},
    "storage": {"alembic", "sqlalchemy"},
    "media": {"PIL", "aiohttp", "imageio_ffmpeg", "yarl"},
}


def imported_by(file: Path) -> set[str]:
    """Return the top-level names that a file imports, relative imports included."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide the floor"
            names.add((node.module or "").split(".")[0])
    return names


def imports_of(floor: str) -> set[str]:
    files = list((ROOT / floor).rglob("*.py"))
    assert files, f"the floor {floor} is empty"
    return set().union(*(imported_by(file) for file in files)) - {floor}


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_imports_only_floors_below_it(floor: str) -> None:
    assert imports_of(floor) & OURS <= FLOORS[floor]


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_uses_only_the_libraries_of_its_trade(floor: str) -> None:
    others = imports_of(floor) - OURS - set(sys.stdlib_module_names)
    assert others <= OUTSIDE[floor]


def test_nothing_in_production_knows_the_sandbox() -> None:
    assert not imported_by(ROOT / "bot.py") & {"sandbox", "tests", "benchmarks"}


def test_only_one_file_knows_simcord() -> None:
    knowing = [
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "sandbox").rglob("*.py")
        if "simcord" in imported_by(file)
    ]
    assert knowing == ["sandbox/discord/world.py"]


def test_the_command_line_runs_without_anything_installed() -> None:
    for name in ("__init__.py", "__main__.py", *client_files()):
        tree = ast.parse((ROOT / "sandbox" / name).read_text("utf-8"))
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in top:
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            first = (module or "").split(".")[0]
            assert first in sys.stdlib_module_names or first == "sandbox", f"{name}: {module}"


def client_files() -> list[str]:
    return [file.name for file in (ROOT / "sandbox").glob("client*.py")]


def test_few_libraries_are_needed_at_run_time() -> None:
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) <= 15
    assert all("==" in pin for pin in pins)


def test_the_image_holds_every_floor_of_production_and_no_other() -> None:
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    copied = {
        line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line
    }
    assert copied >= {"requirements.txt", "bot.py", *FLOORS}
    assert not copied & {"sandbox", "tests", "benchmarks", "."}
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert {f"!{name}" for name in ("requirements.txt", "bot.py", *FLOORS)} <= set(ignored)
