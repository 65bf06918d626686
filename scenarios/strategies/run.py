"""A strategy run: one pass of a step issued on the clock of a group of chips."""

from __future__ import annotations

from chips.clock.timeline import Time, Timeline
from chips.spec import Dataflow, Gpu, Systolic
from cluster import Cluster
from scenarios.framework import Framework
from scenarios.strategies.dataflow.stages import TILE_TOKENS, DataflowGroup
from scenarios.strategies.gpu.kernel_prices import gpu_group
from scenarios.strategies.registry import strategy_on
from scenarios.workload.operators import Step


def run_strategy(
    clock: Timeline,
    cluster: Cluster,
    strategy: str,
    step: Step,
    launch: str,
    framework: Framework,
) -> Time:
    """Issue one pass of ``step`` on every chip of ``cluster``; the time at which its last kernel ends.

    ``launch`` is one of the chip's two words in ``results.words.LAUNCHES``. Raises DoesNotFit with numbers when the
    strategy does not fit the chip.
    """
    chip = cluster.chip
    issue = strategy_on(chip, strategy).issue
    if isinstance(chip, Gpu):
        return issue(clock, gpu_group(chip, cluster, framework), step, launch)
    assert isinstance(chip, Dataflow)
    return issue(clock, DataflowGroup(chip, cluster), step, launch)


def side_by_side(chip: Gpu | Dataflow | Systolic, tokens: int) -> bool:
    """Whether passes of ``tokens`` tokens at many contexts can be one pass with a lane for each, mapped alike.

    A dataflow chip may map a batch that fills several tiles of tokens differently as its context grows.
    """
    return not chip.lays_out_in_space or tokens < 2 * TILE_TOKENS
