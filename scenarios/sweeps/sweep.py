"""Sweeps: all points of a scenario into a folder of Parquet parts, which may be stopped at any moment and goes on.

The folder holds ``manifest.json`` (the scenario, the version of the model, how its points are cut into parts, and
whether it is complete) and ``part-000000.parquet``, ... : part i has the points from ``i * part_points`` on, in the
scenario's order. A part appears whole or not at all, and its bytes depend on nothing but its points. So a sweep that
was killed goes on with the parts that are missing, and ends with the very files of one that was not.

A folder that holds another scenario of the same version gives what it has: rows are found again by their key. Until
the new sweep is complete, the old parts stay beside it as ``reuse-*.parquet``.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import ClusterError
from results.atomic_file import OutputError, written_beside
from results.schema import COLUMNS
from results.text_file import read_json
from scenarios.errors import ScenarioError
from scenarios.sweeps.parts import key_of, make_points, model_version, more_columns
from scenarios.sweeps.pools import Pool, open_pool
from scenarios.sweeps.scenario_file import Points, Scenario, load_scenario, points_of, scenario_from

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "manifest.json"
EXECUTORS = ("processes", "ray")
# Points of a part, and how many parts a sweep has at least unless they are small: many points share clocks
# (``scenarios.shared_clocks``), few are lost with a worker.
LEAST_PART, MOST_PART, MANY_PARTS = 256, 2048, 16
MOST_LOSSES = 5  # workers may be lost so often in a row, without any part in between


class SweepStopped(ClusterError):
    """A sweep could not finish; the message says why, what is kept and how to go on."""


@dataclass(frozen=True)
class Progress:
    """How far a sweep is, in points: ``total`` of them, ``kept`` from an earlier run, ``priced`` in this one."""

    total: int
    kept: int
    priced: int

    @property
    def done(self) -> int:
        return self.kept + self.priced


def sweep(
    scenario: str | Scenario | Mapping[str, Any],
    path: str | Path,
    *,
    executor: str = "processes",
    workers: int | None = None,
    address: str | None = None,
    fresh: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Price all points of ``scenario`` (a name, a file, or its keys and values) into the folder ``path``.

    ``executor``: "processes" of this machine or "ray", at ``address`` (HOST:PORT; None: RAY_ADDRESS, or this machine
    alone), with ``workers`` at once (None: one for each CPU). The folder is the same whatever they are. Goes on with
    what ``path`` holds, unless ``fresh``. ``loopline.load(path)`` reads it, finished or not.

    Raises ScenarioError or CatalogError for a wrong request; OutputError where ``path`` cannot be used; ClusterError
    where Ray cannot; SweepStopped where workers are lost again and again.
    """
    if executor not in EXECUTORS:
        raise ScenarioError(f"--executor '{executor}' is unknown; expected one of {', '.join(EXECUTORS)}.")
    if address is not None and executor != "ray":
        raise ScenarioError(f"--address belongs to --executor ray; the executor is {executor}.")
    if workers is not None and workers < 1:
        raise ScenarioError(f"--workers is {workers}; it must be at least 1.")
    if isinstance(scenario, str):
        scenario = load_scenario(scenario)
    elif not isinstance(scenario, Scenario):
        scenario = scenario_from(scenario)
    points = points_of(scenario)
    with _folder(Path(path)) as folder:
        manifest = _manifest(scenario, points)
        _prepare(folder, manifest, fresh)
        progress = _fill(folder, points, manifest["part_points"], executor, workers, address, on_progress)
        _write_manifest(folder, manifest | {"complete": True})
        for old in folder.glob("reuse-*.parquet"):
            old.unlink()
    return progress


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """The folder, made where it is missing, and held against another sweep into it."""
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file; a sweep is written into a folder.")
    try:
        path.mkdir(exist_ok=True)
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"{path} cannot be made: {error.strerror}.") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OutputError(
                f"{path}: another sweep is writing into it; wait for it, or choose another folder."
            ) from None
        yield path
    finally:
        os.close(handle)


def _manifest(scenario: Scenario, points: Points) -> dict[str, Any]:
    """What the folder holds once it is complete; nothing in it depends on when or where it is computed."""
    meanings = {name: column.meaning for name, column in COLUMNS.items()} | more_columns()
    return {
        "question": scenario.question,
        "scenario": scenario.model_dump(by_alias=True, exclude_defaults=True),
        "version": model_version(),
        "points": len(points),
        "part_points": min(max(-(-len(points) // MANY_PARTS), LEAST_PART), MOST_PART),
        "columns": meanings,
        "complete": False,
    }


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    with written_beside(folder / MANIFEST) as beside:
        beside.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        _to_disk(beside)


def _prepare(folder: Path, manifest: Mapping[str, Any], fresh: bool) -> None:
    """Leave in the folder what this sweep can use, and the manifest that says what it will be."""
    held = folder / MANIFEST
    strangers = [path.name for path in folder.iterdir() if not _is_ours(path)]
    if strangers:
        raise OutputError(f"{folder} holds other files, such as {strangers[0]}; a sweep has a folder of its own.")
    if fresh:
        for path in folder.iterdir():
            path.unlink()
    for unfinished in folder.glob(".part-*"):
        unfinished.unlink()
    if held.exists():
        try:
            before = read_json(held)
        except ValueError:
            raise OutputError(f"{held} is no manifest of a sweep; --fresh starts over.") from None
        if before["version"] != manifest["version"]:
            raise OutputError(
                f"{folder} was priced by version {before['version']} of the model, this is {manifest['version']}; "
                "--fresh starts over."
            )
        if before | {"complete": False} == manifest:
            return  # resumed; a manifest that says complete says so until it is true again, a moment later
        for part in sorted(folder.glob("part-*.parquet")):
            part.rename(folder / f"reuse-{before['points']}-{before['part_points']}-{part.name[5:]}")
    _write_manifest(folder, manifest)


def _is_ours(path: Path) -> bool:
    return path.name.startswith((MANIFEST, "part-", "reuse-", ".part-", ".manifest"))


def _fill(
    folder: Path,
    points: Points,
    part_points: int,
    executor: str,
    workers: int | None,
    address: str | None,
    on_progress: Callable[[Progress], None],
) -> Progress:
    """Price the parts that are missing, a bounded number of them at once."""
    parts = -(-len(points) // part_points)
    missing = [part for part in range(parts) if not _part_path(folder, part).exists()]
    size = {part: min(part_points, len(points) - part * part_points) for part in range(parts)}
    kept = len(points) - sum(size[part] for part in missing)
    progress = Progress(len(points), kept, 0)
    on_progress(progress)
    if not missing:
        return progress
    known = _Known(folder)
    with open_pool(executor, workers, address) as pool:
        waiting, losses = missing[::-1], 0
        asked: dict[int, _Part] = {}
        while waiting or asked:
            while waiting and len(asked) < pool.room:
                number = waiting.pop()
                asked[number] = _Part(points.part(number * part_points, part_points), known)
                asked[number].ask(pool, number)
            for number, answer in _answers(pool, asked):
                part = asked.pop(number)
                if answer is None:
                    waiting.append(number)
                    losses += 1
                    continue
                losses = 0
                _write_part(folder, number, part.whole(answer))
                reused = size[number] - len(answer)
                progress = Progress(len(points), progress.kept + reused, progress.priced + len(answer))
                on_progress(progress)
            if losses > MOST_LOSSES * pool.room:
                raise SweepStopped(
                    f"workers were lost {losses} times in a row, perhaps for want of memory; {progress.done} of "
                    f"{progress.total} points are kept in {folder}, and the same command goes on from there."
                )
    return progress


class _Known:
    """Rows of an earlier sweep by their key."""

    def __init__(self, folder: Path) -> None:
        import pandas as pd

        self.rows: pd.DataFrame | None = None
        old = sorted(folder.glob("reuse-*.parquet"))
        if old:
            rows = pd.concat([pd.read_parquet(path) for path in old], ignore_index=True)
            self.rows = rows.drop_duplicates("key").set_index("key", drop=False)


class _Part:
    """The requests of one part; those whose rows are known need not be priced."""

    def __init__(self, requests: list[dict[str, Any]], known: _Known) -> None:
        self._rows = known.rows
        self._keys: list[str] = []
        self._unknown = requests
        if known.rows is not None:
            made = make_points(requests)
            self._keys = [
                key_of(request, point, model_version()) for request, point in zip(requests, made, strict=True)
            ]
            self._unknown = [
                request for request, key in zip(requests, self._keys, strict=True) if key not in known.rows.index
            ]

    def ask(self, pool: Pool, number: int) -> None:
        if self._unknown:
            pool.ask(number, self._unknown, model_version())

    @property
    def all_known(self) -> bool:
        return not self._unknown

    def whole(self, priced: pd.DataFrame) -> pd.DataFrame:
        """All rows of the part in order."""
        import pandas as pd

        if self._rows is None:
            return priced
        rows = pd.concat([self._rows, priced.set_index("key", drop=False)]) if len(priced) else self._rows
        return rows.loc[self._keys].reset_index(drop=True)


def _answers(pool: Pool, asked: Mapping[int, _Part]) -> list[tuple[int, pd.DataFrame | None]]:
    """Parts that need no pricing at once; else what the pool has."""
    import pandas as pd

    free = [number for number, part in asked.items() if part.all_known]
    return [(number, pd.DataFrame()) for number in free] if free else pool.answers()


def _part_path(folder: Path, part: int) -> Path:
    return folder / f"part-{part:06d}.parquet"


def _write_part(folder: Path, number: int, rows: pd.DataFrame) -> None:
    with written_beside(_part_path(folder, number)) as beside:
        rows.to_parquet(beside, index=False)
        _to_disk(beside)


def _to_disk(path: Path) -> None:
    """Wait until a file's bytes are on the disk: its name must not survive a power cut that its bytes do not."""
    with path.open("rb") as written:
        os.fsync(written.fileno())
