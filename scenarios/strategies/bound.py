"""The time that no strategy can beat for one pass of a group of chips."""

from __future__ import annotations

import numpy as np

from chips.spec import ChipBase
from collectives.host import group_link
from scenarios.workload.operators import Attention, Collective, MatrixProduct, Operator, Quantity, Step


def lower_bound(chip: ChipBase, ranks: int, step: Step) -> Quantity:
    """Seconds that no strategy can beat for one pass: the longest of three things that may overlap.

    Bytes of weights and KV cache over the memory's bandwidth, operations over the matrix peak, and what collectives
    send over the chip's links. An array where the step is several passes.
    """

    def matrix_seconds(operator: Operator) -> Quantity:
        match operator:
            case MatrixProduct(precision=precision):
                return operator.flops / chip.peak_flops(precision)
            case Attention():
                return operator.flops / chip.peak_flops("bf16")
            case _:
                return 0.0

    memory = step.stream_bytes / chip.memory.bandwidth
    links = step.total(lambda operator: sent_bytes(chip, ranks, operator)) / group_link(chip.link, ranks).bandwidth
    return np.maximum(np.maximum(memory, step.total(matrix_seconds)), links)


def sent_bytes(chip: ChipBase, ranks: int, operator: Operator) -> Quantity:
    """What one of ``ranks`` chips sends at least: all of an AllReduce twice, or once into a switch that sums."""
    if not isinstance(operator, Collective):
        return 0.0
    twice = operator.operation == "all_reduce" and not chip.link.in_switch_reduction
    return (2.0 if twice else 1.0) * (ranks - 1) / ranks * operator.payload_bytes
