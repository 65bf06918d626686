"""The three strategies on a GPU: a kernel an operator, a persistent kernel a decoder, one kernel for all decoders."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from chips.clock.time import plain
from chips.clock.timeline import Picoseconds, Time, Timeline, seconds_to_ps
from chips.kernels.matmul.price import hbm_read_rate
from scenarios.machine import DEPENDENCY, FILL_DRAIN, HOST, LAUNCH, LINK, GpuMachine
from scenarios.operators import Attention, Collective, Elementwise, MatrixProduct, Operator, Step
from scenarios.strategies.exchange import Kernel, issue_overlapped
from scenarios.strategies.registry import strategy
from scenarios.strategies.stream import StreamStage, run_stages, stream_tiles

# A megakernel cuts its shared memory into a dozen pages; with more than these few, totals change by under 2%.
BUFFER_TILES = 4


@strategy("per_operator", "gpu")
def per_operator(clock: Timeline, machine: GpuMachine, step: Step, launch: str) -> Time:
    """Every operator is a kernel, a collective too; the next one starts when the one before has drained."""
    _prepare(clock, machine)
    run = _eager if launch == "eager" else _graph
    return run(clock, machine, step)


def _prepare(clock: Timeline, machine: GpuMachine) -> None:
    """The framework's host work before a pass: scheduling, inputs, the last token read back."""
    host_step = seconds_to_ps(machine.framework.host_step_seconds)
    clock.task(clock.engine("host"), host_step, label=HOST, name=f"{machine.framework.name} step")


def _graph(clock: Timeline, machine: GpuMachine, step: Step) -> Time:
    """CUDA graph: the host issues the whole step once; then a device-side gap before each kernel."""
    launch = machine.chip.generation.launch
    gap = seconds_to_ps(launch.graph_gap)
    host = clock.engine("host")
    issued = clock.task(host, seconds_to_ps(launch.graph_launch), label=LAUNCH, name="graph launch")

    def kernel(operator: Operator, ready: Time) -> Time:
        return _kernel(clock, machine, operator, gap, ready)

    return _chain(clock, machine, step, kernel, issued)


def _eager(clock: Timeline, machine: GpuMachine, step: Step) -> Time:
    """The host issues every kernel of every operator, one framework call after another; the device waits or lags."""
    launch = machine.chip.generation.launch
    call = seconds_to_ps(machine.framework.host_operator_seconds or launch.host_operator)
    collective_call = seconds_to_ps(launch.host_collective)
    gap = seconds_to_ps(launch.stream_gap)
    host = clock.engine("host")

    def kernel(operator: Operator, ready: Time) -> Time:
        cost = collective_call if isinstance(operator, Collective) else call
        issue = cost * machine.kernels_of(operator)
        issued = clock.task(host, issue, label=LAUNCH, name=f"{operator.name} issue")
        return _kernel(clock, machine, operator, gap, clock.join(ready, issued))

    return _chain(clock, machine, step, kernel, host.free)


def _chain(clock: Timeline, machine: GpuMachine, step: Step, kernel: Kernel, ready: Time) -> Time:
    """A pass in which every kernel waits for the one before it, but for what a framework overlaps."""

    def run(operators: Sequence[Operator], ready: Time) -> Time:
        if machine.framework.overlaps_collectives:
            return issue_overlapped(clock, machine, kernel, operators, ready)
        for operator in operators:
            ready = kernel(operator, ready)
        return ready

    ready = run(step.before, ready)
    (ready,) = clock.loop(step.layers, lambda carried: (run(step.decoder, carried[0]),), (ready,), "layer")
    return run(step.after, ready)


def _kernel(clock: Timeline, machine: GpuMachine, operator: Operator, gap: int, ready: Time) -> Time:
    """One operator as its kernel, or kernels, each with a gap before it and its own filling and draining."""
    price, kernels = machine.price(operator), machine.kernels_of(operator)
    collective = isinstance(operator, Collective)
    ready = machine.cluster.meet(clock, ready) if collective else ready
    engine = clock.engine(LINK if collective else "compute")
    gaps: dict[Hashable, Picoseconds] = {LAUNCH: gap * kernels}
    durations = gaps | price.durations(machine.cluster, kernels)
    return clock.task(engine, durations, after=(ready,), name=operator.name)


@strategy("fused_decoder", "gpu")
def fused_decoder(clock: Timeline, machine: GpuMachine, step: Step, launch: str) -> Time:
    """One persistent kernel a decoder: inside, operators wait for counters in memory; between, a kernel boundary."""
    return _persistent(clock, machine, step, launch, looped=False)


@strategy("kernel_loop", "gpu")
def kernel_loop(clock: Timeline, machine: GpuMachine, step: Step, launch: str) -> Time:
    """One persistent kernel for the whole pass (a megakernel): a single launch, weights prefetched across operators.

    The stream buffer is the shared memory of all streaming multiprocessors.
    """
    return _persistent(clock, machine, step, launch, looped=True)


def _persistent(clock: Timeline, machine: GpuMachine, step: Step, launch: str, *, looped: bool) -> Time:
    costs = machine.chip.generation.launch
    issue = seconds_to_ps(costs.host_operator if launch == "eager" else costs.graph_launch)
    gap = seconds_to_ps(costs.stream_gap if launch == "eager" else costs.graph_gap)
    gap += seconds_to_ps(machine.chip.generation.matmul.startup_seconds)  # once, and no more for each operator
    _prepare(clock, machine)
    host = clock.engine("host")
    issued = clock.task(host, issue, label=LAUNCH, name="launch")
    decoder = fused_stages(machine, step.decoder)
    buffer = clock.buffer(BUFFER_TILES)

    def boundary(ready: Time) -> Time:
        """A kernel ends and the next begins: every engine drains; eager launches also wait for the host."""
        issued = clock.task(host, issue, label=LAUNCH, name="launch") if launch == "eager" else ready
        return clock.barrier(gap, label=LAUNCH, name="kernel boundary", after=(ready, issued))

    def layer(carried: tuple[Time, ...]) -> tuple[Time, ...]:
        ready = carried[0] if looped else boundary(carried[0])
        return (run_stages(clock, machine.cluster, decoder, buffer, ready),)

    ready = clock.barrier(gap, label=LAUNCH, name="kernel boundary", after=(issued,))
    ready = run_stages(clock, machine.cluster, fused_stages(machine, step.before), buffer, ready)
    (ready,) = clock.loop(step.layers, layer, (ready,), "layer")
    if not looped:
        ready = boundary(ready)
    return run_stages(clock, machine.cluster, fused_stages(machine, step.after), buffer, ready)


def fused_stages(machine: GpuMachine, operators: Sequence[Operator]) -> list[StreamStage]:
    """Operators as stages of a persistent kernel.

    Normalisations and element-wise operators ride with the product before or after them: they keep their arithmetic
    and lose their own boundary. A product or attention fills and drains without the start of a kernel, and ends, like a
    collective, in a dependency: its last store, a counter in global memory, and the poll that sees it.
    """
    return [_remembered_stage(machine, operator) for operator in operators]


def _remembered_stage(machine: GpuMachine, operator: Operator) -> StreamStage:
    """``_stage``, once for each operator where chips are alike and it is of one pass."""
    if operator.several or machine.cluster.slowdown is not None:
        return _stage(machine, operator)
    if operator not in machine.stages:
        machine.stages[operator] = _stage(machine, operator)
    return machine.stages[operator]


def _stage(machine: GpuMachine, operator: Operator) -> StreamStage:
    chip = machine.chip
    price, cluster = machine.price_inside(operator), machine.cluster
    synchronization: dict[Hashable, Picoseconds] = {DEPENDENCY: seconds_to_ps(chip.generation.launch.dependency)}
    match operator:
        case Elementwise():
            return StreamStage(operator.name, price.label, "compute", 0, price.steady_on(cluster), {})
        case Collective():
            return StreamStage(operator.name, price.label, LINK, 0, price.steady, synchronization)
        case MatrixProduct() | Attention():
            bandwidth = hbm_read_rate(chip)
            precision = operator.precision if isinstance(operator, MatrixProduct) else "bf16"
            arithmetic = seconds_to_ps(operator.flops / chip.peak_flops(precision))
            # Another kernel may suit operands that come from memory: of both, the one that takes less is run.
            fed = machine.price_fed(operator)
            own, filling = np.maximum(fed.steady, arithmetic), np.asarray(fed.fill_drain)
            longer = own + filling > price.steady + price.fill_drain
            own = np.where(longer, price.steady, own)
            filling = np.where(longer, price.fill_drain, filling) - machine.starting(operator)
            return StreamStage(
                operator.name,
                price.label,
                "compute",
                load=cluster.stretch(seconds_to_ps(operator.stream_bytes / bandwidth), "memory"),
                compute=cluster.stretch(plain(own), "clock"),
                latency={FILL_DRAIN: cluster.stretch(plain(filling), "clock")} | synchronization,
                tiles=stream_tiles(
                    operator, operator.stream_bytes, chip.compute.units * chip.on_chip.shared_bytes / BUFFER_TILES
                ),
            )
