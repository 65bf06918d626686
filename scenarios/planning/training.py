"""The best layouts of training steps: of all that fit, those are priced that may be among the best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from chips.clock.time import PICOSECONDS_PER_SECOND
from scenarios.assignment import Assignment, assign
from scenarios.errors import DoesNotFit
from scenarios.memory import check_memory, needed_bytes
from scenarios.outcome import Outcome
from scenarios.planning.bound import least_step_ps
from scenarios.planning.candidate import Candidate
from scenarios.planning.goals import Goal, Reached
from scenarios.planning.layouts import training_layouts
from scenarios.planning.search import Score, ShowProgress, best_of, shortlist
from scenarios.pricing import Prices
from scenarios.running import Together, run


class TrainingSearch:
    """All layouts of ``steps``, candidates whose chips and batch are given and whose layout is not.

    ``considered``: how many there are; ``fitting``: those that their chips' memory holds; ``why_none``: a sentence for
    where it holds none.
    """

    def __init__(self, steps: Iterable[Candidate], goal: Goal) -> None:
        self.goal = goal
        self.considered = 0
        self.fitting: list[Candidate] = []
        self.why_none = "no layout divides so: --count, --global-batch and the model have no common numbers."
        self._assignments: list[Assignment] = []
        self._outcomes: dict[int, Outcome] = {}
        least = None
        for request, step in steps:
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
        self.bounds = [self._score(each, least_step_ps(each)) for each in self._assignments]

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
        self._outcomes[place] = run(self._assignments[place])
        ps = self._outcomes[place].ps
        assert isinstance(ps, int)
        return self._score(self._assignments[place], ps)

    def _score(self, assignment: Assignment, ps: int) -> Score:
        point, seconds = assignment.point, ps / PICOSECONDS_PER_SECOND
        return self.goal.score(Reached(point.count, point.context / seconds, point.batch * point.context / seconds))
