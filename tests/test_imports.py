"""The import contract: the five packages import downwards, and so do the rooms of ``scenarios``."""

from __future__ import annotations

import ast
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The root of all errors, the words that all say and the reader of users' files: light, open to every package.
SHARED = {"results.errors", "results.text_file", "results.words"}
BELOW = {
    "chips": set(),
    "collectives": {"chips"},
    "cluster": {"chips", "collectives"},
    "results": set(),
    "scenarios": {"chips", "collectives", "cluster", "results"},
}
OURS = {*BELOW, "loopline"}  # the front door, which no package imports
# The rooms of ``scenarios``: each imports itself and those above it in this list.
ROOMS = (
    *("errors", "quantities", "framework", "workload", "strategies", "inputs"),
    *("point", "assignment", "memory", "energy", "bands", "outcome", "training", "passes"),
    *("stages_in_turn", "running", "shared_clocks", "pricing", "cost"),
    *("anatomy", "serving", "sweeps", "planning", "llama", "evidence", "commands"),
)


# Measured tables, whose names say chip and kernel; datasheets, whose names users type.
FOLDERS_OF_DATA = {"scenarios/evidence/data/measured", "chips/catalog"}


def modules(package: str) -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


EVERY = {name: path for package in BELOW for name, path in modules(package).items()}


def imported(path: Path) -> Iterator[str]:
    """The modules of this project that a file imports, wherever in it, for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in OURS)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in OURS:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in EVERY else node.module


@pytest.mark.parametrize("package", BELOW)
def test_packages_import_downwards(package):
    wrong = {
        f"{name} imports {other}"
        for name, path in modules(package).items()
        for other in imported(path)
        if other not in SHARED and other.partition(".")[0] not in {package} | BELOW[package]
    }
    assert not wrong


def test_what_is_shared_imports_nothing_else():
    assert not {other for name in SHARED for other in imported(EVERY[name])} - SHARED


def test_rooms_of_scenarios_import_downwards():
    places = {name: name.split(".")[1] for name in EVERY if name.startswith("scenarios.")}
    assert set(places.values()) == set(ROOMS)
    wrong = {
        f"{name} imports {other}"
        for name, room in places.items()
        for other in imported(EVERY[name])
        if other in places and ROOMS.index(places[other]) > ROOMS.index(room)
    }
    assert not wrong


def test_folders_are_small_and_files_that_share_a_prefix_are_a_folder():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders: dict[str, set[str]] = {}
    for folder, name in (path.rpartition("/")[::2] for path in listed):
        folders.setdefault(folder, set()).add(name.partition(".")[0].removeprefix("test_"))
    rooms = {folder: names for folder, names in folders.items() if folder not in FOLDERS_OF_DATA}
    assert {folder: len(names) for folder, names in rooms.items() if len(names) > 20} == {}
    beginnings = Counter((folder, name.partition("_")[0]) for folder in rooms for name in rooms[folder] if "_" in name)
    assert [beginning for beginning, count in beginnings.items() if count >= 3] == []
