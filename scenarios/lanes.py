"""Many points at once: recorded as programs, of which those that wait in the same way run side by side on one clock.

Equal to pricing them one by one, to the picosecond. Points of one token each that differ only in batch and context are
recorded together where the same things limit their kernels, which is what their time is counted as. Of what was
recorded, programs of one structure share a clock, whatever chip, count or model they are of
(``chips.recorded_program``).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chips.recorded_program import Program, Recorder, run_side_by_side
from chips.spec import Dataflow, Gpu
from scenarios.decoder import forward
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.group import cluster_of
from scenarios.machine import gpu_machine, lower_bound
from scenarios.memory import check_memory
from scenarios.model import Shard
from scenarios.operators import Attention, Collective, Step
from scenarios.point import ALIKE, Point
from scenarios.pricing import Outcome, point_steps, price_point, record_of, split_model
from scenarios.strategies import run_strategy, side_by_side

Record = dict[str, object]
Floats = NDArray[np.float64]


class _Pass(NamedTuple):
    """One pass of some points, recorded: their numbers, the program with a lane for each, and what ``Outcome`` has."""

    numbers: Sequence[int]
    program: Program
    bounds: Sequence[float]
    streamed: Sequence[float]


def price_points(points: Sequence[Point]) -> list[Record]:
    """The record of every point, in their order: what ``pricing.price_point`` gives for each.

    A point that is refused has a record that says why.
    """
    records: dict[int, Record] = {}
    passes: list[_Pass] = []
    for numbers in _kin(points):
        alone = numbers
        if len(numbers) > 1:
            try:
                passes += _recorded_together(points, numbers, records)
                alone = []
            except (DoesNotFit, ScenarioError):  # one of them, or all: each is asked in turn
                pass
        for number in alone:
            try:
                if _recordable(points[number]):
                    passes += _recorded(points[number], number)
                else:
                    records[number] = price_point(points[number])
            except (DoesNotFit, ScenarioError) as refusal:
                records[number] = record_of(points[number], DoesNotFit(str(refusal)))
    records |= {number: record_of(points[number], outcome) for number, outcome in _outcomes(passes).items()}
    return [records[number] for number in range(len(points))]


def _kin(points: Sequence[Point]) -> Iterable[list[int]]:
    """The numbers of points that may be recorded together: all that differ only in batch and context."""
    groups: dict[Hashable, list[int]] = {}
    for number, point in enumerate(points):
        together = _recordable(point) and point.phase == "decode" and side_by_side(point.chip, point.batch)
        owners = (id(point.chip), id(point.model), point.framework.name)
        shared = (*owners, point.count, point.strategy, point.launch, point.precision)
        groups.setdefault(shared if together else number, []).append(number)
    return groups.values()


def _recordable(point: Point) -> bool:
    """Whether the point is a few passes of one chip that stands for all; else it has lanes of its own."""
    return point.phase != "request" and point.variation == ALIKE and isinstance(point.chip, Gpu | Dataflow)


def _recorded(point: Point, number: int) -> list[_Pass]:
    """The passes of one point. Raises DoesNotFit; ScenarioError where the model cannot be split so."""
    split = split_model(point)
    return [_pass(point, split, step, [number]) for step, _ in point_steps(point, split)]


def _recorded_together(points: Sequence[Point], numbers: Sequence[int], records: dict[int, Record]) -> list[_Pass]:
    """The passes of points that differ only in batch and context; those that do not fit get their record at once.

    Raises DoesNotFit and ScenarioError for what holds for one of them or for all.
    """
    first = points[numbers[0]]
    split = split_model(replace(first, batch=1, context=1))
    fitting: list[int] = []
    for number in numbers:
        try:
            check_memory(points[number], split)
            fitting.append(number)
        except DoesNotFit as refusal:
            records[number] = record_of(points[number], refusal)
    batches = np.array([points[number].batch for number in fitting], np.float64)
    contexts = np.array([points[number].context for number in fitting], np.float64)
    passes: list[_Pass] = []
    for lanes in _limited_alike(first, _step(first, split, batches, contexts)):
        members = [fitting[lane] for lane in lanes.tolist()]
        passes.append(_pass(first, split, _step(first, split, batches[lanes], contexts[lanes]), members))
    return passes


def _step(point: Point, split: Shard, batches: Floats, contexts: Floats) -> Step:
    return forward(point.model, split, batches, 1, contexts, point.precision)


def _limited_alike(point: Point, step: Step) -> list[NDArray[np.intp]]:
    """The lanes of a step in groups: within each the same things limit every kernel."""
    (attention,) = (operator for operator in step.decoder if isinstance(operator, Attention))
    alike = np.zeros(np.shape(attention.context), np.int64)
    if isinstance(point.chip, Gpu):
        machine = gpu_machine(point.chip, cluster_of(point), point.framework)
        for operator in {operator.name: operator for operator in (*step.before, *step.decoder, *step.after)}.values():
            if not isinstance(operator, Collective):
                kinds, own = np.unique(machine.kernel_time(operator).limiter, return_inverse=True)
                alike = alike * kinds.size + own
    return [np.flatnonzero(alike == one) for one in np.unique(alike)]


def _pass(point: Point, split: Shard, step: Step, numbers: Sequence[int]) -> _Pass:
    """One pass with a lane for each of ``numbers``, recorded. ``point``: any of them."""
    group, clock = cluster_of(point).side_by_side(len(numbers)), Recorder(len(numbers))
    finish = run_strategy(clock, group, point.strategy, step, point.launch, point.framework)
    bounds = np.broadcast_to(lower_bound(point.chip, split.ranks, step), len(numbers)).tolist()
    streamed = np.broadcast_to(step.total(lambda operator: operator.stream_bytes), len(numbers)).tolist()
    return _Pass(numbers, clock.program(finish), bounds, streamed)


def _outcomes(passes: Sequence[_Pass]) -> dict[int, Outcome]:
    """The outcome of each point by its number; programs of one structure run together."""
    alike: dict[Hashable, list[int]] = {}
    for which, each in enumerate(passes):
        alike.setdefault(each.program.structure, []).append(which)
    spent = {
        which: answer
        for together in alike.values()
        for which, answer in zip(together, run_side_by_side([passes[one].program for one in together]), strict=True)
    }
    outcomes: dict[int, Outcome] = {}
    for which, each in enumerate(passes):
        lanes = {label: np.broadcast_to(ps, len(each.numbers)).tolist() for label, ps in spent[which].items()}
        for lane, number in enumerate(each.numbers):
            outcome = outcomes.setdefault(number, Outcome())
            for label, of_lanes in lanes.items():
                if of_lanes[lane]:
                    outcome.spent[label] = outcome.spent.get(label, 0) + of_lanes[lane]
            outcome.bound_seconds += each.bounds[lane]
            outcome.stream_bytes += each.streamed[lane]
    return outcomes
