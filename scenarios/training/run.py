"""A training step of many chips: micro-batches through pipelines of stages, in replicas that sum their gradients.

Chips of one replica wait for each other in every pass, replicas where they sum gradients. Here: a step run on its clock
(``scenarios.training.clock``), and what its time was spent on.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from chips.clock.timeline import Event, Picoseconds, Time, Timeline
from chips.spec import ChipBase
from scenarios.assignment import Assignment
from scenarios.outcome import Outcome
from scenarios.strategies.bound import lower_bound
from scenarios.strategies.label import FILL_DRAIN, HOST
from scenarios.training.alike_clock import run_alike_step
from scenarios.training.clock import GRADIENTS, ONCE_A_STEP, WORK, Stage, run_step
from scenarios.training.shared_parameters import MOST_REMEMBERED
from scenarios.training.stages import Spent, TrainingStages
from scenarios.training.step_energy import training_joules
from scenarios.workload.operators import Step


def run_training(assignment: Assignment) -> Outcome:
    """One step of a training run. Raises DoesNotFit with numbers where a strategy does not fit the chip."""
    step = TrainingStages(assignment)
    if step.lanes == 1 and not step.copies and step.by_pass == ONCE_A_STEP:
        overlapped = step.point.framework.overlaps_gradients
        finish = run_alike_step(step.stages, step.micro_batches, step.norm_ps, overlapped=overlapped)
    else:
        finish = _run(step).now
    times = step.micro_batches / step.layout.pipeline  # of each pass on a mean stage
    passes = [_least(step.point.chip, assignment.shard.ranks, work) for work in (step.work.forward, step.work.backward)]
    return Outcome(
        _told_by_the_busiest(step.stages, step.micro_batches, step.lanes, finish),
        times * sum(seconds for seconds, _ in passes),
        times * sum(streamed for _, streamed in passes),
        training_joules(step),
    )


@lru_cache(MOST_REMEMBERED)
def _least(chip: ChipBase, ranks: int, work: Step) -> tuple[float, float]:
    """Of a pass the seconds of its physical bound and the bytes that it must stream."""
    seconds = float(lower_bound(chip, ranks, work))
    return seconds, float(work.stream_bytes)


def trace_training(assignment: Assignment) -> list[Event]:
    """The passes, collectives and optimizers of all stages as they ran, in the replica that is busy longest."""
    step = TrainingStages(assignment)
    events = _run(step, record=True).events
    if step.lanes == 1:
        return events
    busy = sum(np.asarray(event.finish_ps) - event.start_ps for event in events if event.label == WORK)
    slowest = int(np.argmax(busy))

    def there(time: Picoseconds) -> int:
        return int(np.broadcast_to(time, step.lanes)[slowest])

    return [replace(event, start_ps=there(event.start_ps), finish_ps=there(event.finish_ps)) for event in events]


def _run(step: TrainingStages, *, record: bool = False) -> Timeline:
    overlapped = step.point.framework.overlaps_gradients
    return run_step(
        step.stages,
        step.micro_batches,
        step.lanes,
        step.norm_ps,
        overlapped=overlapped,
        by_pass=step.by_pass,
        record=record,
    )


def _told_by_the_busiest(stages: list[Stage], micro_batches: int, lanes: int, finish: Time) -> Spent:
    """Where the time went, as the busiest stage of the slowest replica tells it.

    Its own passes by label; the collectives of gradients and parameters on the critical path, which nothing hides, and
    the host where it is there. The rest of the time it is slower beside collectives, or waits for other stages: the
    bubble of the pipeline, which fills and drains.
    """
    busy: list[Spent] = []
    for stage in stages:
        spent: Spent = dict(stage.optimizer)
        for passes in (passes for run in stage.runs for passes in (run.forward, run.backward)):
            for label, ps in passes.items():
                spent[label] = spent.get(label, 0) + micro_batches * ps
        busy.append(spent)
    lane = 0
    if lanes == 1:
        busiest = max(range(len(busy)), key=lambda stage: sum(busy[stage].values()))
    else:
        totals = np.array([np.broadcast_to(sum(spent.values()), lanes) for spent in busy])
        busiest, lane = (int(place) for place in np.unravel_index(int(totals.argmax()), totals.shape))
    told: dict[Hashable, int] = {
        label: ps if isinstance(ps, int) else int(np.broadcast_to(ps, lanes)[lane])
        for label, ps in busy[busiest].items()
    }
    waiting = int(np.max(finish.ps)) - sum(told.values())
    for label in (GRADIENTS, HOST):
        exposed = min(waiting, int(np.max(finish.parts.get(label, 0))))
        told[label], waiting = told.get(label, 0) + exposed, waiting - exposed
    told[FILL_DRAIN] = told.get(FILL_DRAIN, 0) + waiting
    return dict(told)
