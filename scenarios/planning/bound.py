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

from chips.spec import Dataflow, Gpu
from scenarios.framework import Framework
from scenarios.strategies.label import Label
from scenarios.strategies.one_pass import pass_parts
from scenarios.training.shared_parameters import MOST_REMEMBERED
from scenarios.training.stages import TrainingStages
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


def least_step_ps(step: TrainingStages) -> int:
    """Picoseconds that a training step of alike chips takes at least."""
    layers, how = step.point.model.layers, (*step.how(step.point.chip), step.free)
    forward, backward = (_passes(layers, *how, work) for work in (step.work.forward, step.work.backward))
    stages, chunks = step.layout.pipeline, step.layout.interleaved
    decoders = decoders_of(layers, stages * chunks)
    through = {number: forward.least(number) + backward.least(number) for number in set(decoders)}
    # A stage sends on what every run but the last has made forward, and every one but the first backward.
    sent = 2 * int(sum(step.send(0).values())) if stages > 1 else 0
    before = longest = 0
    for stage in range(stages):
        own = sum(through[decoders[run]] + sent for run in range(stage, stages * chunks, stages))
        own -= sent // 2 * ((stage == 0) + (stage == stages - 1))
        longest = max(longest, before + step.micro_batches * own)
        before += through[decoders[stage]] + (sent if stage else sent // 2)
    return longest


@lru_cache(MOST_REMEMBERED)
def _passes(
    layers: int,
    chip: Gpu | Dataflow,
    ranks: int,
    strategy: str,
    launch: str,
    framework: Framework,
    free: frozenset[Label],
    step: Step,
) -> Passes:
    def ps(decoders: int) -> int:
        part = step.part(decoders, layers, begins=False, ends=False)
        return int(sum(pass_parts(chip, ranks, strategy, launch, framework, part, free).values()))

    return Passes(layers, ps(layers), ps(1) - ps(0))
