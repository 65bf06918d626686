"""Operators on a chip's roofline: what each computes, moves and takes as a kernel of its own.

The roofline itself (Williams, Waterman and Patterson 2009) is the smaller of the matrix peak and intensity times memory
bandwidth. Launches and collectives are left out: neither computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from chips.clock.time import PICOSECONDS_PER_SECOND
from chips.clock.timeline import Timeline
from chips.spec import Gpu
from scenarios.assignment import Assignment
from scenarios.memory import assign_fitting
from scenarios.passes import passes_of
from scenarios.point import Point
from scenarios.strategies import run_strategy
from scenarios.strategies.label import Label
from scenarios.workload.operators import Operator, Segment, Step


def roofs(point: Point) -> dict[str, float]:
    """Of the chip: ``peak_flop_per_s``, ``memory_bytes_per_s`` and, of a GPU, its L2's ``cache_bytes_per_s``."""
    chip = point.chip
    found = {
        "peak_flop_per_s": chip.peak_flops(point.quantization.multiplied),
        "memory_bytes_per_s": chip.memory.bandwidth,
    }
    if isinstance(chip, Gpu):
        found["cache_bytes_per_s"] = chip.generation.vector.l2_bytes_per_clock * chip.compute.clock_hz
    return found


def operator_rooflines(point: Point) -> list[dict[str, object]]:
    """A record an operator of one chip's share of a pass, in the order in which they run.

    ``calls``: how often it runs in the pass; all else is of one call: ``flop``, ``moved_bytes`` (weights, KV cache,
    inputs and outputs), ``flop_per_byte``, ``seconds`` without its launch, ``flop_per_s``, and what it could be at
    most: ``roof_flop_per_s``, where a GPU's L2 may hold inputs and outputs. ``roof_fraction`` never exceeds 1. Raises
    DoesNotFit with numbers.
    """
    peak, bandwidth = point.chip.peak_flops(point.quantization.multiplied), point.chip.memory.bandwidth
    cached = point.chip.cache_bytes
    records: list[dict[str, object]] = []
    assignment = assign_fitting(point)
    for operator, calls in _operators(assignment):
        flop, streamed = float(np.max(operator.flops)), float(np.max(operator.stream_bytes))
        moved = streamed + operator.activation_bytes
        from_memory = streamed + max(operator.activation_bytes - cached, 0.0)
        seconds = _seconds(assignment, operator)
        roof = min(peak, flop * bandwidth / from_memory) if from_memory else peak
        records.append(
            {
                "chip": point.chip.name,
                "count": point.count,
                "operator": operator.name,
                "part": f"{operator.part}_s",
                "calls": calls,
                "flop": flop,
                "moved_bytes": moved,
                "flop_per_byte": flop / moved,
                "seconds": seconds,
                "flop_per_s": flop / seconds,
                "roof_flop_per_s": roof,
                "roof_fraction": flop / seconds / roof,
            }
        )
    return records


def _operators(assignment: Assignment) -> Iterator[tuple[Operator, int]]:
    """What computes in the first pass of each kind; of a request that is its prefill and its first output token."""
    for step, _ in passes_of(assignment)[: 2 if assignment.point.phase == "request" else None]:
        for segment in step.segments:
            for operator in segment.operators:
                if np.max(operator.flops) > 0:
                    yield operator, segment.times


def _seconds(assignment: Assignment, operator: Operator) -> float:
    """The operator alone on a clock, as a kernel of its own, less what its launch takes."""
    alone = Step((Segment((operator,)),))
    point, cluster = assignment.point, replace(assignment.cluster(), slowdown=None)
    finish = run_strategy(Timeline(), cluster, "per_operator", alone, point.launch, point.framework)
    launching = (spent for label, spent in finish.parts.items() if isinstance(label, Label) and label.part == "launch")
    return (int(np.max(finish.ps)) - sum(int(np.max(spent)) for spent in launching)) / PICOSECONDS_PER_SECOND
