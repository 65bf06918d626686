"""A strategy run: one pass of a step issued on the clock of a group of chips."""

from __future__ import annotations

import numpy as np

from chips.clock.time import IntArray
from chips.clock.timeline import Time, Timeline
from chips.spec import Dataflow, Gpu
from cluster import Cluster
from scenarios.framework import Framework
from scenarios.strategies.dataflow.choice import laid_out_alike
from scenarios.strategies.dataflow.stages import DataflowGroup
from scenarios.strategies.gpu.kernel_prices import gpu_group
from scenarios.strategies.label import Label
from scenarios.strategies.registry import strategy_on
from scenarios.workload.operators import Step, passes_in


def run_strategy(
    clock: Timeline,
    cluster: Cluster,
    strategy: str,
    step: Step,
    launch: str,
    framework: Framework,
    free: frozenset[Label] = frozenset(),
) -> Time:
    """Issue one pass of ``step`` on every chip of ``cluster``; the time at which its last kernel ends.

    ``free``: labels of a kernel boundary on a GPU that cost nothing, to see what they cost.

    ``launch`` is one of the chip's words in ``results.words.LAUNCHES``. Raises DoesNotFit with numbers when the
    strategy does not fit the chip.
    """
    chip = cluster.chip
    issue = strategy_on(chip, strategy).issue
    if isinstance(chip, Gpu):
        return issue(clock, gpu_group(chip, cluster, framework, free), step, launch)
    assert isinstance(chip, Dataflow)
    return issue(clock, DataflowGroup(chip, cluster), step, launch)


def alike_passes(cluster: Cluster, step: Step, launch: str) -> list[IntArray]:
    """The passes of a step in groups, each of which can be one pass with a lane for each: mapped to the chip alike.

    In the order of their first. A dataflow chip maps each pass as is best for its batch and context.
    """
    if isinstance(cluster.chip, Dataflow):
        return laid_out_alike(cluster.chip, cluster.count, step, launch)
    return [np.arange(passes_in(step.operators))]
