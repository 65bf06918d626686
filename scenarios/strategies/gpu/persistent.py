"""Persistent kernels on a GPU: one a decoder, or one for all decoders (a megakernel)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial

import numpy as np

from chips.clock.time import plain
from chips.clock.timeline import Picoseconds, Time, Timeline, seconds_to_ps
from scenarios.strategies.gpu.kernel_prices import GpuGroup
from scenarios.strategies.gpu.per_operator import prepare
from scenarios.strategies.label import DEPENDENCY, FILL_DRAIN, LAUNCH, LINK
from scenarios.strategies.registry import strategy
from scenarios.strategies.segments import run_segment
from scenarios.strategies.stream import StreamStage, run_stages, stream_tiles
from scenarios.workload.operators import Attention, Collective, Elementwise, MatrixProduct, Operator, Step

# A megakernel cuts its shared memory into a dozen pages; with more than these few, totals change by under 2%.
BUFFER_TILES = 4


@strategy("fused_decoder", "gpu", fuses=True, streams=True)
def fused_decoder(clock: Timeline, group: GpuGroup, step: Step, launch: str) -> Time:
    """One persistent kernel a decoder: inside, operators wait for counters in memory; between, a kernel boundary."""
    return _persistent(clock, group, step, launch, looped=False)


@strategy("kernel_loop", "gpu", fuses=True, streams=True)
def kernel_loop(clock: Timeline, group: GpuGroup, step: Step, launch: str) -> Time:
    """One persistent kernel for the whole pass (a megakernel): a single launch, weights prefetched across operators.

    The stream buffer is the shared memory of all streaming multiprocessors.
    """
    return _persistent(clock, group, step, launch, looped=True)


def _persistent(clock: Timeline, group: GpuGroup, step: Step, launch: str, *, looped: bool) -> Time:
    costs = group.chip.generation.launch
    issue = seconds_to_ps(costs.host_operator if launch == "eager" else costs.graph_launch)
    gap = seconds_to_ps(costs.stream_gap if launch == "eager" else costs.graph_gap)
    gap += seconds_to_ps(group.chip.generation.matmul.startup_seconds)  # once, and no more for each operator
    prepare(clock, group)
    host = clock.engine("host")
    issued = clock.task(host, issue, label=LAUNCH, name="launch")
    buffer = clock.buffer(BUFFER_TILES)

    def boundary(ready: Time) -> Time:
        """A kernel ends and the next begins: every engine drains; eager launches also wait for the host."""
        issued = clock.task(host, issue, label=LAUNCH, name="launch") if launch == "eager" else ready
        return clock.barrier(gap, label=LAUNCH, name="kernel boundary", after=(ready, issued))

    def run(stages: Sequence[StreamStage], begins: bool, ready: Time) -> Time:
        return run_stages(clock, group.cluster, stages, buffer, boundary(ready) if begins else ready)

    ready = clock.barrier(gap, label=LAUNCH, name="kernel boundary", after=(issued,))
    for number, segment in enumerate(step.segments):
        begins = number > 0 and not looped  # a kernel of its own, as is each layer of a decoder
        ready = run_segment(clock, segment, partial(run, fused_stages(group, segment.operators), begins), ready)
    return ready


def fused_stages(group: GpuGroup, operators: Sequence[Operator]) -> list[StreamStage]:
    """Operators as stages of a persistent kernel.

    Normalisations and element-wise operators ride with the product before or after them: they keep their arithmetic
    and lose their own boundary. A product or attention fills and drains without the start of a kernel, and ends, like a
    collective, in a dependency: its last store, a counter in global memory, and the poll that sees it.
    """
    return [_remembered_stage(group, operator) for operator in operators]


def _remembered_stage(group: GpuGroup, operator: Operator) -> StreamStage:
    """``_stage``, once for each operator where chips are alike and it is of one pass."""
    if operator.several or group.cluster.slowdown is not None:
        return _stage(group, operator)
    if operator not in group.stages:
        group.stages[operator] = _stage(group, operator)
    return group.stages[operator]


def _stage(group: GpuGroup, operator: Operator) -> StreamStage:
    chip = group.chip
    price, cluster = group.price_inside(operator), group.cluster
    synchronization: dict[Hashable, Picoseconds] = {DEPENDENCY: seconds_to_ps(chip.generation.launch.dependency)}
    match operator:
        case Elementwise():
            return StreamStage(operator, price.label, "compute", 0, price.steady_on(cluster), {})
        case Collective():
            return StreamStage(operator, price.label, LINK, 0, price.steady, synchronization)
        case MatrixProduct() | Attention():
            bandwidth = chip.streaming_bandwidth
            precision = operator.precision if isinstance(operator, MatrixProduct) else "bf16"
            arithmetic = seconds_to_ps(operator.flops / chip.peak_flops(precision))
            # Another kernel may suit operands that come from memory: of both, the one that takes less is run.
            fed = group.price_fed(operator)
            own, filling = np.maximum(fed.steady, arithmetic), np.asarray(fed.fill_drain)
            longer = own + filling > price.steady + price.fill_drain
            own = np.where(longer, price.steady, own)
            filling = np.where(longer, price.fill_drain, filling) - group.starting(operator)
            return StreamStage(
                operator,
                price.label,
                "compute",
                load=cluster.stretch(seconds_to_ps(operator.stream_bytes / bandwidth), "memory"),
                compute=cluster.stretch(plain(own), "clock"),
                latency={FILL_DRAIN: cluster.stretch(plain(filling), "clock")} | synchronization,
                tiles=stream_tiles(
                    operator, operator.stream_bytes, chip.compute.units * chip.on_chip.shared_bytes / BUFFER_TILES
                ),
            )
