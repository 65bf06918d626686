"""Collectives of a tensor-parallel group beside the products around them, on a GPU that runs a kernel an operator.

A ring exchange: the product is cut along its tokens into a part for each rank. After an AllGather a part is multiplied
while the next arrives; before a ReduceScatter it is sent on while the next is multiplied (Transformer Engine's
communication overlap; Chang et al. 2024, FLUX, arXiv 2406.06858). In a backward pass the ReduceScatter of an input's
gradient runs beside the product for the weights' gradient, which does not wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from chips.clock.timeline import Picoseconds, Time, Timeline
from scenarios.strategies.gpu.kernel_prices import GpuGroup
from scenarios.strategies.label import LINK
from scenarios.workload.operators import Collective, MatrixProduct, Operator


class Kernel(Protocol):
    """What issues one operator, or a part ``of`` one, when its inputs are ready; the time at which it is done."""

    def __call__(self, operator: Operator, ready: Time, of: Operator | None = None) -> Time: ...


def issue_overlapped(
    clock: Timeline, group: GpuGroup, kernel: Kernel, operators: Sequence[Operator], ready: Time
) -> Time:
    """Issue ``operators`` by ``kernel``, one after the other but for those that hide each other."""
    for run in _runs(operators):
        match run:
            case (Collective() as gather, MatrixProduct() as product) if _exchange_pays(group, product, gather):
                ready = _gathered(clock, group, kernel, gather, product, ready)
            case (MatrixProduct() as product, Collective() as scatter) if _exchange_pays(group, product, scatter):
                ready = _scattered(clock, group, kernel, product, scatter, ready)
            case (MatrixProduct() as product, *others, Collective() as scatter) if others:
                given = kernel(product, ready)
                summed = kernel(scatter, given)
                for operator in others:
                    given = kernel(operator, given)
                ready = clock.join(given, summed)
            case _:
                for operator in run:
                    ready = kernel(operator, ready)
    return ready


def _runs(operators: Sequence[Operator]) -> Iterator[Sequence[Operator]]:
    """Runs of operators that may hide each other; every other operator alone."""
    place = 0
    while place < len(operators):
        length = _span(operators[place:])
        yield operators[place : place + length]
        place += length


def _span(operators: Sequence[Operator]) -> int:
    first, *rest = operators
    if _is(first, "all_gather") and rest and isinstance(rest[0], MatrixProduct):
        return 2
    if isinstance(first, MatrixProduct):
        for place, operator in enumerate(rest, start=2):
            if _is(operator, "reduce_scatter"):
                return place
            if operator.role not in ("weight gradient", "accumulation"):
                break
    return 1


def _is(operator: Operator, operation: str) -> bool:
    return isinstance(operator, Collective) and operator.operation == operation


def _part(group: GpuGroup, product: MatrixProduct) -> MatrixProduct:
    """What a rank's share of the tokens makes of a product."""
    assert isinstance(product.m, int)  # passes of training are not side by side
    return replace(product, m=-(-product.m // group.cluster.count))


def _transfers(group: GpuGroup, collective: Collective) -> list[int]:
    """Picoseconds of each transfer of a ring; together they are the collective."""
    steady, hops = group.price(collective).whole, group.cluster.count - 1
    assert isinstance(steady, int)
    return [steady * (hop + 1) // hops - steady * hop // hops for hop in range(hops)]


def _exchange_pays(group: GpuGroup, product: MatrixProduct, collective: Collective) -> bool:
    """Whether parts are faster than the whole: small products lose more in their tiles than they hide."""
    whole, part = (group.price(each) for each in (product, _part(group, product)))
    hops, each = _transfers(group, collective), part.whole
    in_parts = max(sum(hops) + each, len(hops) * each + max(each, hops[-1]))
    return bool(in_parts < sum(hops) + whole.whole)


def _gathered(
    clock: Timeline, group: GpuGroup, kernel: Kernel, gather: Collective, product: MatrixProduct, ready: Time
) -> Time:
    """A rank's own tokens first, then those that arrive."""
    part = _part(group, product)
    arrived = group.cluster.meet(clock, ready)
    done = kernel(part, ready, product)
    for transfer in _transfers(group, gather):
        arrived = _send(clock, group, gather, transfer, arrived)
        done = kernel(part, arrived, product)
    return done


def _scattered(
    clock: Timeline, group: GpuGroup, kernel: Kernel, product: MatrixProduct, scatter: Collective, ready: Time
) -> Time:
    """The tokens of other ranks first, each sent on; a rank's own last, to which the others' sums are added."""
    part, sent = _part(group, product), ready
    for transfer in _transfers(group, scatter):
        sent = _send(clock, group, scatter, transfer, group.cluster.meet(clock, kernel(part, ready, product)))
    return clock.join(kernel(part, ready, product), sent)


def _send(clock: Timeline, group: GpuGroup, collective: Collective, duration: Picoseconds, ready: Time) -> Time:
    label = group.price(collective).label
    return clock.task(clock.engine(LINK), duration, (ready,), label, collective.name, collective)
