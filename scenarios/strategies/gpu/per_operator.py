"""A kernel an operator on a GPU: issued call by call, once as a graph, or with each kernel launched ahead of its turn.

What a kernel boundary costs is which edges lie between two kernels. In order: a kernel ends, the next is launched and
starts (the gap), its first bytes come (the ramp), it works, its last blocks end (the drain). Launched ahead
(programmatic dependent launch, NVIDIA GPUs from SM 90): its blocks enter as those of the kernel before leave, and read
weights at once; only for that kernel's results they wait until it has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from chips.clock.timeline import Picoseconds, Time, Timeline, seconds_to_ps
from results.words import HOST_LAUNCHES
from scenarios.errors import DoesNotFit
from scenarios.framework import Framework
from scenarios.strategies.gpu.exchange import issue_overlapped
from scenarios.strategies.gpu.kernel_prices import GpuGroup, KernelPrice
from scenarios.strategies.label import DEPENDENCY, DRAIN, HOST, LAUNCH, LINK, RAMP, Label
from scenarios.strategies.registry import strategy
from scenarios.strategies.segments import run_segment
from scenarios.workload.operators import (
    Attention,
    Collective,
    Conversion,
    Decoder,
    Elementwise,
    MatrixProduct,
    Operator,
    Quantity,
    Segment,
    Step,
)

RING = Label("allreduce", LINK)
"""Keys and values on their way between groups that share a sequence."""
AHEAD = "launched ahead"
"""The engine on which kernels that were launched ahead come in and read what no kernel before them writes."""


@strategy("per_operator", "gpu", fuses=False, streams=False)
def per_operator(clock: Timeline, group: GpuGroup, step: Step, launch: str) -> Time:
    """Every operator is a kernel, a collective too, as far as the framework does not fuse them."""
    ready = prepare(clock, group, step)
    kernels = _launched(clock, group, launch, ready)
    ready = clock.engine("host").free if kernels.by_host else kernels.begins
    for segment in step.segments:
        ready = run_segment(clock, segment, kernels.run(segment), ready)
    return ready


def one_after_another(strategy: str, launch: str, framework: Framework) -> bool:
    """Whether each kernel of a pass starts when the one before it has ended: nothing is issued or runs ahead."""
    return strategy == per_operator.__name__ and launch == "graph" and framework.collective_mode != "overlapped"


def prepare(clock: Timeline, group: GpuGroup, step: Step) -> Time:
    """The framework's host work that the device waits for before a pass: scheduling, inputs, the last token read."""
    framework = group.framework
    seconds: Quantity = framework.host_step_seconds
    if framework.static_requests:
        sequences = next((each.batch for each in step.operators if isinstance(each, Attention) and each.decode), 0)
        seconds = seconds + framework.host_request_seconds * sequences
    work = group.boundary(HOST, seconds_to_ps(seconds))
    return clock.task(clock.engine("host"), work, name=f"{framework.name} step")


def launched_ahead(group: GpuGroup) -> tuple[dict[Hashable, Picoseconds], dict[Hashable, Picoseconds]]:
    """Of a kernel launched ahead: until its blocks are admitted, and until they have what the one before has written.

    Raises DoesNotFit where kernels cannot be launched ahead.
    """
    chip = group.chip
    readmission = chip.generation.launch.readmission
    if readmission is None:
        raise DoesNotFit(
            f"{chip.name} launches no kernel ahead of its turn: programmatic dependent launch begins with SM 90 "
            "(h100); --launch graph"
        )
    trip = chip.generation.vector.l2_latency_cycles / chip.compute.clock_hz
    return group.boundary(LAUNCH, seconds_to_ps(readmission)), group.boundary(DEPENDENCY, seconds_to_ps(trip))


def kernels_of_step(group: GpuGroup, step: Step, launch: str) -> int:
    """How many kernels one pass is."""
    kernels = _launched(Timeline(), group, "graph" if launch == "pdl" else launch, Time.zero)
    return sum(
        segment.times
        * sum(group.kernels_of(operator, compiled=kernels.compiled) for operator, _ in kernels.of(segment))
        for segment in step.segments
    )


def _launched(clock: Timeline, group: GpuGroup, launch: str, ready: Time) -> _Kernels:
    costs = group.chip.generation.launch
    if launch in HOST_LAUNCHES:
        framework = group.framework
        compiled, eager = framework.host_kernel_seconds, framework.host_operator_seconds
        call = (compiled or costs.host_kernel) if launch == "compiled" else (eager or costs.host_operator)
        # A conversion is called by the module of its product: the framework's own work for a module is done once.
        inside = min(call, costs.host_operator)
        calls = _Calls(*map(seconds_to_ps, (call, costs.host_collective, inside)))
        return _Kernels(clock, group, seconds_to_ps(costs.stream_gap), ready, calls, compiled=launch == "compiled")
    host = clock.engine("host")
    issue = group.boundary(HOST, seconds_to_ps(costs.graph_launch))
    # A scheduler that overlaps has launched this pass before the one before it ended.
    begins = ready if group.framework.overlapped else clock.task(host, issue, name="graph launch")
    if launch == "graph":
        return _Kernels(clock, group, seconds_to_ps(costs.graph_gap), begins)
    admission, dependency = launched_ahead(group)
    return _Ahead(clock, group, seconds_to_ps(costs.graph_gap), begins, admission=admission, dependency=dependency)


class _Calls(NamedTuple):
    """Picoseconds of the host for each kernel, for each collective, and for each conversion to what a product takes."""

    operator: int
    collective: int
    conversion: int

    def of(self, operator: Operator) -> int:
        """For a kernel of this operator."""
        if isinstance(operator, Collective):
            return self.collective
        return self.conversion if isinstance(operator, Conversion) else self.operator


class _Kernel(NamedTuple):
    """One operator, or a part ``of`` one, as its kernel or kernels, in picoseconds on every lane.

    ``gap``: before it, with its start. ``work``: its steady state and that of operators that ride in it, by label.
    """

    operator: Operator
    of: Operator
    price: KernelPrice
    gap: Picoseconds
    ramp: Picoseconds
    work: dict[Hashable, Picoseconds]
    drain: Picoseconds


@dataclass
class _Kernels:
    """Kernels one after the other, each with a ``gap`` before it, its own filling and its own draining.

    ``begins``: when the device may begin. ``calls``: if the host issues kernels; the device waits or lags.
    ``compiled``: whether a compiler has fused what is element-wise.
    """

    clock: Timeline
    group: GpuGroup
    gap: int
    begins: Time
    calls: _Calls | None = None
    compiled: bool = False

    @property
    def by_host(self) -> bool:
        return self.calls is not None

    def run(self, segment: Segment) -> Callable[[Time], Time]:
        """What issues one pass of a segment, from when its input is complete to its output; kernels are priced here."""
        if self.group.framework.collective_mode == "overlapped":
            return partial(issue_overlapped, self.clock, self.group, self.kernel, segment.operators)
        issues = [self._prepared(operator, more=more) for operator, more in self.of(segment)]

        def one_pass(ready: Time) -> Time:
            for issue in issues:
                ready = issue(ready)
            return ready

        return one_pass

    def kernel(self, operator: Operator, ready: Time, of: Operator | None = None) -> Time:
        """One operator, or a part ``of`` one, as its kernel or kernels."""
        return self._prepared(operator, of)(ready)

    def _prepared(
        self, operator: Operator, of: Operator | None = None, more: Sequence[Operator] = ()
    ) -> Callable[[Time], Time]:
        """What issues the kernel or kernels of an operator, or of a part ``of`` one, and ``more`` that ride in it."""
        if isinstance(operator, Attention) and operator.groups > 1:
            return partial(self._ring, operator)
        price, number = self.group.price(operator), self.group.kernels_of(operator, compiled=self.compiled)
        start, ramp, drain = self.group.ends(price, number)
        steady = price.steady_on(self.group.cluster)
        work = _sum(self._riding(more), price.label, steady)
        kernel = _Kernel(operator, of or operator, price, self.gap * number + start, ramp, work, drain)
        return partial(self._start, kernel, number)

    def _start(self, kernel: _Kernel, number: int, ready: Time) -> Time:
        """A kernel, or so many, once it is issued and, of a collective, all chips have arrived."""
        if self.calls is not None:
            ready = self.clock.join(ready, self._issued(kernel, number))
        if isinstance(kernel.operator, Collective):
            ready = self.group.cluster.meet(self.clock, ready)
        return self.issue(kernel, ready)

    def _ring(self, attention: Attention, ready: Time) -> Time:
        """Attention over the keys of one group after the other: the next are on their way while these are multiplied.

        A kernel joins what each round adds with what there was, in fp32.
        """
        part, arrived = attention.round, self.group.cluster.meet(self.clock, ready)
        elements = 1.0 * part.batch * part.tokens * part.heads * part.head_dim
        join = Elementwise(f"{attention.name}, joined", 6 * elements, 4 * elements, 2 * elements, part="attention")
        done = self.kernel(part, ready, attention)
        link, sent = self.clock.engine(LINK), self.group.ring_ps(attention)
        for _ in range(attention.groups - 1):
            arrived = self.clock.task(link, sent, (arrived,), RING, attention.name, attention)
            done = self.kernel(join, self.kernel(part, arrived, attention), attention)
        return done

    def issue(self, kernel: _Kernel, ready: Time) -> Time:
        """A kernel on its engine, whose inputs are there at ``ready``."""
        boundary = self.group.boundary
        durations = boundary(LAUNCH, kernel.gap) | boundary(RAMP, kernel.ramp) | kernel.work
        return self.task(kernel, durations | boundary(DRAIN, kernel.drain), ready)

    def task(self, kernel: _Kernel, durations: dict[Hashable, Picoseconds], ready: Time) -> Time:
        """A task for a kernel, on the engine that its operator keeps busy."""
        engine = self.clock.engine(LINK if isinstance(kernel.operator, Collective) else "compute")
        return self.clock.task(engine, durations, (ready,), name=kernel.operator.name, of=kernel.of)

    def _issued(self, kernel: _Kernel, number: int) -> Time:
        """When the host has issued so many kernels of an operator."""
        assert self.calls is not None
        work = self.group.boundary(HOST, self.calls.of(kernel.operator) * number)
        return self.clock.task(self.clock.engine("host"), work, name=f"{kernel.operator.name} issue", of=kernel.of)

    def _riding(self, operators: Sequence[Operator]) -> dict[Hashable, Picoseconds]:
        """What operators take that share another one's kernel: their steady state."""
        durations: dict[Hashable, Picoseconds] = {}
        for operator in operators:
            price = self.group.price(operator)
            durations = _sum(durations, price.label, price.steady_on(self.group.cluster))
        return durations

    def of(self, segment: Segment) -> Iterator[tuple[Operator, list[Operator]]]:
        """The kernels of a segment: each an operator, and those that ride in it."""
        waiting: list[Operator] = []
        for place, operator in enumerate(segment.operators):
            if self._rides(operator, segment, place):
                waiting.append(operator)
            else:
                yield operator, waiting
                waiting = []
        for operator in waiting:
            yield operator, []

    def _rides(self, operator: Operator, segment: Segment, place: int) -> bool:
        """Whether an operator is part of the kernel beside it: of a product, or of the AllReduce before it."""
        framework, norm = self.group.framework, operator.role == "norm"
        if isinstance(operator, Conversion) and operator.after in framework.converts_after and not self.by_host:
            return operator.scales != "tensor"  # a maximum over all tokens waits for all of the kernel before it
        # Before the first operator of a decoder is the last of another. What stands between keeps a norm apart.
        before = segment.operators[place - 1]
        after_collective = isinstance(before, Collective) or not isinstance(segment, Decoder)
        if framework.collective_mode == "fused" and norm and self.group.cluster.count > 1 and after_collective:
            return True
        inside = isinstance(operator, Elementwise) and (isinstance(segment, Decoder) or norm)
        return framework.fusion == "products" and inside


@dataclass
class _Ahead(_Kernels):
    """The same with each kernel launched ahead of its turn.

    ``admission``: from where blocks leave to where those of the next kernel enter. ``dependency``: from where a kernel
    has ended to where the next has its results.
    """

    admission: dict[Hashable, Picoseconds] = field(default_factory=dict)
    dependency: dict[Hashable, Picoseconds] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock.task(self.clock.engine(AHEAD), 0, (self.begins,))  # nothing is admitted before the graph is launched

    def issue(self, kernel: _Kernel, ready: Time) -> Time:
        clock, group, price = self.clock, self.group, kernel.price
        memory, name, of = clock.engine(AHEAD), kernel.operator.name, kernel.of
        ramp, drain = group.boundary(RAMP, kernel.ramp), group.boundary(DRAIN, kernel.drain)
        if not (isinstance(kernel.operator, MatrixProduct) and kernel.operator.weights):
            clock.task(memory, self.admission, name=name, of=of)  # its blocks leave before the next ones enter
            return self.task(kernel, self.dependency | ramp | kernel.work | drain, ready)
        clock.task(memory, self.admission | ramp, name=name, of=of)
        there = clock.task(clock.engine("results"), self.dependency, (ready,), name=name, of=of)
        stream = price.stream_on(group.cluster)
        streamed = clock.task(memory, stream, (there,), price.label, name, of)
        return self.task(kernel, _sum(kernel.work, price.label, -stream) | drain, streamed)


def _sum(durations: Mapping[Hashable, Picoseconds], label: Hashable, ps: Picoseconds) -> dict[Hashable, Picoseconds]:
    """``durations`` and ``ps`` more in ``label``."""
    return {**durations, label: durations.get(label, 0) + ps}
