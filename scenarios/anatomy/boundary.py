"""What a kernel boundary costs in each way to launch kernels: its parts, and what each part alone would save.

A boundary lies before every kernel, and inside a persistent one wherever an operator waits for another one's results.
The parts are those of the critical path; what removing one saves comes from running the pass again without it, because
what waits behind it may have been waiting for something else too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from chips.clock.time import PICOSECONDS_PER_SECOND
from chips.spec import Dataflow, Gpu
from results.words import BOUNDARY_COLUMNS, BOUNDARY_PARTS
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.inputs import Option, showing_inputs
from scenarios.memory import assign_fitting
from scenarios.passes import passes_of
from scenarios.point import Point, make_point
from scenarios.running import run
from scenarios.strategies.gpu.kernel_prices import gpu_group
from scenarios.strategies.gpu.per_operator import kernels_of_step
from scenarios.strategies.gpu.persistent import waits_of_step
from scenarios.strategies.label import BOUNDARY
from scenarios.strategies.registry import strategy_on
from scenarios.workload.model import Model

if TYPE_CHECKING:
    import pandas as pd

LOOPED = "kernel_loop"
MOST_POINTS = 256
"""Of a comparison whose boundaries are priced beside it: each point runs once more, alone."""
# What a part of a boundary is on a dataflow chip, by the names of its timing. Its pipelines fill and drain between the
# stages of one kernel too; that is no part of a boundary.
TIMING = {"gap": ("program_load", "argument_load", "execute", "software_dispatch"), "ramp": ("memory_latency",)}


@dataclass(frozen=True)
class Mode:
    """A way to launch kernels: its name, and the inputs of a point that ask for it.

    ``framework``: what runs so unless told otherwise; "": the default of points.
    """

    name: str
    strategy: str
    launch: str
    synchronization: str | None = None
    framework: str = ""


MODES = {
    "gpu": (
        Mode("eager", "per_operator", "eager", framework="pytorch"),
        Mode("compiled", "per_operator", "compiled", framework="pytorch"),
        Mode("graph", "per_operator", "graph"),
        Mode("pdl", "per_operator", "pdl"),
        Mode("persistent, barrier", "kernel_loop", "graph", "barrier"),
        Mode("persistent, tile", "kernel_loop", "graph", "tile"),
        Mode("persistent, compiled", "kernel_loop", "graph", "compiled"),
        Mode("persistent, hand", "kernel_loop", "graph", "hand"),
    ),
    "dataflow": (
        Mode("software", "per_operator", "software"),
        Mode("hardware", "per_operator", "hardware"),
        Mode("batched", "per_operator", "batched"),
        Mode("fused decoder", "fused_decoder", "hardware"),
        Mode("kernel loop", "kernel_loop", "hardware"),
    ),
}


@showing_inputs
def boundaries(model: str | Model, chip: str, count: int = 1, **options: Option) -> list[dict[str, object]]:
    """A record for each way to launch kernels on ``chip``, in the order in which they get rid of a boundary's parts.

    ``seconds`` of the pass and of the same ``without`` any boundary; ``boundaries`` in it; ``gap_us``, ``ramp_us``,
    ``drain_us``, ``dependency_us`` and ``host_us``: microseconds a boundary; ``gap_saves_s`` and so on: seconds of the
    pass that would be saved if that part alone were free. A way that the chip does not have has a ``reason`` instead.
    ``options``: inputs of ``scenarios.inputs``. Raises ScenarioError or CatalogError in one sentence for a wrong
    request, DoesNotFit where the chips do not hold the model.
    """
    first = make_point(model, chip, count, **options)
    if first.chip.kind not in MODES:
        raise ScenarioError(f"{first.chip.name} runs no decoders; boundaries are known of GPUs and dataflow chips.")
    if first.phase not in ("decode", "prefill"):
        raise ScenarioError(f"--phase {first.phase} is several passes; boundaries are counted in decode and prefill.")
    assign_fitting(first)
    return [_record(mode, _point(mode, model, chip, count, options)) for mode in MODES[first.chip.kind]]


def _point(mode: Mode, model: str | Model, chip: str, count: int, options: Mapping[str, Option]) -> Point:
    asked = {
        "strategy": mode.strategy,
        "launch": mode.launch,
        "synchronization": mode.synchronization,
        "framework": options.get("framework") or mode.framework or None,
    }
    return make_point(model, chip, count, **{**options, **asked})


def _record(mode: Mode, point: Point) -> dict[str, object]:
    record: dict[str, object] = {
        "mode": mode.name,
        "strategy": point.strategy,
        "launch": point.launch,
        "framework": point.framework.name if point.chip.has_framework else "",
    }
    try:
        whole, number = run(assign_fitting(point)), boundaries_of(point)
        saved = {part: whole.seconds - _without(point, (part,)) for part in BOUNDARY_PARTS}
        bare = _without(point, BOUNDARY_PARTS)
    except DoesNotFit as refusal:
        return record | {"reason": str(refusal)}
    spent = {part: float(whole.spent.get(label, 0)) / PICOSECONDS_PER_SECOND for part, label in BOUNDARY.items()}
    if isinstance(point.chip, Dataflow):
        spent["ramp"] = saved["ramp"]
    return (
        record
        | {"seconds": whole.seconds, "without": bare, "boundaries": number}
        | {f"{part}_us": 1e6 * seconds / number for part, seconds in spent.items()}
        | {f"{part}_saves_s": seconds for part, seconds in saved.items()}
    )


def with_boundaries(results: pd.DataFrame, points: Sequence[Point]) -> pd.DataFrame:
    """The frame of ``points`` with ``boundary_s``, what the boundaries of a row cost, and ``launches``, its kernels.

    They cost what the row takes longer than the same work without any: in one looped kernel, or as it is, with
    boundaries that are free, and never below its bound. NaN for what does not fit, is several passes, or runs on
    several groups of chips; in all rows beyond ``MOST_POINTS``.
    """
    costs, launches = np.full(len(points), np.nan), np.full(len(points), np.nan)
    for row, point in enumerate(points if len(points) <= MOST_POINTS else ()):
        one_pass = results["fits"].iloc[row] and point.phase in ("decode", "prefill")
        if one_pass and assign_fitting(point).one_group:
            bare = max(_bare(point), results["bound_s"].iloc[row])
            costs[row] = max(0.0, results["seconds"].iloc[row] - bare)
            launches[row] = launches_of(point)
    return results.assign(**dict(zip(BOUNDARY_COLUMNS, (costs, launches), strict=True)))


def _bare(point: Point) -> float:
    """Seconds of the same work without any boundary."""
    own = _without(point, BOUNDARY_PARTS)
    try:
        return min(own, _looped_without(replace(point, strategy=LOOPED)))
    except DoesNotFit:
        return own


@lru_cache(MOST_POINTS)
def _looped_without(point: Point) -> float:
    """Shared by the strategies that are held against it."""
    return _without(point, BOUNDARY_PARTS)


def launches_of(point: Point) -> int:
    """How many kernels a pass of a point launches."""
    if not isinstance(point.chip, Gpu) or point.strategy == "per_operator":
        return boundaries_of(point)
    step, _ = passes_of(assign_fitting(point))[0]
    begins = sum(segment.times for segment in step.segments[1:])  # what comes first is part of the first kernel
    return 1 if strategy_on(point.chip, point.strategy).loops else 1 + begins


def boundaries_of(point: Point) -> int:
    """How many boundaries a pass of a point has: its kernels, or where operators of one kernel wait for each other."""
    assignment = assign_fitting(point)
    step, _ = passes_of(assignment)[0]
    if isinstance(point.chip, Gpu):
        group = gpu_group(point.chip, assignment.cluster(), point.framework)
        if point.strategy == "per_operator":
            return kernels_of_step(group, step, point.launch)
        return waits_of_step(group, step)
    if point.strategy == "per_operator":
        return sum(segment.times * len(segment.operators) for segment in step.segments)
    layers = sum(decoder.layers for decoder in step.decoders)
    others = sum(bool(segment.operators) for segment in step.segments) - len(step.decoders)
    return others + (layers if point.strategy == "fused_decoder" else len(step.decoders))


def _without(point: Point, parts: Sequence[str]) -> float:
    """Seconds of the point where these parts of a boundary are free."""
    if isinstance(point.chip, Dataflow):
        free = {name: 0.0 for part in parts for name in TIMING.get(part, ())}
        timing = point.chip.timing.model_copy(update=free)
        point = replace(point, chip=point.chip.model_copy(update={"timing": timing}))
    return run(assign_fitting(point), free=frozenset(BOUNDARY[part] for part in parts)).seconds
