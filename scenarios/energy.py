"""Joules of a point: its operators' events on one chip, and what they and the time come to on all chips.

Events are counted once an operator and added: by part, as times are, and by cause. On a GPU each operator is the kernel
that its time is of (``chips.kernels``), with what fills up its tiles, and at the clock that the power limit allows. On
a dataflow chip events follow from the operator; what is no kernel of its own keeps its activations on the chip.
Belongs here: from operators to joules. What an event takes is in ``chips.energy``, what electricity costs in
``scenarios.cost``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chips.energy import DYNAMIC, Events
from chips.spec import ELEMENT_BYTES, ChipBase, Gpu
from cluster import Cluster
from results.units import NANOJOULES_PER_JOULE
from results.words import CAUSES
from scenarios.framework import Framework
from scenarios.strategies import strategy_on
from scenarios.strategies.bound import sent_bytes
from scenarios.strategies.gpu.kernel_prices import gpu_group
from scenarios.workload.operators import Attention, Collective, Elementwise, MatrixProduct, Operator, Quantity, Step

Floats = NDArray[np.float64]
Dynamic = dict[str, Floats]
"""Joules of one chip beside its static power, by part: an array of the causes of ``DYNAMIC``, and of several passes."""
SOFTMAX_OPERATIONS = 5.0
"""Lane operations a score: scale and subtract, maximum, exponential, sum, convert."""


def step_joules(cluster: Cluster, strategy: str, framework: Framework, step: Step) -> Dynamic:
    """What the events of one pass take on one chip of ``cluster``; the same for strategies that ``counted_as`` one."""
    chip, ranks = cluster.chip, cluster.count
    kernels = gpu_group(chip, cluster, framework) if isinstance(chip, Gpu) else None
    fuses = strategy_on(chip, strategy).fuses
    found: Dynamic = {}
    counts: dict[str, list[Quantity]] = {}
    for segment in step.segments:
        for operator in segment.operators:
            part: str = operator.part
            times = segment.times
            if kernels is not None and not isinstance(operator, Collective):
                taken = times * kernels.price(operator).joules
                found[part] = found[part] + taken if part in found else taken
            else:
                sums = counts.setdefault(part, [0.0] * 5)
                for place, count in enumerate(_events(chip, ranks, operator, fuses)):
                    sums[place] = sums[place] + times * count
    return added(found, {part: chip.events.joules(*of_part) for part, of_part in counts.items()})


def counted_as(chip: ChipBase, strategy: str) -> bool:
    """What of a strategy tells its events apart from another's of the same pass."""
    return not isinstance(chip, Gpu) and strategy_on(chip, strategy).fuses


def _events(chip: ChipBase, ranks: int, operator: Operator, fuses: bool) -> tuple[Quantity, ...]:
    """Operations of the matrix units and of lanes, bytes of memory, on the chip and over links, of one operator.

    A stage of a pipeline hands its activations on; those of a kernel of its own cross memory.
    """
    moved, (flops, lanes) = operator.activation_bytes, operations(operator)
    if isinstance(operator, Collective):
        return flops, lanes, 0.0, moved, sent_bytes(chip, ranks, operator)
    streamed = operator.stream_bytes
    return (flops, lanes, streamed, moved, 0.0) if fuses else (flops, lanes, streamed + moved, 0.0, 0.0)


def operations(operator: Operator) -> tuple[Quantity, Quantity]:
    """Of the matrix units, as many of 16 bits as take as much, and of lanes."""
    match operator:
        case MatrixProduct(precision=precision):
            return operator.flops * (ELEMENT_BYTES[precision] / ELEMENT_BYTES["bf16"]), 0.0
        case Attention():
            return operator.flops, operator.exponentials * SOFTMAX_OPERATIONS
        case Elementwise():
            return 0.0, operator.operations + operator.special_functions
        case Collective():
            return 0.0, 0.0


def added(*spent: Dynamic) -> Dynamic:
    """The sum, part by part."""
    parts = dict.fromkeys(part for each in spent for part in each)
    return {part: np.asarray(sum(each[part] for each in spent if part in each)) for part in parts}


def of_passes(spent: Dynamic, passes: int) -> Dynamic:
    """What so many passes take: the sum of those side by side, or one that stands for all so many times."""
    return {part: each.sum(axis=1) if each.ndim > 1 else passes * each for part, each in spent.items()}


def scaled(spent: Dynamic, factor: float) -> Dynamic:
    """So many times as much."""
    return {part: factor * joules for part, joules in spent.items()}


class Told(NamedTuple):
    """Joules in all, by part and by cause: sums of the same whole numbers of nanojoules."""

    joules: Quantity
    by_part: dict[str, Quantity]
    by_cause: dict[str, Quantity]


def told(events: Events, working: int, parts: Mapping[str, Quantity], spent: Dynamic) -> Told:
    """Joules of ``working`` chips.

    ``parts``: seconds by part, of which each costs static power. ``spent``: of one chip. Every part's joules of a cause
    are rounded once, to nanojoules, so that both sums are the same number. No chip draws more than its limit on
    average: where loads and products of a persistent kernel run side by side, its clock is lower still.
    """
    seconds = sum(parts.values())
    whole = np.asarray(sum(spent.values())) if spent else np.zeros(len(DYNAMIC))
    share: Floats | float = 1.0
    if np.any(whole.sum(axis=0) > (events.power_watts - events.static_watts) * seconds):
        share = events.within_limit(whole, seconds) / np.where(whole > 0, whole, 1.0)
    static = events.static_watts * working * NANOJOULES_PER_JOULE
    by_part: dict[str, Quantity] = {part: np.rint(static * took) for part, took in parts.items()}
    by_cause: dict[str, Quantity] = dict.fromkeys(CAUSES, 0.0)
    by_cause["static"] = sum(by_part.values())
    for part, joules in spent.items():
        cells = np.rint(share * joules * (working * NANOJOULES_PER_JOULE))
        by_part[part] = by_part[part] + cells.sum(axis=0)
        for cause, cell in zip(DYNAMIC, cells, strict=True):
            by_cause[cause] = by_cause[cause] + cell
    return Told(sum(by_cause.values()) / NANOJOULES_PER_JOULE, _in_joules(by_part), _in_joules(by_cause))


def _in_joules(nanojoules: Mapping[str, Quantity]) -> dict[str, Quantity]:
    return {name: each / NANOJOULES_PER_JOULE for name, each in nanojoules.items()}
