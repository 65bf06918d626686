"""Many points at once: recorded as programs, of which those that wait in the same way run side by side on one clock.

Equal to pricing them one by one, to the picosecond. Points that differ only in their context are recorded together
where they issue the same tasks, that is where their attention streams in equally many tiles and the same thing limits
its kernel. Of what was recorded, programs of one structure share a clock, whatever chip, count, model or batch they
are of (``chips.recorded_program``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
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
from scenarios.operators import Attention, Step
from scenarios.point import ALIKE, Point
from scenarios.pricing import Outcome, point_steps, price_point, record_of, split_model
from scenarios.strategies import run_strategy, side_by_side

MANY = 24  # points of one kin are worth recording; of fewer, hardly any share a clock
Record = dict[str, object]


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
    groups: dict[Hashable, list[int]] = {}
    for number, point in enumerate(points):
        groups.setdefault(_shared(point) if _any_context(point) else number, []).append(number)
    kin = Counter(_kin(point) for point in points)
    for numbers in groups.values():
        recorded = kin[_kin(points[numbers[0]])] >= MANY and _recordable(points[numbers[0]])
        alone = numbers if len(numbers) == 1 or not recorded else []
        if not alone:
            try:
                passes += _recorded_together(points, numbers)
            except (DoesNotFit, ScenarioError):  # one of them, or all: each is asked in turn
                alone = numbers
        for number in alone:
            try:
                if recorded:
                    passes += _recorded(points[number], number)
                else:
                    records[number] = price_point(points[number])
            except (DoesNotFit, ScenarioError) as refusal:
                records[number] = record_of(points[number], DoesNotFit(str(refusal)))
    records |= {number: record_of(points[number], outcome) for number, outcome in _outcomes(passes).items()}
    return [records[number] for number in range(len(points))]


def _recordable(point: Point) -> bool:
    """Whether the point is a few passes of one chip that stands for all; else it has lanes of its own."""
    return point.phase != "request" and point.variation == ALIKE and isinstance(point.chip, Gpu | Dataflow)


def _any_context(point: Point) -> bool:
    """Whether the point may be recorded together with others that have another context."""
    return _recordable(point) and point.phase == "decode" and side_by_side(point.chip, point.batch)


def _kin(point: Point) -> Hashable:
    """What points have in common that often wait in the same way: all but batch and context."""
    owners = (id(point.chip), id(point.model), point.framework.name)
    return (*owners, point.count, point.strategy, point.launch, point.precision, point.phase)


def _shared(point: Point) -> Hashable:
    """What points that differ only in their context have in common."""
    return (_kin(point), point.batch)


def _recorded(point: Point, number: int) -> list[_Pass]:
    """The passes of one point. Raises DoesNotFit; ScenarioError where the model cannot be split so."""
    split = split_model(point)
    return [_pass(point, split, step, [number]) for step, _ in point_steps(point, split)]


def _recorded_together(points: Sequence[Point], numbers: Sequence[int]) -> Iterator[_Pass]:
    """The passes of points that differ only in their context. Raises what ``_recorded`` does for one of them."""
    first = points[numbers[0]]
    split = split_model(replace(first, context=1))
    for number in numbers:
        check_memory(points[number], split)
    contexts = np.array([points[number].context for number in numbers], np.float64)
    limiters = _limiters(first, _step(first, split, contexts))
    for one in np.unique(limiters):
        lanes = np.flatnonzero(limiters == one)
        members = [numbers[lane] for lane in lanes.tolist()]
        if len(members) == 1:
            yield from _recorded(points[members[0]], members[0])
        else:
            yield _pass(first, split, _step(first, split, contexts[lanes]), members)


def _step(point: Point, split: Shard, contexts: NDArray[np.float64]) -> Step:
    return forward(point.model, split, point.batch, 1, contexts, point.precision)


def _limiters(point: Point, step: Step) -> NDArray[np.str_]:
    """Of every lane what limits its attention kernel, which decides what its time is counted as."""
    (attention,) = (operator for operator in step.decoder if isinstance(operator, Attention))
    if not isinstance(point.chip, Gpu):
        return np.full(np.shape(attention.context), "")
    limiter = gpu_machine(point.chip, cluster_of(point), point.framework).kernel_time(attention).limiter
    return np.broadcast_to(limiter, np.shape(attention.context))


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
