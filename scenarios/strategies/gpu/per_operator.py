"""A kernel an operator on a GPU: issued call by call, or once as a graph."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial

from chips.clock.timeline import Picoseconds, Time, Timeline, seconds_to_ps
from scenarios.strategies.gpu.exchange import Kernel, issue_overlapped
from scenarios.strategies.gpu.kernel_prices import GpuMachine
from scenarios.strategies.label import HOST, LAUNCH, LINK
from scenarios.strategies.registry import strategy
from scenarios.strategies.segments import run_segment
from scenarios.workload.operators import Collective, Operator, Step


@strategy("per_operator", "gpu", fuses=False, streams=False)
def per_operator(clock: Timeline, machine: GpuMachine, step: Step, launch: str) -> Time:
    """Every operator is a kernel, a collective too; the next one starts when the one before has drained."""
    prepare(clock, machine)
    run = _eager if launch == "eager" else _graph
    return run(clock, machine, step)


def prepare(clock: Timeline, machine: GpuMachine) -> None:
    """The framework's host work before a pass: scheduling, inputs, the last token read back."""
    host_step = seconds_to_ps(machine.framework.host_step_seconds)
    clock.task(clock.engine("host"), host_step, label=HOST, name=f"{machine.framework.name} step")


def _graph(clock: Timeline, machine: GpuMachine, step: Step) -> Time:
    """CUDA graph: the host issues the whole step once; then a device-side gap before each kernel."""
    launch = machine.chip.generation.launch
    gap = seconds_to_ps(launch.graph_gap)
    host = clock.engine("host")
    issued = clock.task(host, seconds_to_ps(launch.graph_launch), label=LAUNCH, name="graph launch")

    def kernel(operator: Operator, ready: Time, of: Operator | None = None) -> Time:
        return _kernel(clock, machine, operator, gap, ready, of)

    return _chain(clock, machine, step, kernel, issued)


def _eager(clock: Timeline, machine: GpuMachine, step: Step) -> Time:
    """The host issues every kernel of every operator, one framework call after another; the device waits or lags."""
    launch = machine.chip.generation.launch
    call = seconds_to_ps(machine.framework.host_operator_seconds or launch.host_operator)
    collective_call = seconds_to_ps(launch.host_collective)
    gap = seconds_to_ps(launch.stream_gap)
    host = clock.engine("host")

    def kernel(operator: Operator, ready: Time, of: Operator | None = None) -> Time:
        cost = collective_call if isinstance(operator, Collective) else call
        issue = cost * machine.kernels_of(operator)
        issued = clock.task(host, issue, label=LAUNCH, name=f"{operator.name} issue", of=of or operator)
        return _kernel(clock, machine, operator, gap, clock.join(ready, issued), of)

    return _chain(clock, machine, step, kernel, host.free)


def _chain(clock: Timeline, machine: GpuMachine, step: Step, kernel: Kernel, ready: Time) -> Time:
    """A pass in which every kernel waits for the one before it, but for what a framework overlaps."""

    def run(operators: Sequence[Operator], ready: Time) -> Time:
        if machine.framework.overlaps_collectives:
            return issue_overlapped(clock, machine, kernel, operators, ready)
        for operator in operators:
            ready = kernel(operator, ready)
        return ready

    for segment in step.segments:
        ready = run_segment(clock, segment, partial(run, segment.operators), ready)
    return ready


def _kernel(
    clock: Timeline, machine: GpuMachine, operator: Operator, gap: int, ready: Time, of: Operator | None
) -> Time:
    """One operator, or a part ``of`` one, as its kernel, or kernels, each with a gap before it and its own filling and
    draining."""
    price, kernels = machine.price(operator), machine.kernels_of(operator)
    collective = isinstance(operator, Collective)
    ready = machine.cluster.meet(clock, ready) if collective else ready
    engine = clock.engine(LINK if collective else "compute")
    gaps: dict[Hashable, Picoseconds] = {LAUNCH: gap * kernels}
    durations = gaps | price.durations(machine.cluster, kernels)
    return clock.task(engine, durations, after=(ready,), name=operator.name, of=of or operator)
