"""The best layouts of training steps: of all that fit, those are priced that may be among the best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from chips.clock.time import PICOSECONDS_PER_SECOND
from results.words import PARTS
from scenarios.assignment import Assignment, assign
from scenarios.cost import PriceList
from scenarios.energy import Dynamic, scaled, told
from scenarios.errors import DoesNotFit
from scenarios.memory import check_memory, check_precision, needed_bytes
from scenarios.outcome import Outcome
from scenarios.planning.bound import least_step_ps
from scenarios.planning.candidate import Candidate
from scenarios.planning.goals import Goal, Reached
from scenarios.planning.layouts import training_layouts
from scenarios.planning.search import Score, ShowProgress, best_of, shortlist
from scenarios.pricing import Prices
from scenarios.running import Together, run
from scenarios.strategies import strategy_on
from scenarios.training.stages import TrainingStages
from scenarios.training.step_energy import training_joules
from scenarios.workload.operators import Quantity

ROUNDED = 1e-9  # of joules, by which whole nanojoules may be below what they are of


class TrainingSearch:
    """All layouts of ``steps``, candidates whose chips and batch are given and whose layout is not.

    ``considered``: how many there are; ``fitting``: those that their chips' memory holds; ``why_none``: a sentence for
    where it holds none.
    """

    def __init__(self, steps: Iterable[Candidate], goal: Goal, paid: PriceList | None) -> None:
        self.goal, self.paid = goal, paid
        self.considered = 0
        self.fitting: list[Candidate] = []
        self.why_none = "no layout divides so: --count, --global-batch and the model have no common numbers."
        self._assignments: list[Assignment] = []
        self._outcomes: dict[int, Outcome] = {}
        least = None
        for request, step in steps:
            try:
                check_precision(step)
                strategy_on(step.chip, step.strategy)
            except DoesNotFit as refusal:
                self.why_none = f"{refusal}."
                continue
            for layout in training_layouts(step.chip, step.model, step.count, step.batch, step.context):
                self.considered += 1
                assignment = assign(replace(step, parallel=layout))
                needed = needed_bytes(assignment)
                if needed <= step.chip.memory.capacity_bytes:
                    self._assignments.append(assignment)
                    self.fitting.append(Candidate(request | {"parallel": str(layout)}, assignment.point))
                elif least is None or needed < least[0]:
                    least = needed, assignment
        if least is not None:
            try:
                check_memory(least[1])
            except DoesNotFit as refusal:
                self.why_none = f"none of {self.considered:,} layouts fits; of that which needs least: {refusal}."
        self.bounds = [self._bound(each) for each in self._assignments]

    def priced_for(self, keep: int, on_progress: ShowProgress) -> tuple[list[int], Prices]:
        """The places, among all that fit, of those that were priced to find the ``keep`` best, and their prices."""
        best_of(self.bounds, self._exact, keep, on_progress)
        together = [
            Together([number], self._assignments[place], outcome, outcome)
            for number, (place, outcome) in enumerate(self._outcomes.items())
        ]
        return list(self._outcomes), Prices([each.assignment.point for each in together], together, {})

    def shortlist(self, keep: int) -> list[int]:
        """The places of those that may be among the ``keep`` best, few of which were priced to find them."""
        return shortlist(self.bounds, self._exact, keep)

    def _exact(self, place: int) -> Score:
        assignment = self._assignments[place]
        self._outcomes[place] = outcome = run(assignment)
        return self._score(assignment, outcome.parts, outcome.joules)

    def _bound(self, assignment: Assignment) -> Score:
        """A score that the layout cannot beat: its events take what they take, however long it lasts."""
        step = TrainingStages(assignment)
        seconds = least_step_ps(step) / PICOSECONDS_PER_SECOND
        events = training_joules(step) if self.goal.energy else {}
        parts = dict.fromkeys(PARTS, 0.0) | {PARTS[0]: seconds * (1 - ROUNDED)}
        return self._score(assignment, parts, scaled(events, 1 - ROUNDED))

    def _score(self, assignment: Assignment, parts: Mapping[str, Quantity], events: Dynamic) -> Score:
        point, seconds = assignment.point, float(np.sum(list(parts.values())))
        tokens, joules, dollars = point.batch * point.context, 0.0, 0.0
        if self.goal.energy:
            joules = float(told(point.chip.events, point.count, parts, events).joules)
        if self.paid is not None:
            dollars = self.paid.dollars(point.chip.name, point.count, seconds, joules)
        reached = Reached(point.count, point.context / seconds, tokens / seconds, joules / tokens, dollars / tokens)
        return self.goal.score(reached)
