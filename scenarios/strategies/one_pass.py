"""One pass of a step on a tensor-parallel group whose chips are all as their datasheet says."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np

from chips.spec import Dataflow, Gpu
from cluster import Cluster
from scenarios.framework import Framework
from scenarios.strategies.gpu.per_operator import one_after_another
from scenarios.strategies.label import Label
from scenarios.strategies.run import run_strategy
from scenarios.workload.operators import Decoder, Segment, Step

MOST_REMEMBERED = 2**14  # segments: layouts of one model on one chip share most of theirs


@lru_cache(MOST_REMEMBERED)
def pass_parts(
    chip: Gpu | Dataflow,
    ranks: int,
    strategy: str,
    launch: str,
    framework: Framework,
    step: Step,
    free: frozenset[Label] = frozenset(),
) -> Mapping[Hashable, int]:
    """Picoseconds of the pass by label, of which those that are ``free`` cost nothing.

    Where kernels run one after the other, each segment adds what it takes alone, as often as it runs; elsewhere the
    whole pass runs on its clock. Raises DoesNotFit as ``run_strategy`` does.
    """
    how = chip, ranks, strategy, launch, framework
    if free or not (isinstance(chip, Gpu) and one_after_another(strategy, launch, framework)):
        return run_pass(*how, step, free)
    nothing = _alone(*how, Segment(()))
    found = dict(nothing)
    for segment in step.segments:
        once = replace(segment, layers=1) if isinstance(segment, Decoder) else segment
        for label, ps in _alone(*how, once).items():
            found[label] = found.get(label, 0) + segment.times * (ps - nothing.get(label, 0))
    return found


@lru_cache(MOST_REMEMBERED)
def _alone(
    chip: Gpu | Dataflow, ranks: int, strategy: str, launch: str, framework: Framework, segment: Segment
) -> Mapping[Hashable, int]:
    """A pass that is this segment."""
    return run_pass(chip, ranks, strategy, launch, framework, Step((segment,)))


def run_pass(
    chip: Gpu | Dataflow,
    ranks: int,
    strategy: str,
    launch: str,
    framework: Framework,
    step: Step,
    free: frozenset[Label] = frozenset(),
) -> dict[Hashable, int]:
    """The same, whatever it is, on its clock; labels that are ``free`` cost nothing."""
    cluster = Cluster(chip, ranks)
    clock = cluster.start_clock()
    finish = run_strategy(clock, cluster, strategy, step, launch, framework, free)
    return {label: int(np.max(ps)) for label, ps in cluster.meet(clock, finish).parts.items()}
