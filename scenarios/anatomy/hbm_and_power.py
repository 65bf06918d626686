"""What one chip does over time: bytes/s that cross its HBM and watts that it draws, from the tasks of a point.

Fused kernels have an engine for HBM, whose tasks are the traffic. A kernel of its own on a GPU is one task: its weights
and KV cache, and what of its inputs and outputs L2 cannot hold, cross HBM while it is in its steady state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from chips.clock.timeline import Event, seconds_to_ps
from chips.spec import ELEMENT_BYTES, Gpu
from results.step_series import StepSeries, step_series
from scenarios.assignment import Assignment
from scenarios.errors import ScenarioError
from scenarios.strategies import strategy_on
from scenarios.strategies.label import BOUNDARY, FILL_DRAIN, HBM, Label
from scenarios.workload.operators import Attention, MatrixProduct, Operator, Step, largest

Passes = Sequence[tuple[Step, list[Event]]]
Run = tuple[Attention | MatrixProduct, tuple[int, ...]]
"""An operator in one iteration of the loop over decoders."""
WAITING = {FILL_DRAIN, *BOUNDARY.values()}
"""Labels of an engine that holds still."""


class Stretch(NamedTuple):
    """From when to when something goes on, and how much of it a second."""

    start_ps: int
    finish_ps: int
    rate: float


def hbm_bandwidth(assignment: Assignment, passes: Passes, chip: int = 0) -> StepSeries:
    """Bytes/s that cross the HBM of chip number ``chip``, over the whole time of ``passes``.

    Raises ScenarioError for a chip without strategies, such as a systolic array.
    """
    return _series("HBM bandwidth", "B/s", _traffic(assignment, passes, chip), passes)


def power(assignment: Assignment, passes: Passes, chip: int = 0) -> StepSeries:
    """Watts that chip number ``chip`` draws: its static share, its arithmetic and its HBM traffic.

    Energies are those of the highest clock; where they would exceed the limit, the clock is lower, and the limit is
    drawn (``chips.energy``).
    """
    spec = assignment.point.chip
    events = spec.events
    flop, byte = float(events.flop.sum()), float(events.memory_byte.sum())
    arithmetic = [stretch._replace(rate=stretch.rate * flop) for stretch in _arithmetic(passes, chip)]
    moving = [stretch._replace(rate=stretch.rate * byte) for stretch in _traffic(assignment, passes, chip)]
    watts = _series("power", "W", arithmetic + moving, passes, events.static_watts)
    return replace(watts, values=np.minimum(watts.values, spec.power_watts))


def _series(name: str, unit: str, stretches: list[Stretch], passes: Passes, base: float = 0.0) -> StepSeries:
    starts, finishes, rates = (np.array([stretch[field] for stretch in stretches]) for field in range(3))
    end = max(int(np.max(event.finish_ps)) for _, events in passes for event in events)
    return step_series(name, unit, starts.astype(np.int64), finishes.astype(np.int64), rates, end, base)


def _traffic(assignment: Assignment, passes: Passes, chip: int) -> list[Stretch]:
    spec = assignment.point.chip
    if isinstance(spec, Gpu) and not strategy_on(spec, assignment.point.strategy).streams:
        return [stretch for _, events in passes for stretch in _kernel_traffic(spec, events, chip)]
    rate = _stream_rate(assignment, chip)
    loads = (event for _, events in passes for event in events if event.engine == HBM and event.label not in WAITING)
    return [Stretch(*_times(event, chip), rate) for event in loads]


def _stream_rate(assignment: Assignment, chip: int) -> float:
    """Bytes/s at which tiles stream into a fused kernel on this chip, which may be slower than its datasheet."""
    spec, slowdown = assignment.point.chip, assignment.cluster().slowdown
    slower = 1.0 if slowdown is None else float(slowdown.memory[chip])
    if not spec.runs_decoders:
        raise ScenarioError(f"{spec.name} runs no decoders, so that nothing crosses its memory.")
    return spec.streaming_bandwidth / slower


def _kernel_traffic(spec: Gpu, events: Sequence[Event], chip: int) -> list[Stretch]:
    steady: dict[tuple[Operator, tuple[int, ...]], tuple[int, int]] = {}
    for event in events:
        operator = event.of
        if isinstance(operator, Operator) and _is_steady(event, operator):
            run, (start, finish) = (operator, event.iterations), _times(event, chip)
            begun, ended = steady.get(run, (start, finish))
            steady[run] = min(begun, start), max(ended, finish)
    stretches = []
    for (operator, _), (start, finish) in steady.items():
        over = max(largest(operator.activation_bytes) - spec.on_chip.l2_bytes, 0.0)
        moved = largest(operator.stream_bytes) + over
        if moved:
            # Where the steady state is too short for the memory, the rest moves while the kernel fills and drains.
            finish = max(finish, start + seconds_to_ps(moved / spec.memory.bandwidth))
            stretches.append(Stretch(start, finish, moved / (finish - start) * 1e12))
    return stretches


def _arithmetic(passes: Passes, chip: int) -> list[Stretch]:
    """16-bit operations a second (of wider or narrower ones their worth in energy), as their operands stream in."""
    stretches: list[Stretch] = []
    for _, events in passes:
        loads: dict[Run, list[tuple[int, int]]] = {}
        computing: dict[Run, list[tuple[int, int]]] = {}
        for event in events:
            operator = event.of
            if not isinstance(operator, MatrixProduct | Attention):
                continue
            run, (start, finish) = (operator, event.iterations), _times(event, chip)
            if event.engine == HBM and event.label not in WAITING:
                loads.setdefault(run, []).append((start, finish))
            elif _is_steady(event, operator):
                computing.setdefault(run, []).append((start, finish))
        for run, times in computing.items():
            stretches += _spread(run[0], times, loads.get(run, []))
    return stretches


def _spread(
    operator: Attention | MatrixProduct, times: list[tuple[int, int]], loads: list[tuple[int, int]]
) -> list[Stretch]:
    """An operator's arithmetic over its tiles, each over its own time or, if that is longer, its operands' stream.

    Where loads are not by tiles, over all of its time and all of its loads.
    """
    element = ELEMENT_BYTES[operator.precision] if isinstance(operator, MatrixProduct) else ELEMENT_BYTES["bf16"]
    flops = float(np.max(operator.flops)) * element / ELEMENT_BYTES["bf16"]
    whole = sum(finish - start for start, finish in times)
    if len(loads) > len(times):
        starts, finishes = zip(*times, *loads, strict=True)
        begin, end = min(starts), max(finishes)
        return [Stretch(begin, end, flops / (end - begin) * 1e12)]
    padded = [finish - start for start, finish in loads] + [0] * (len(times) - len(loads))
    stretches = []
    for (start, finish), load in zip(times, padded, strict=True):
        begin = max(min(start, finish - load), 0)
        if finish > begin:
            stretches.append(Stretch(begin, finish, flops * (finish - start) / whole / (finish - begin) * 1e12))
    return stretches


def _is_steady(event: Event, operator: Operator) -> bool:
    """Whether this is the operator at work: not its launch, not its filling and draining, not its load."""
    label = event.label
    return isinstance(label, Label) and event.engine != HBM and label.part == operator.part and label not in WAITING


def _times(event: Event, chip: int) -> tuple[int, int]:
    start, finish = (np.atleast_1d(time) for time in (event.start_ps, event.finish_ps))
    return int(start[chip % start.size]), int(finish[chip % finish.size])
