"""Points as a trace: every task of each, with the HBM bandwidth and power of its chips, and arrows between them."""

from __future__ import annotations

from pathlib import Path

from results.trace.events import Traced, write_trace
from scenarios.anatomy.hbm_and_power import hbm_bandwidth, power
from scenarios.assignment import Assignment
from scenarios.memory import assign_fitting
from scenarios.point import ALIKE
from scenarios.pricing import Prices
from scenarios.running import trace_passes
from scenarios.stages_in_turn import trace_stages
from scenarios.strategies.label import LINK
from scenarios.training.run import trace_training

ALIKE_SHOWN = 2  # chips that are alike do the same at the same time: two show what passes between them


def write_points(prices: Prices, path: Path) -> None:
    """Trace all points that fit into ``path``, .json or .pftrace. Raises OutputError if it cannot be written."""
    processes = {}
    for number, point in enumerate(prices.points):
        if number not in prices.refusals:
            processes[f"{point.chip.name} x{point.count} {point.strategy}"] = traced(prices.assignment(number))
    write_trace(processes, path)


def traced(assignment: Assignment) -> Traced:
    """One point's chips: each where they differ, two of them where they are alike. Raises DoesNotFit with numbers.

    Of replicas the first; of stages those of one replica, and the network or the links of each.
    """
    if not assignment.one_group and assignment.point.phase == "train":
        return Traced(trace_training(assignment))
    if not (assignment.one_group or assignment.without_stages):
        return Traced(trace_stages(assignment))
    assignment = assignment if assignment.one_group else assign_fitting(assignment.replica)
    point, passes, working = assignment.point, trace_passes(assignment), len(assignment.working)
    shown = working if point.variation != ALIKE else min(working, ALIKE_SHOWN)
    counters = [[hbm_bandwidth(assignment, passes, chip), power(assignment, passes, chip)] for chip in range(shown)]
    return Traced([event for _, events in passes for event in events], shown, counters, meeting=LINK)
