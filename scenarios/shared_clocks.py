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
from chips.spec import Gpu
from scenarios.assignment import Assignment
from scenarios.energy import Dynamic, added, counted_as, step_joules
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.memory import assign_fitting, check_memory
from scenarios.outcome import Outcome
from scenarios.passes import cuts_products, passes_of
from scenarios.point import ALIKE, WHOLE, Point
from scenarios.running import Together, run_alone
from scenarios.strategies import alike_passes, run_strategy
from scenarios.strategies.bound import lower_bound
from scenarios.strategies.gpu.kernel_prices import gpu_group
from scenarios.workload.decoder import forward
from scenarios.workload.operators import Attention, Collective, Step

Floats = NDArray[np.float64]
Joules = dict[bool, Dynamic]
"""What one pass takes, by how a strategy has its events counted."""
Steps = dict[Hashable, list[tuple[NDArray[np.intp], Step, Joules]]]
"""Passes of many points by what they compute, in lanes that the same things limit: all strategies run the same ones."""


@dataclass
class _Recorded:
    """Points recorded together, and their passes with a lane for each."""

    points: Together
    passes: list[Program]


def run_together(points: Sequence[Point]) -> tuple[list[Together], dict[int, DoesNotFit | ScenarioError]]:
    """What the points take, and why others do not fit, by their number."""
    refusals: dict[int, DoesNotFit | ScenarioError] = {}
    recorded: list[_Recorded] = []
    ran: list[Together] = []
    steps: Steps = {}
    for numbers in _kin(points):
        alone = numbers
        if len(numbers) > 1:
            try:
                recorded += list(_recorded_together(points, numbers, refusals, steps))
                alone = []
            except (DoesNotFit, ScenarioError):  # one of them, or all: each is asked in turn
                pass
        for number in alone:
            try:
                if _recordable(points[number]):
                    recorded.append(_recorded(points[number], number))
                else:
                    ran.append(run_alone(points[number], number))
            except (DoesNotFit, ScenarioError) as refusal:
                refusals[number] = refusal
    _run(recorded)
    return [*ran, *(each.points for each in recorded)], refusals


def _kin(points: Sequence[Point]) -> Iterable[list[int]]:
    """The numbers of points that may be recorded together: all that differ only in batch and context."""
    groups: dict[Hashable, list[int]] = {}
    for number, point in enumerate(points):
        together = (
            _recordable(point)
            and not cuts_products(point)
            and (
                point.phase == "decode"
                # A prompt of one token is priced as decode.
                or (point.phase == "prefill" and not point.chip.lays_out_in_space and point.context > 1)
            )
        )
        shared = (_work(point), point.strategy, point.launch)
        groups.setdefault(shared if together else number, []).append(number)
    return groups.values()


def _work(point: Point) -> Hashable:
    """What a point computes on what, but for its batch and context."""
    return point.chip, point.model, point.framework, point.count, point.phase, point.quantization


def _recordable(point: Point) -> bool:
    """Whether the point is a few passes of one chip that stands for all; else it has lanes of its own."""
    alike = point.variation == ALIKE and point.chip.runs_decoders
    return alike and point.phase != "request" and point.parallel == WHOLE


def _recorded(point: Point, number: int) -> _Recorded:
    """One point. Raises DoesNotFit; ScenarioError where the model cannot be split so."""
    assignment = assign_fitting(point)
    recorded = _start([number], assignment)
    for step, _ in passes_of(assignment):
        _record_pass(recorded, step, {})
    return recorded


def _start(numbers: Sequence[int], assignment: Assignment) -> _Recorded:
    outcome = Outcome()
    return _Recorded(Together(numbers, assignment, outcome, alike=outcome), [])


def _recorded_together(
    points: Sequence[Point], numbers: Sequence[int], refusals: dict[int, DoesNotFit | ScenarioError], steps: Steps
) -> Iterator[_Recorded]:
    """Points that differ only in batch and context; why some do not fit goes into ``refusals``.

    Passes are found in ``steps``, or added to them. Raises DoesNotFit and ScenarioError for what holds for one of the
    points or for all.
    """
    first = assign_fitting(replace(points[numbers[0]], batch=1, context=1))
    fitting: list[int] = []
    for number in numbers:
        try:
            check_memory(replace(first, point=points[number]))
            fitting.append(number)
        except DoesNotFit as refusal:
            refusals[number] = refusal
    if not fitting:
        return
    batches, contexts = (
        np.array([getattr(points[number], name) for number in fitting], np.float64) for name in ("batch", "context")
    )
    work = (_work(first.point), first.point.launch, batches.tobytes(), contexts.tobytes())
    if work not in steps:
        steps[work] = [
            (lanes, _step(first, batches[lanes], contexts[lanes]), {})
            for lanes in _limited_alike(first, _step(first, batches, contexts))
        ]
    for lanes, step, joules in steps[work]:
        recorded = _start(np.array(fitting)[lanes].tolist(), first)
        _record_pass(recorded, step, joules)
        yield recorded


def _step(assignment: Assignment, batches: Floats, contexts: Floats) -> Step:
    point = assignment.point
    tokens = 1 if point.phase == "decode" else contexts
    return forward(point.model, assignment.shard, batches, tokens, contexts, point.quantization)


def _limited_alike(assignment: Assignment, step: Step) -> list[NDArray[np.intp]]:
    """The lanes of a step in groups: within each the same things limit every kernel, and a chip maps them alike."""
    if not isinstance(assignment.point.chip, Gpu):
        return alike_passes(assignment.cluster(), step, assignment.point.launch)
    attention = next(operator for operator in step.operators if isinstance(operator, Attention))
    alike = np.zeros(np.shape(attention.context), np.int64)
    group = gpu_group(assignment.point.chip, assignment.cluster(), assignment.point.framework)
    for operator in step.operators:
        if not isinstance(operator, Collective):
            kinds, own = np.unique(group.limiters(operator), return_inverse=True)
            alike = alike * kinds.size + own
    return [np.flatnonzero(alike == one) for one in np.unique(alike)]


def _record_pass(recorded: _Recorded, step: Step, joules: Joules) -> None:
    """Record one pass with a lane for each of the points; ``joules`` are found there, or added."""
    assignment, outcome = recorded.points.assignment, recorded.points.outcome
    point, lanes = assignment.point, len(recorded.points.numbers)
    group, clock = assignment.cluster().side_by_side(lanes), Recorder(lanes)
    finish = run_strategy(clock, group, point.strategy, step, point.launch, point.framework)
    recorded.passes.append(clock.program(finish))
    outcome.bound_seconds = outcome.bound_seconds + lower_bound(point.chip, assignment.shard.ranks, step)
    outcome.stream_bytes = outcome.stream_bytes + step.stream_bytes
    counted = counted_as(point.chip, point.strategy)
    if counted not in joules:
        joules[counted] = step_joules(group, point.strategy, point.framework, step)
    outcome.joules = added(outcome.joules, joules[counted])


def _run(recorded: Sequence[_Recorded]) -> None:
    """Run all passes and add what they took to the outcomes; programs of one structure run together."""
    alike: dict[Hashable, list[tuple[Outcome, Program]]] = {}
    for each in recorded:
        for program in each.passes:
            alike.setdefault(program.structure, []).append((each.points.outcome, program))
    for together in alike.values():
        for (outcome, program), spent in zip(
            together, run_side_by_side([program for _, program in together]), strict=True
        ):
            for label, ps in spent.items():
                took = np.broadcast_to(ps, program.lanes) if program.lanes > 1 else int(np.max(ps))
                outcome.spent[label] = outcome.spent.get(label, 0) + took
