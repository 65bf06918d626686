"""A time that a training layout cannot beat, from a few passes that many layouts share.

A search prices only layouts of which this says that they could be among the best. Of the forward and of the backward
pass two times are known: ``whole``, of all decoders in a row, and ``one``, by how much a single one more can lengthen
any pass, since all its work can begin where everything before it is done. So n of N decoders take at least ``whole``
less (N - n) times ``one``: what they overlap with others is bought once. A stage computes its runs for every
micro-batch, begins when the stages before it have forwarded the first one, and ends before they have passed the last
one back.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from chips.spec import Dataflow, Gpu, Systolic
from scenarios.assignment import Assignment
from scenarios.framework import Framework
from scenarios.training.shared_parameters import MOST_REMEMBERED
from scenarios.training.stages import spent_alike, training_work
from scenarios.workload.operators import Step
from scenarios.workload.pipeline_schedule import decoders_of


class Passes(NamedTuple):
    """Picoseconds of one pass through all decoders, and by how much one of them can lengthen any pass."""

    layers: int
    whole: int
    one: int

    def least(self, decoders: int) -> int:
        """What so many decoders take at least."""
        return max(0, self.whole - (self.layers - decoders) * self.one)


def least_step_ps(assignment: Assignment) -> int:
    """Picoseconds that a training step of alike chips takes at least."""
    point, layout = assignment.point, assignment.layout
    assert not isinstance(point.chip, Systolic)
    work = training_work(assignment)
    how = point.chip, layout.tensor, point.strategy, point.launch, point.framework
    forward, backward = (_passes(*how, step) for step in (work.forward, work.backward))
    stages, chunks = layout.pipeline, layout.interleaved
    micro_batches = point.batch // (layout.replicas(point.count) * layout.micro_batch)
    decoders = decoders_of(point.model.layers, stages * chunks)
    through = {number: forward.least(number) + backward.least(number) for number in set(decoders)}
    before = longest = 0
    for stage in range(stages):
        own = sum(through[decoders[run]] for run in range(stage, stages * chunks, stages))
        longest = max(longest, before + micro_batches * own)
        before += through[decoders[stage]]
    return longest


@lru_cache(MOST_REMEMBERED)
def _passes(chip: Gpu | Dataflow, ranks: int, strategy: str, launch: str, framework: Framework, step: Step) -> Passes:
    layers = step.decoders[0].layers

    def ps(decoders: int) -> int:
        part = step.part(decoders, begins=False, ends=False)
        return int(sum(spent_alike(chip, ranks, strategy, launch, framework, part).values()))

    return Passes(layers, ps(layers), ps(1) - ps(0))
