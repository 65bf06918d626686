"""One assignment on the clock: what it takes, or every task of it as it ran.

A priced run leaps over its loops, so that a trace is a run of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from chips.clock.timeline import Event
from cluster import Cluster, Communicator
from scenarios.assignment import MOST_SIDE_BY_SIDE, Assignment
from scenarios.energy import added, of_passes, step_joules
from scenarios.memory import assign_fitting
from scenarios.outcome import Outcome
from scenarios.passes import passes_of, with_contexts
from scenarios.point import ALIKE, Point
from scenarios.stages_in_turn import run_stages
from scenarios.strategies import run_strategy
from scenarios.strategies.bound import lower_bound
from scenarios.strategies.label import Label
from scenarios.training.run import run_training
from scenarios.workload.operators import Step


@dataclass
class Together:
    """Points that ran side by side: their numbers among all, how one of them was resolved, and what they took.

    ``outcome`` has a lane for each where they are several; ``alike``: the same if all chips were alike.
    """

    numbers: Sequence[int]
    assignment: Assignment
    outcome: Outcome
    alike: Outcome


def run_alone(point: Point, number: int = 0, communicator: Communicator | None = None) -> Together:
    """One point on a clock of its own, and beside it the same point with chips that are alike.

    Raises DoesNotFit; ScenarioError where the model cannot be split so.
    """
    assignment = assign_fitting(point)
    outcome = run(assignment, communicator)
    return Together([number], assignment, outcome, run_alike(point, outcome))


def run_alike(point: Point, outcome: Outcome) -> Outcome:
    """What a point would have taken if its chips were alike."""
    return outcome if point.variation == ALIKE else run(assign_fitting(replace(point, variation=ALIKE)))


def run(
    assignment: Assignment, communicator: Communicator | None = None, free: frozenset[Label] = frozenset()
) -> Outcome:
    """What a point takes; with a ``communicator``, only this rank's chip runs, which meets the others in messages.

    ``free``: labels of a kernel boundary on a GPU that cost nothing; of one tensor-parallel group.
    Raises DoesNotFit with numbers where the strategy does not fit the chip.
    """
    if assignment.one_group:
        return _run_group(assignment, assignment.cluster(communicator), free)
    if assignment.point.phase == "train":
        return run_training(assignment)
    return _slowest_replica(assignment) if assignment.without_stages else run_stages(assignment)


def _slowest_replica(assignment: Assignment) -> Outcome:
    """Of replicas that serve side by side and never meet, the one that takes longest."""
    (chips,) = assignment.chips_of_stages
    replica = replace(assignment, point=assignment.replica)
    lanes = max(passes for _, passes in passes_of(replica))
    clusters, _ = assignment.clusters_of_groups(chips[:, 0], max(1, MOST_SIDE_BY_SIDE // lanes))
    outcomes = [_run_group(replica, cluster) for cluster in clusters]
    slowest = max(outcomes, key=lambda outcome: np.max(outcome.ps))
    return slowest.of(int(np.argmax(slowest.ps)))


def _run_group(assignment: Assignment, cluster: Cluster, free: frozenset[Label] = frozenset()) -> Outcome:
    """All passes of a point on one group of chips, or as an array on each of several side by side."""
    point, outcome, groups = assignment.point, Outcome(), cluster.passes
    for step, passes in passes_of(assignment):
        lanes = cluster.side_by_side(passes * groups)
        clock = lanes.start_clock()
        on_lanes = with_contexts(step, partial(np.repeat, repeats=lanes.lanes * groups)) if passes > 1 else step
        finish = run_strategy(clock, lanes, point.strategy, on_lanes, point.launch, point.framework, free)
        # A pass is over when its last chip is.
        for label, spent in lanes.meet(clock, finish).parts.items():
            of_groups = np.atleast_1d(spent)[:: lanes.lanes].reshape(-1, groups).sum(axis=0)
            outcome.spent[label] = outcome.spent.get(label, 0) + (of_groups if groups > 1 else int(of_groups[0]))
        outcome.bound_seconds += float(np.sum(lower_bound(point.chip, assignment.shard.ranks, step)))
        outcome.stream_bytes += float(np.sum(step.stream_bytes))
        taken = step_joules(cluster, point.strategy, point.framework, step)
        outcome.joules = added(outcome.joules, of_passes(taken, passes))
    return outcome


def trace_passes(assignment: Assignment) -> list[tuple[Step, list[Event]]]:
    """Every pass of one group with its tasks as they ran; of a request only its prefill and first output token.

    Where chips differ, times are arrays over them.
    """
    point, cluster = assignment.point, assignment.cluster()
    found: list[tuple[Step, list[Event]]] = []
    start = 0
    for step, passes in passes_of(assignment)[: 2 if point.phase == "request" else None]:
        if passes > 1:
            step = with_contexts(step, lambda context: int(np.min(context)))
        clock = cluster.start_clock(record=True)
        finish = run_strategy(clock, cluster, point.strategy, step, point.launch, point.framework)
        events = [
            replace(event, start_ps=event.start_ps + start, finish_ps=event.finish_ps + start) for event in clock.events
        ]
        found.append((step, events))
        start += int(np.max(finish.ps))
    return found
