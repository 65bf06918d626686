"""Many points at once: recorded as programs, of which those that wait in the same way run side by side on one clock.

Equal to pricing them one by one, to the picosecond. Points that differ only in batch and context are recorded together
where the same things limit their kernels, which is what their time is counted as. Of what was recorded, programs of one
structure share a clock, whatever chip, count or model they are of (``chips.clock.recording``).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chips.clock.recording import Program, Recorder, run_side_by_side
from chips.spec import Dataflow, Gpu
from scenarios.assignment import cluster_of
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.memory import check_memory
from scenarios.outcome import Columns, Outcome, Record, asked, figures
from scenarios.point import ALIKE, Point
from scenarios.pricing import point_steps, price_point, split_model
from scenarios.strategies import run_strategy, side_by_side
from scenarios.strategies.bound import lower_bound
from scenarios.strategies.gpu.kernel_prices import gpu_machine
from scenarios.workload.decoder import forward
from scenarios.workload.model import Shard
from scenarios.workload.operators import Attention, Collective, Step

Floats = NDArray[np.float64]
Steps = dict[Hashable, list[tuple[NDArray[np.intp], Step]]]
"""Passes of many points by what they compute, in lanes that the same things limit: all strategies run the same ones."""


@dataclass
class _Recorded:
    """Points recorded together: their numbers, what is known of their outcome, their passes with a lane for each."""

    numbers: Sequence[int]
    outcome: Outcome
    passes: list[Program]


def price_points(points: Sequence[Point]) -> Columns:
    """Columns of the results' schema, a row for each point in their order: what ``pricing.price_point`` gives for each.

    A point that is refused has a row that says why.
    """
    columns = asked(points)
    recorded: list[_Recorded] = []
    steps: Steps = {}
    for numbers in _kin(points):
        alone = numbers
        if len(numbers) > 1:
            try:
                recorded += _recorded_together(points, numbers, columns, steps)
                alone = []
            except (DoesNotFit, ScenarioError):  # one of them, or all: each is asked in turn
                pass
        for number in alone:
            point = points[number]
            try:
                if _recordable(point):
                    recorded.append(_recorded(point, number))
                else:
                    _fill(columns, [number], price_point(point))
            except (DoesNotFit, ScenarioError) as refusal:
                columns["reason"][number] = str(refusal)
    _run(recorded)
    for each in recorded:
        batches, contexts = columns["batch"][each.numbers], columns["context"][each.numbers]
        _fill(columns, each.numbers, figures(points[each.numbers[0]], each.outcome, each.outcome, batches, contexts))
    return columns


def _fill(columns: Columns, numbers: Sequence[int], record: Record) -> None:
    for name, values in record.items():
        columns[name][numbers] = values


def _kin(points: Sequence[Point]) -> Iterable[list[int]]:
    """The numbers of points that may be recorded together: all that differ only in batch and context."""
    groups: dict[Hashable, list[int]] = {}
    for number, point in enumerate(points):
        together = _recordable(point) and (
            (point.phase == "decode" and side_by_side(point.chip, point.batch))
            # A prompt of one token is priced as decode.
            or (point.phase == "prefill" and isinstance(point.chip, Gpu) and point.context > 1)
        )
        shared = (_work(point), point.strategy, point.launch)
        groups.setdefault(shared if together else number, []).append(number)
    return groups.values()


def _work(point: Point) -> Hashable:
    """What a point computes on what, but for its batch and context."""
    return point.chip, point.model, point.framework, point.count, point.phase, point.precision


def _recordable(point: Point) -> bool:
    """Whether the point is a few passes of one chip that stands for all; else it has lanes of its own."""
    alike = point.variation == ALIKE and isinstance(point.chip, Gpu | Dataflow)
    return alike and point.phase != "request" and point.one_group


def _recorded(point: Point, number: int) -> _Recorded:
    """One point. Raises DoesNotFit; ScenarioError where the model cannot be split so."""
    split = split_model(point)
    recorded = _Recorded([number], Outcome(), [])
    for step, _ in point_steps(point, split):
        _record_pass(recorded, point, split, step)
    return recorded


def _recorded_together(
    points: Sequence[Point], numbers: Sequence[int], columns: Columns, steps: Steps
) -> Iterator[_Recorded]:
    """Points that differ only in batch and context; those that do not fit get their row in ``columns`` at once.

    Passes are found in ``steps``, or added to them. Raises DoesNotFit and ScenarioError for what holds for one of the
    points or for all.
    """
    first = points[numbers[0]]
    split = split_model(replace(first, batch=1, context=1))
    fitting: list[int] = []
    for number in numbers:
        try:
            check_memory(points[number], split)
            fitting.append(number)
        except DoesNotFit as refusal:
            columns["reason"][number] = str(refusal)
    if not fitting:
        return
    batches, contexts = (columns[name][fitting].astype(np.float64) for name in ("batch", "context"))
    work = (_work(first), batches.tobytes(), contexts.tobytes())
    if work not in steps:
        steps[work] = [
            (lanes, _step(first, split, batches[lanes], contexts[lanes]))
            for lanes in _limited_alike(first, _step(first, split, batches, contexts))
        ]
    for lanes, step in steps[work]:
        recorded = _Recorded(np.array(fitting)[lanes].tolist(), Outcome(), [])
        _record_pass(recorded, first, split, step)
        yield recorded


def _step(point: Point, split: Shard, batches: Floats, contexts: Floats) -> Step:
    tokens = 1 if point.phase == "decode" else contexts
    return forward(point.model, split, batches, tokens, contexts, point.precision)


def _limited_alike(point: Point, step: Step) -> list[NDArray[np.intp]]:
    """The lanes of a step in groups: within each the same things limit every kernel."""
    (attention,) = (operator for operator in step.decoder if isinstance(operator, Attention))
    alike = np.zeros(np.shape(attention.context), np.int64)
    if isinstance(point.chip, Gpu):
        machine = gpu_machine(point.chip, cluster_of(point), point.framework)
        for operator in (*step.before, *step.decoder, *step.after):
            if not isinstance(operator, Collective):
                kinds, own = np.unique(machine.limiters(operator), return_inverse=True)
                alike = alike * kinds.size + own
    return [np.flatnonzero(alike == one) for one in np.unique(alike)]


def _record_pass(recorded: _Recorded, point: Point, split: Shard, step: Step) -> None:
    """Record one pass with a lane for each of the points, any of which is ``point``."""
    lanes, outcome = len(recorded.numbers), recorded.outcome
    group, clock = cluster_of(point).side_by_side(lanes), Recorder(lanes)
    finish = run_strategy(clock, group, point.strategy, step, point.launch, point.framework)
    recorded.passes.append(clock.program(finish))
    outcome.bound_seconds = outcome.bound_seconds + lower_bound(point.chip, split.ranks, step)
    outcome.stream_bytes = outcome.stream_bytes + step.total(lambda operator: operator.stream_bytes)


def _run(recorded: Sequence[_Recorded]) -> None:
    """Run all passes and add what they took to the outcomes; programs of one structure run together."""
    alike: dict[Hashable, list[tuple[Outcome, Program]]] = {}
    for each in recorded:
        for program in each.passes:
            alike.setdefault(program.structure, []).append((each.outcome, program))
    for together in alike.values():
        for (outcome, program), spent in zip(
            together, run_side_by_side([program for _, program in together]), strict=True
        ):
            for label, ps in spent.items():
                took = np.broadcast_to(ps, program.lanes) if program.lanes > 1 else int(np.max(ps))
                outcome.spent[label] = outcome.spent.get(label, 0) + took
