"""Persistent kernels on a GPU: one a decoder, or one for all decoders (a megakernel).

Inside, blocks go from operator to operator without a kernel boundary; what is left of one depends on how they wait for
each other (``framework.Synchronization``). Counters: whoever needs a result polls a counter in memory, and loads of
weights run ahead as far as shared memory holds them. A barrier: all blocks wait for all others after each operator, and
loads start anew. A counter a tile: the same after each tile of weights, as a generator writes it that knows nothing of
the operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from chips.clock.time import plain
from chips.clock.timeline import Picoseconds, Time, Timeline, seconds_to_ps
from results.words import HOST_LAUNCHES
from scenarios.strategies.gpu.kernel_prices import GpuGroup
from scenarios.strategies.gpu.per_operator import launched_ahead, prepare
from scenarios.strategies.label import DEPENDENCY, DRAIN, HBM, HOST, LAUNCH, LINK, RAMP, Label
from scenarios.strategies.registry import strategy
from scenarios.strategies.segments import run_segment
from scenarios.workload.operators import Attention, Collective, Conversion, Elementwise, MatrixProduct, Operator, Step

PAGE_BYTES = 16384
"""Of shared memory, in which weights come: a page of Hazy Research's interpreter, a stage of CUTLASS's pipelines."""


@dataclass(frozen=True, slots=True)
class PersistentStage:
    """One operator inside a persistent kernel, in picoseconds.

    ``load``: reading its weights or KV cache from HBM. ``compute``: what takes as long as the other engines of the chip
    do, beside the loads; of a collective, on the link. ``drain``: the last tile. ``alone``: all of it where no load ran
    ahead, without ramp and drain; ``ramp``: the first bytes then. ``tiles``: of weights that a streaming multiprocessor
    reads, one after the other.
    """

    operator: Operator
    label: Label
    load: Picoseconds
    compute: Picoseconds
    drain: Picoseconds
    alone: Picoseconds
    ramp: Picoseconds
    tiles: Picoseconds


@strategy("fused_decoder", "gpu", fuses=True, streams=True)
def fused_decoder(clock: Timeline, group: GpuGroup, step: Step, launch: str) -> Time:
    """One persistent kernel a decoder: inside, operators wait for each other in memory; between, a kernel boundary."""
    return _persistent(clock, group, step, launch, looped=False)


@strategy("kernel_loop", "gpu", fuses=True, streams=True, loops=True)
def kernel_loop(clock: Timeline, group: GpuGroup, step: Step, launch: str) -> Time:
    """One persistent kernel for the whole pass (a megakernel): a single launch, weights prefetched across operators."""
    return _persistent(clock, group, step, launch, looped=True)


def _persistent(clock: Timeline, group: GpuGroup, step: Step, launch: str, *, looped: bool) -> Time:
    costs, by_host = group.chip.generation.launch, launch in HOST_LAUNCHES
    prepared = prepare(clock, group, step)
    call = {"eager": costs.host_operator, "compiled": costs.host_kernel}.get(launch, costs.graph_launch)
    issue = group.boundary(HOST, seconds_to_ps(call))
    start = seconds_to_ps((costs.stream_gap if by_host else costs.graph_gap) + costs.kernel_start)
    ramp = seconds_to_ps(max(group.chip.generation.matmul.startup_seconds - costs.kernel_start, 0.0))
    begin = group.boundary(LAUNCH, start) | group.boundary(RAMP, ramp)
    ahead = launched_ahead(group) if launch == "pdl" else None
    host = clock.engine("host")

    def boundary(ready: Time) -> Time:
        """A kernel ends and the next begins: every engine drains, but for one that was launched ahead."""
        if ahead is not None:
            admission, dependency = ahead
            clock.task(clock.engine(HBM), admission | group.boundary(RAMP, ramp), name="kernel boundary")
            return clock.task(clock.engine("compute"), dependency, (ready,), name="kernel boundary")
        issued = clock.task(host, issue, name="launch") if by_host else ready
        return clock.barrier(begin, name="kernel boundary", after=(ready, issued))

    def run(stages: Sequence[PersistentStage], begins: bool, ready: Time) -> Time:
        return _run_stages(clock, group, stages, boundary(ready) if begins else ready)

    hidden = group.framework.overlapped and not by_host
    issued = prepared if hidden else clock.task(host, issue, name="launch")
    ready = clock.barrier(begin, name="kernel boundary", after=(issued,))
    for number, segment in enumerate(step.segments):
        begins = number > 0 and not looped  # a kernel of its own, as is each layer of a decoder
        ready = run_segment(clock, segment, partial(run, fused_stages(group, segment.operators), begins), ready)
    return ready


def waits_of_step(group: GpuGroup, step: Step) -> int:
    """How many times in one pass an operator waits for another one's results."""
    compiled = group.framework.synchronization in ("compiled", "tile")
    return sum(
        segment.times * sum(compiled or not rides(operator) for operator in segment.operators)
        for segment in step.segments
    )


def rides(operator: Operator) -> bool:
    """Whether an operator is part of the one before or after it: element-wise, so that no row waits for another."""
    return isinstance(operator, Elementwise) and not (isinstance(operator, Conversion) and operator.searches)


def _run_stages(clock: Timeline, group: GpuGroup, stages: Sequence[PersistentStage], ready: Time) -> Time:
    """Issue one pass through ``stages`` whose first input is complete at ``ready``; the time of the last result."""
    issue = _in_order if group.framework.synchronization in ("barrier", "tile") else _by_counters
    for stage in stages:
        if isinstance(stage.operator, Collective):
            ready = group.cluster.meet(clock, ready)
        ready = issue(clock, group, stage, ready)
    return ready


def _by_counters(clock: Timeline, group: GpuGroup, stage: PersistentStage, ready: Time) -> Time:
    """Loads run ahead of ``ready`` by what shared memory holds; the result is there when its counter has been seen."""
    costs, compiled = group.chip.generation.launch, group.framework.synchronization == "compiled"
    operator, name = stage.operator, stage.operator.name
    if rides(operator) and not compiled:
        return clock.task(clock.engine("compute"), stage.compute, (ready,), stage.label, name, operator)
    memory = clock.engine(HBM)
    held = seconds_to_ps(costs.compiled_dispatch if compiled else costs.hand_dispatch)
    begun = clock.task(memory, group.boundary(DEPENDENCY, held), name=name, of=operator)
    engine = clock.engine(LINK if isinstance(operator, Collective) else "compute")
    done = clock.task(engine, stage.compute, (begun, ready), stage.label, name, operator)
    if not isinstance(operator, Collective | Elementwise):
        chip = group.chip
        room = seconds_to_ps(chip.compute.units * chip.on_chip.shared_bytes / chip.streaming_bandwidth)
        loading = Label(stage.label.part, HBM)
        ahead = np.minimum(stage.load, room)
        clock.task(memory, plain(ahead), (), loading, name, operator)
        loaded = clock.task(memory, plain(stage.load - ahead), (ready,), loading, name, operator)
        done = clock.join(done, loaded)
    seen = group.boundary(DRAIN, stage.drain) | group.boundary(DEPENDENCY, seconds_to_ps(costs.counter))
    return clock.task(clock.engine("results"), seen, (done,), name=name, of=operator)


def _in_order(clock: Timeline, group: GpuGroup, stage: PersistentStage, ready: Time) -> Time:
    """Nothing is loaded before all blocks have met at a barrier, or before the counter of the tile before was seen.

    By tiles there is a ramp, a sum of rows and a wait for each of them.
    """
    chip, operator, name = group.chip, stage.operator, stage.operator.name
    engine = clock.engine(LINK if isinstance(operator, Collective) else "compute")
    tiles, row, wait = stage.tiles, 0, seconds_to_ps(chip.generation.launch.counter)
    if group.framework.synchronization == "tile":
        vector = chip.generation.vector
        row = seconds_to_ps((vector.reduction_cycles + vector.l2_latency_cycles) / chip.compute.clock_hz)
    elif rides(operator):
        return clock.task(engine, stage.compute, (ready,), stage.label, name, operator)
    else:
        tiles, wait = 1, seconds_to_ps(chip.generation.launch.barrier)
    durations = group.boundary(RAMP, stage.ramp * tiles) | {stage.label: stage.alone}
    durations |= group.boundary(DRAIN, stage.drain + row * tiles) | group.boundary(DEPENDENCY, wait * tiles)
    return clock.task(engine, durations, (ready,), name=name, of=operator)


def fused_stages(group: GpuGroup, operators: Sequence[Operator]) -> list[PersistentStage]:
    """Operators as stages of a persistent kernel: they keep their arithmetic and lose the start of a kernel."""
    return [_remembered_stage(group, operator) for operator in operators]


def _remembered_stage(group: GpuGroup, operator: Operator) -> PersistentStage:
    """``_stage``, once for each operator where chips are alike and it is of one pass."""
    if operator.several or group.cluster.slowdown is not None:
        return _stage(group, operator)
    if operator not in group.stages:
        group.stages[operator] = _stage(group, operator)
    return group.stages[operator]


def _stage(group: GpuGroup, operator: Operator) -> PersistentStage:
    chip, cluster = group.chip, group.cluster
    price = group.price_inside(operator)
    steady = price.steady_on(cluster)
    if not isinstance(operator, MatrixProduct | Attention):
        return PersistentStage(operator, price.label, 0, steady, 0, steady, 0, 1)
    matmul = chip.generation.matmul
    precision = operator.precision if isinstance(operator, MatrixProduct) else "bf16"
    arithmetic = seconds_to_ps(operator.flops / chip.peak_flops(precision))
    load = cluster.stretch(seconds_to_ps(operator.stream_bytes / chip.streaming_bandwidth), "memory")
    # Another kernel may suit operands that come from memory: of both, the one that takes less beside its loads is run.
    fed = group.price_fed(operator)
    own, filling = np.maximum(fed.steady, arithmetic), np.asarray(fed.drain)
    longer = np.maximum(load, own) + filling > np.maximum(load, price.steady) + price.drain
    own, filling = np.where(longer, price.steady, own), np.where(longer, price.drain, filling)
    return PersistentStage(
        operator,
        price.label,
        load=load,
        compute=cluster.stretch(plain(own), "clock"),
        drain=cluster.stretch(plain(filling), "clock"),
        alone=steady,
        ramp=cluster.stretch(seconds_to_ps(matmul.memory_latency_cycles / chip.compute.highest_clock_hz), "clock"),
        tiles=plain(np.ceil(np.maximum(operator.stream_bytes / (chip.compute.units * PAGE_BYTES), 1)).astype(np.int64)),
    )
