"""Points as a trace: every task of each, with the HBM bandwidth and power of its chips, and arrows between them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from results.trace.events import Traced, write_trace
from scenarios.anatomy.hbm_and_power import hbm_bandwidth, power
from scenarios.assignment import working_chips
from scenarios.errors import DoesNotFit
from scenarios.point import ALIKE, Point
from scenarios.pricing import split_model, trace_passes
from scenarios.strategies.label import LINK
from scenarios.training.run import trace_training

ALIKE_SHOWN = 2  # chips that are alike do the same at the same time: two show what passes between them


def write_points(points: Iterable[Point], path: Path) -> None:
    """Trace all points that fit into ``path``, .json or .pftrace. Raises OutputError if it cannot be written."""
    processes = {}
    for point in points:
        try:
            processes[f"{point.chip.name} x{point.count} {point.strategy}"] = traced(point)
        except DoesNotFit:
            continue
    write_trace(processes, path)


def traced(point: Point) -> Traced:
    """One point's chips: each where they differ, two of them where they are alike. Raises DoesNotFit with numbers.

    Of replicas the first; of a training step in stages the stages of one replica, and the network of each.
    """
    if not point.one_group and point.phase == "train":
        return Traced(trace_training(point, split_model(point)))
    point = point if point.one_group else point.replica
    passes, working = trace_passes(point), len(working_chips(point))
    shown = working if point.variation != ALIKE else min(working, ALIKE_SHOWN)
    series = [(hbm_bandwidth(point, passes, chip), power(point, passes, chip)) for chip in range(shown)]
    counters = [[each for each in own if each is not None] for own in series]
    return Traced([event for _, events in passes for event in events], shown, counters, meeting=LINK)
