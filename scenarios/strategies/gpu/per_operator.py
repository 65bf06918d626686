"""A kernel an operator on a GPU: issued call by call, or once as a graph."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial

from chips.clock.timeline import Picoseconds, Time, Timeline, seconds_to_ps
from scenarios.strategies.gpu.exchange import Kernel, issue_overlapped
from scenarios.strategies.gpu.kernel_prices import GpuGroup
from scenarios.strategies.label import HOST, LAUNCH, LINK
from scenarios.strategies.registry import strategy
from scenarios.strategies.segments import run_segment
from scenarios.workload.operators import Collective, Operator, Step


@strategy("per_operator", "gpu", fuses=False, streams=False)
def per_operator(clock: Timeline, group: GpuGroup, step: Step, launch: str) -> Time:
    """Every operator is a kernel, a collective too; the next one starts when the one before has drained."""
    prepare(clock, group)
    run = _eager if launch == "eager" else _graph
    return run(clock, group, step)


def prepare(clock: Timeline, group: GpuGroup) -> None:
    """The framework's host work before a pass: scheduling, inputs, the last token read back."""
    host_step = seconds_to_ps(group.framework.host_step_seconds)
    clock.task(clock.engine("host"), host_step, label=HOST, name=f"{group.framework.name} step")


def _graph(clock: Timeline, group: GpuGroup, step: Step) -> Time:
    """CUDA graph: the host issues the whole step once; then a device-side gap before each kernel."""
    launch = group.chip.generation.launch
    gap = seconds_to_ps(launch.graph_gap)
    host = clock.engine("host")
    issued = clock.task(host, seconds_to_ps(launch.graph_launch), label=LAUNCH, name="graph launch")

    def kernel(operator: Operator, ready: Time, of: Operator | None = None) -> Time:
        return _kernel(clock, group, operator, gap, ready, of)

    return _chain(clock, group, step, kernel, issued)


def _eager(clock: Timeline, group: GpuGroup, step: Step) -> Time:
    """The host issues every kernel of every operator, one framework call after another; the device waits or lags."""
    launch = group.chip.generation.launch
    call = seconds_to_ps(group.framework.host_operator_seconds or launch.host_operator)
    collective_call = seconds_to_ps(launch.host_collective)
    gap = seconds_to_ps(launch.stream_gap)
    host = clock.engine("host")

    def kernel(operator: Operator, ready: Time, of: Operator | None = None) -> Time:
        cost = collective_call if isinstance(operator, Collective) else call
        issue = cost * group.kernels_of(operator)
        issued = clock.task(host, issue, label=LAUNCH, name=f"{operator.name} issue", of=of or operator)
        return _kernel(clock, group, operator, gap, clock.join(ready, issued), of)

    return _chain(clock, group, step, kernel, host.free)


def _chain(clock: Timeline, group: GpuGroup, step: Step, kernel: Kernel, ready: Time) -> Time:
    """A pass in which every kernel waits for the one before it, but for what a framework overlaps."""

    def run(operators: Sequence[Operator], ready: Time) -> Time:
        if group.framework.overlaps_collectives:
            return issue_overlapped(clock, group, kernel, operators, ready)
        for operator in operators:
            ready = kernel(operator, ready)
        return ready

    for segment in step.segments:
        ready = run_segment(clock, segment, partial(run, segment.operators), ready)
    return ready


def _kernel(clock: Timeline, group: GpuGroup, operator: Operator, gap: int, ready: Time, of: Operator | None) -> Time:
    """One operator, or a part ``of`` one, as its kernel, or kernels, each with a gap before it and its own filling and
    draining."""
    price, kernels = group.price(operator), group.kernels_of(operator)
    collective = isinstance(operator, Collective)
    ready = group.cluster.meet(clock, ready) if collective else ready
    engine = clock.engine(LINK if collective else "compute")
    gaps: dict[Hashable, Picoseconds] = {LAUNCH: gap * kernels}
    durations = gaps | price.durations(group.cluster, kernels)
    return clock.task(engine, durations, after=(ready,), name=operator.name, of=of or operator)
