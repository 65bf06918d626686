"""The clock of a training step whose replicas are all alike, in plain integers.

It is the recurrence of ``scenarios.training.clock`` to the picosecond; of the explanation of a time only the part is
kept that went into collectives of gradients and parameters. Passes run in *turns*: in each a stage has at most one
forward pass, and after it one backward pass. Forward pass j of stage s is in turn j + s; backward pass n, with one run
a stage, in the turn in which the last stage has forward pass n; with several runs a stage, s turns sooner and as much
later as fills all of them. So what a pass needs was done in the turn before, or in the same one by the stage behind.

In the steady state the turns of one group of micro-batches (with one run a stage: one) are one and the same max-plus
map of the state before them, without a constant from outside. Where it has moved the whole state by one shift and left
its explanation as it was, it does so again: the rest of the steady state is one multiplication.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from chips.clock.time import Time
from scenarios.training.clock import GRADIENTS, WORK, Stage, pieces, slower_ps


def run_alike_step(stages: Sequence[Stage], micro_batches: int, norm_ps: int, *, overlapped: bool) -> Time:
    """When one step is over, as ``scenarios.training.clock.run_step`` has it with one lane; durations are ints."""
    passes = _Passes(stages, micro_batches, overlapped)
    passes.run()
    # In the order in which that clock makes its engines: of equal times the first tells.
    ends = [(0, 0), *passes.networks(), *zip(passes.free, passes.spent, strict=True)]
    ready, spent = max(ends, key=lambda end: end[0])
    finish = ready + norm_ps + max(int(sum(stage.optimizer.values())) for stage in stages)
    return Time(finish, {GRADIENTS: spent + norm_ps, WORK: finish - spent - norm_ps})


class _Passes:
    """The stages while they run: when each is ``free``, and when the last pass of either kind has left it.

    Beside each time, how much of it was ``spent`` on gradients and parameters. Passes are numbered on every stage:
    ``group`` of them are those of as many micro-batches, ``width``, through all its runs.
    """

    def __init__(self, stages: Sequence[Stage], micro_batches: int, overlapped: bool) -> None:
        self.stages, self.overlapped = stages, overlapped
        self.count, self.chunks = len(stages), len(stages[0].runs)
        self.several = self.chunks > 1
        self.width = self.count if self.several else 1
        self.group = self.width * self.chunks
        self.total = micro_batches * self.chunks
        self.forward_ps = [[int(sum(run.forward.values())) for run in stage.runs] for stage in stages]
        self.backward_ps = [[int(sum(run.backward.values())) for run in stage.runs] for stage in stages]
        self.free, self.ahead, self.back = ([0] * self.count for _ in range(3))
        self.spent, self.ahead_spent, self.back_spent = ([0] * self.count for _ in range(3))
        # When the parameters of each bucket are there, in the order of the forward passes.
        gathers = [[bucket.gather_ps for run in stage.runs for bucket in run.buckets[::-1]] for stage in stages]
        self.gathered = [list(accumulate(of_stage)) for of_stage in gathers]
        # When the network of each stage is free, and what of that was spent on gradients and parameters.
        self.network = [(gathered[-1], gathered[-1]) if gathered else (0, 0) for gathered in self.gathered]

    def run(self) -> None:
        """Every pass of every stage, turn by turn."""
        filled = (self.count - 1) * (2 if self.several else 1) + (self.chunks - 1) * self.count
        turn, end, steady = 0, self.total + filled, self.total - self.group
        moving = (self.free, self.ahead, self.back)
        staying = (self.spent, self.ahead_spent, self.back_spent)
        before: list[list[int]] = []
        while turn < end:
            if filled < turn < steady and (turn - filled) % self.group == 0:
                now = [times[:] for times in (*moving, *staying)]
                shift = _shift(before, now)
                before = now
                if shift:
                    groups = (steady - turn) // self.group
                    for times in moving:
                        times[:] = [time + groups * shift for time in times]
                    turn += groups * self.group
            self._forwards(turn)
            self._backwards(turn - filled)
            turn += 1

    def networks(self) -> list[tuple[int, int]]:
        """When the network of each stage has summed all its gradients, and what of that was spent on them."""
        if not self.overlapped:
            for number, stage in enumerate(self.stages):
                for run in stage.runs:
                    for bucket in run.buckets:
                        self._sum(number, bucket.sum_ps)
        return self.network

    def _forwards(self, turn: int) -> None:
        """From the last stage to the first: each starts from what the one before it has made in the turn before."""
        free, spent, ahead, ahead_spent = self.free, self.spent, self.ahead, self.ahead_spent
        group, width, durations = self.group, self.width, self.forward_ps
        around, around_spent = ahead[-1], ahead_spent[-1]
        for stage in range(min(self.count - 1, turn), max(-1, turn - self.total), -1):
            number = turn - stage
            chunk = number % group // width
            if stage:
                if ahead[stage - 1] > free[stage]:
                    free[stage], spent[stage] = ahead[stage - 1], ahead_spent[stage - 1]
            elif chunk and around > free[0]:
                free[0], spent[0] = around, around_spent
            if number < group and number % width == 0:
                self._first_forward(stage, chunk)
            else:
                free[stage] += durations[stage][chunk]
            ahead[stage], ahead_spent[stage] = free[stage], spent[stage]

    def _backwards(self, turn: int) -> None:
        """Each stage starts from what the one behind it has made: with one run a stage in this turn, else before it."""
        free, spent, back, back_spent = self.free, self.spent, self.back, self.back_spent
        group, width, durations, final = self.group, self.width, self.backward_ps, self.chunks - 1
        around, around_spent = back[0], back_spent[0]
        for stage in range(self.count) if self.several else range(self.count - 1, -1, -1):
            number = turn + stage if self.several else turn
            if not 0 <= number < self.total:
                continue
            chunk = final - number % group // width
            if stage < self.count - 1:
                if back[stage + 1] > free[stage]:
                    free[stage], spent[stage] = back[stage + 1], back_spent[stage + 1]
            elif chunk < final and around > free[stage]:
                free[stage], spent[stage] = around, around_spent
            if number >= self.total - group and number % width == width - 1:
                self._last_backward(stage, chunk)
            else:
                free[stage] += durations[stage][chunk]
            back[stage], back_spent[stage] = free[stage], spent[stage]

    def _first_forward(self, stage: int, chunk: int) -> None:
        """The pass that waits for parameters: overlapped, piece by piece; otherwise for all of the stage."""
        runs, gathered = self.stages[stage].runs, self.gathered[stage]
        buckets, whole = runs[chunk].buckets[::-1], self.forward_ps[stage][chunk]
        if not buckets:
            self.free[stage] += whole
        elif not self.overlapped:
            self._wait_and_run(stage, gathered[-1], whole)
        else:
            place = sum(len(run.buckets) for run in runs[:chunk])
            for there, ps in zip(gathered[place:], pieces(whole, buckets), strict=False):
                self._wait_and_run(stage, there, int(ps), runs[chunk].lost[0])

    def _wait_and_run(self, stage: int, there: int, ps: int, lost: float = 0.0) -> None:
        if there > self.free[stage]:
            self.free[stage] = self.spent[stage] = there
        self._run_beside(stage, ps, lost)

    def _run_beside(self, stage: int, ps: int, lost: float) -> None:
        """A piece of a pass that loses so much of its speed until the network is free."""
        busy = max(self.network[stage][0] - self.free[stage], 0)
        self.free[stage] += ps + slower_ps(busy, ps, lost)

    def _sum(self, stage: int, sum_ps: int) -> None:
        """The network sums what is ready now."""
        end, spent = max(self.network[stage], (self.free[stage], self.spent[stage]), key=lambda time: time[0])
        self.network[stage] = (end + sum_ps, spent + sum_ps)

    def _last_backward(self, stage: int, chunk: int) -> None:
        """The pass after which gradients are summed: overlapped, each bucket as soon as its decoders are through."""
        buckets, whole = self.stages[stage].runs[chunk].buckets, self.backward_ps[stage][chunk]
        if not (buckets and self.overlapped):
            self.free[stage] += whole
            return
        for bucket, ps in zip(buckets, pieces(whole, buckets), strict=True):
            self._run_beside(stage, int(ps), self.stages[stage].runs[chunk].lost[1])
            self._sum(stage, bucket.sum_ps)


def _shift(before: list[list[int]], now: list[list[int]]) -> int:
    """By how much all times have moved since ``before``; 0 where not all by the same, or with another explanation."""
    if not before or before[3:] != now[3:]:
        return 0
    shift = now[0][0] - before[0][0]
    moved = all(
        b - a == shift
        for times, later in zip(before[:3], now[:3], strict=True)
        for a, b in zip(times, later, strict=True)
    )
    return shift if moved else 0
