"""How operators become kernels: three strategies on the same operator list, for each kind of chip.

A strategy is one function ``(clock, machine, step, launch) -> Time`` that issues a whole pass on the clock. Adding one
is adding a function to the module of its kind of chip and its name to ``STRATEGIES``.
"""

from __future__ import annotations

from chips.spec import Dataflow, Gpu
from chips.timeline import Time, Timeline
from cluster import Cluster
from scenarios.errors import DoesNotFit
from scenarios.framework import Framework
from scenarios.machine import gpu_machine
from scenarios.operators import Step
from scenarios.strategies import dataflow, gpu

STRATEGIES = {
    "per_operator": (gpu.per_operator, dataflow.per_operator),
    "fused_decoder": (gpu.fused_decoder, dataflow.fused_decoder),
    "kernel_loop": (gpu.kernel_loop, dataflow.kernel_loop),
}

# The two ways to sequence launches, as users of each kind of chip call them: by the host, or on the device.
LAUNCHES = {"gpu": ("eager", "graph"), "dataflow": ("software", "hardware"), "systolic": ("software", "hardware")}
BY_HOST, BY_DEVICE = 0, 1


def run_strategy(
    clock: Timeline,
    cluster: Cluster,
    strategy: str,
    step: Step,
    launch: str,
    framework: Framework,
) -> Time:
    """Issue one pass of ``step`` on every chip of ``cluster``; the time at which its last kernel ends.

    ``launch`` is one of the chip's two words in ``LAUNCHES``. Raises DoesNotFit with numbers when the strategy does not
    fit the chip.
    """
    on_gpu, on_dataflow = STRATEGIES[strategy]
    chip = cluster.chip
    if isinstance(chip, Gpu):
        return on_gpu(clock, gpu_machine(chip, cluster, framework), step, launch)
    if isinstance(chip, Dataflow):
        return on_dataflow(clock, dataflow.DataflowMachine(chip, cluster), step, launch)
    raise DoesNotFit(
        f"{chip.name} computes matrix products only; a decoder needs softmax, normalisation and a KV cache"
    )
