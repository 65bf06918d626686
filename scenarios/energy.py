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
    """What the events of one pass take on one chip of ``cluster``."""
    chip, ranks = cluster.chip, cluster.count
    if isinstance(chip, Gpu):
        group = gpu_group(chip, cluster, framework)

        def joules(operator: Operator) -> Floats:
            if isinstance(operator, Collective):
                return _collective(chip, ranks, operator)
            return group.price(operator).joules

    else:
        fuses = strategy_on(chip, strategy).fuses

        def joules(operator: Operator) -> Floats:
            return _stage(chip, ranks, operator, fuses)

    found: Dynamic = {}
    for segment in step.segments:
        for operator in segment.operators:
            taken = segment.times * joules(operator)
            found[operator.part] = found[operator.part] + taken if operator.part in found else taken
    return found


def _collective(chip: ChipBase, ranks: int, operator: Collective) -> Floats:
    """What is sent over links, and read and written on the chip."""
    sent = sent_bytes(chip, ranks, operator)
    return chip.events.joules(link_bytes=sent, chip_bytes=operator.activation_bytes)


def _stage(chip: ChipBase, ranks: int, operator: Operator, fuses: bool) -> Floats:
    """An operator as a stage of a pipeline, or as a kernel of its own, whose activations cross memory."""
    if isinstance(operator, Collective):
        return _collective(chip, ranks, operator)
    flops, instructions = 0.0 * operator.flops, 0.0 * operator.flops
    match operator:
        case MatrixProduct(precision=precision):
            flops = operator.flops * ELEMENT_BYTES[precision] / ELEMENT_BYTES["bf16"]
        case Attention():
            flops, instructions = operator.flops, operator.exponentials * SOFTMAX_OPERATIONS
        case Elementwise():
            instructions = operator.operations + operator.special_functions
    spilled = operator.activation_bytes * (not fuses)
    return chip.events.joules(
        flops=flops,
        instructions=instructions,
        memory_bytes=operator.stream_bytes + spilled,
        chip_bytes=operator.activation_bytes - spilled,
    )


def added(*spent: Dynamic) -> Dynamic:
    """The sum, part by part."""
    parts = dict.fromkeys(part for each in spent for part in each)
    return {part: np.asarray(sum(each[part] for each in spent if part in each)) for part in parts}


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
    whole = sum(spent.values()) if spent else np.zeros(len(DYNAMIC))
    share = events.within_limit(np.asarray(whole), seconds) / np.where(np.asarray(whole) > 0, whole, 1.0)
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
