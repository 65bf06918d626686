"""Sweeps: all points of a scenario into a folder of Parquet parts, which may be stopped at any moment and goes on.

Part i has the points from ``i * part_points`` on, in the scenario's order. Its bytes depend on nothing but its points,
the sweep, and what this depends on: so a sweep that was killed goes on with the parts that are missing or damaged, and
ends with the very files of one that was not. How they are kept is in ``scenarios.sweeps.folder``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from results.manifest import Manifest
from results.schema import COLUMNS
from scenarios.errors import ScenarioError
from scenarios.inputs import INPUTS
from scenarios.sweeps.folder import Folder, open_folder
from scenarios.sweeps.parts import Basis, model_version, more_columns, named_inputs
from scenarios.sweeps.pools import Pool, open_pool
from scenarios.sweeps.scenario_file import Points, Scenario, load_scenario, points_of, scenario_from

EXECUTORS = ("processes", "ray")
# Points of a part, and how many parts a sweep has at least unless they are small: many points share clocks
# (``scenarios.shared_clocks``), few are lost with a worker.
LEAST_PART, MOST_PART, MANY_PARTS = 256, 2048, 16
MOST_LOSSES = 5  # workers may be lost so often in a row, without any part in between


class SweepStopped(ClusterError):
    """A sweep could not finish; the message says why, what is kept and how to go on."""


@dataclass(frozen=True)
class Progress:
    """How far a sweep is, in points: ``total`` of them, ``kept`` from an earlier run, ``priced`` in this one.

    ``damaged``: names of parts that an earlier run had priced, and that are no longer as it wrote them.
    """

    total: int
    kept: int
    priced: int
    damaged: tuple[str, ...] = ()

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
    what ``path`` holds of the same sweep, or starts over if ``fresh``. ``loopline.load(path)`` reads it, finished or
    not.

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
    manifest = _manifest(scenario, points)
    with open_folder(Path(path), manifest) as folder:
        missing = folder.begin(fresh)
        progress = _fill(folder, manifest, points, missing, lambda: open_pool(executor, workers, address), on_progress)
        folder.complete()
    return progress


def _manifest(scenario: Scenario, points: Points) -> Manifest:
    """What the folder holds once it is complete; nothing in it depends on when or where it is computed."""
    return Manifest(
        question=scenario.question,
        scenario=scenario.model_dump(by_alias=True, exclude_defaults=True),
        version=model_version(),
        inputs=named_inputs({row.key: scenario.values(row.key) for row in INPUTS if row.listed}),
        points=len(points),
        part_points=min(max(-(-len(points) // MANY_PARTS), LEAST_PART), MOST_PART),
        columns={name: column.meaning for name, column in COLUMNS.items()} | more_columns(),
        complete=False,
    )


def _fill(
    folder: Folder,
    manifest: Manifest,
    points: Points,
    missing: list[int],
    opened: Callable[[], AbstractContextManager[Pool]],
    on_progress: Callable[[Progress], None],
) -> Progress:
    """Price the parts that are missing, a bounded number of them at once."""
    kept = len(points) - sum(map(manifest.part_size, missing))
    progress = Progress(len(points), kept, 0, tuple(folder.damaged))
    on_progress(progress)
    if not missing:
        return progress
    basis = Basis(manifest.version, manifest.inputs)
    with opened() as pool:
        waiting, losses = missing[::-1], 0
        asked: set[int] = set()
        while waiting or asked:
            while waiting and len(asked) < pool.room:
                number = waiting.pop()
                pool.ask(number, points.part(number * manifest.part_points, manifest.part_points), basis)
                asked.add(number)
            for number, rows in pool.answers():
                asked.remove(number)
                if rows is None:
                    waiting.append(number)
                    losses += 1
                    continue
                losses = 0
                folder.write(number, rows)
                progress = replace(progress, priced=progress.priced + len(rows))
                on_progress(progress)
            if losses > MOST_LOSSES * pool.room:
                raise SweepStopped(
                    f"workers were lost {losses} times in a row, perhaps for want of memory; {progress.done} of "
                    f"{progress.total} points are kept in {folder.path}, and the same command goes on from there."
                )
    return progress
