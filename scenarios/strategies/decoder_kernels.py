"""How many kernels a decoder is cut into, and how often one is launched for it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from chips.spec import Dataflow, Gpu
from cluster import Cluster
from scenarios.framework import Framework
from scenarios.strategies.dataflow.choice import plan_for
from scenarios.strategies.dataflow.stages import DataflowGroup
from scenarios.strategies.gpu.kernel_prices import gpu_group
from scenarios.strategies.gpu.per_operator import kernels_of_step
from scenarios.strategies.registry import strategy_on
from scenarios.workload.operators import Decoder, Step

MOST_REMEMBERED = 2**12


class DecoderKernels(NamedTuple):
    """``kernels`` that work for one decoder; ``launches`` of any for it, the mean over all decoders of a pass."""

    kernels: int
    launches: float


@lru_cache(MOST_REMEMBERED)
def decoder_kernels(
    chip: Gpu | Dataflow, ranks: int, strategy: str, launch: str, framework: Framework, decoder: Decoder, runs: int
) -> DecoderKernels:
    """Those of one of the decoders of a pass under a strategy, on a group of so many chips.

    ``runs``: of decoders, which stages launch each by itself.
    """
    how = strategy_on(chip, strategy)
    if isinstance(chip, Dataflow) and how.fuses:
        run = replace(decoder, layers=-(-decoder.layers // runs))
        plan = plan_for(DataflowGroup(chip, Cluster(chip, ranks)), run, launch, looped=how.loops)
        kernels = len(plan.kernels)
        return DecoderKernels(kernels, kernels * runs / decoder.layers if plan.looped else kernels)
    if how.fuses:
        return DecoderKernels(1, runs / decoder.layers if how.loops else 1.0)
    if isinstance(chip, Dataflow):
        kernels = len(decoder.operators)
    else:
        group = gpu_group(chip, Cluster(chip, ranks), framework)
        kernels = kernels_of_step(group, Step((replace(decoder, layers=1),)), launch)
    return DecoderKernels(kernels, float(kernels))
