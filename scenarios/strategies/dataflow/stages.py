"""The dataflow chips of a group: what an operator takes as a stage of a fused kernel, and what the chip can hold."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import numpy as np

from chips.clock.timeline import Picoseconds, seconds_to_ps
from chips.kernels.kernel_time import MATRIX_UNIT, VECTOR_UNIT
from chips.spec import Dataflow
from cluster import Cluster
from collectives.libraries.choice import streamed_all_reduce
from scenarios.strategies.label import FILL_DRAIN, LINK, Label
from scenarios.strategies.stream import StreamStage, TileTimes
from scenarios.workload.operators import (
    ACTIVATION_BYTES,
    Attention,
    Collective,
    Decoder,
    Elementwise,
    MatrixProduct,
    Operator,
    Quantity,
    Segment,
    largest,
)

TILE_TOKENS = 64  # tokens in a tile of the token stream where nothing chooses among several
STREAM_TILE_BYTES = 2**20  # of a weight stream; finer tiles change totals by under 0.5%
MOST_EXCHANGES = 2**16  # prices of collectives that a process remembers
USUAL_CONTEXT = 4096  # tokens in a KV cache, for which a fused decoder deals its units out
LEAST_WORK = 1e-15  # seconds; keeps the share of an operator without arithmetic (a copy) above zero


@dataclass(frozen=True)
class DataflowGroup:
    """The dataflow chips of one tensor-parallel group."""

    chip: Dataflow
    cluster: Cluster

    def arithmetic_seconds(self, operator: Operator, share: Quantity) -> Quantity:
        """Time of an operator's arithmetic on ``share`` of the units that a kernel may use."""
        chip, part = self.chip, share * self.chip.timing.unit_share
        match operator:
            case MatrixProduct(flops=flops, precision=precision):
                return flops / (chip.peak_flops(precision) * chip.timing.matrix_efficiency * part)
            case Attention(flops=flops):
                return flops / (chip.peak_flops("bf16") * chip.timing.matrix_efficiency * part)
            case Elementwise(operations=operations, special_functions=special):
                rate = chip.compute.units * chip.compute.clock_hz * part
                return operations / (chip.vector_flops * part) + special / (
                    rate * chip.compute.special_functions_per_clock
                )
            case _:
                return 0.0


def stages_of(group: DataflowGroup, segment: Segment) -> tuple[StreamStage, ...]:
    """A fused kernel's stages side by side on the chip, each with units of its own.

    They take turns, so that what counts is the sum of work / share: least where shares are in proportion to the square
    root of the work. Whatever makes one operator's work shorter then makes no stage longer. While a KV cache grows the
    units stay where they are. Each stage moves a part of what a training step keeps.
    """
    operators = segment.operators
    roots = [
        np.sqrt(np.maximum(group.arithmetic_seconds(_at_usual_context(operator), 1.0), LEAST_WORK))
        for operator in operators
    ]
    whole = sum(roots)
    kept = segment.kept_bytes / len(operators) if isinstance(segment, Decoder) else 0.0
    return tuple(
        _stage(group, operator, root / whole, state_bytes(operator) + kept)
        for operator, root in zip(operators, roots, strict=True)
    )


def _at_usual_context(operator: Operator) -> Operator:
    return replace(operator, context=USUAL_CONTEXT) if isinstance(operator, Attention) and operator.decode else operator


def stage_alone(group: DataflowGroup, operator: Operator) -> StreamStage:
    """One operator as a kernel of its own: all units work on it, and its activations cross off-chip memory too."""
    return _stage(group, operator, 1.0, operator.activation_bytes)


def state_bytes(operator: Operator) -> float:
    """Bytes of gradients and optimizer state, which no chip holds: they cross off-chip memory in every plan.

    A sum of weight gradients is read and written in fp32.
    """
    if not isinstance(operator, Elementwise) or operator.role not in ("accumulation", "optimizer"):
        return 0.0
    return largest(2 * operator.bytes_read if operator.role == "accumulation" else operator.activation_bytes)


def on_chip_bytes(operator: Operator) -> float:
    """Bytes of an operator's input and output that a fused kernel keeps on chip."""
    return 0.0 if state_bytes(operator) else largest(operator.activation_bytes)


def _stage(group: DataflowGroup, operator: Operator, share: Quantity, beside: Quantity) -> StreamStage:
    """One operator on ``share`` of the units, which moves so many bytes ``beside`` its weights and KV cache."""
    chip, label, stretch = group.chip, Label(operator.part, limiter_of(operator)), group.cluster.stretch
    moved, tile = operator.stream_bytes + beside, stream_tile_bytes(chip)
    fewest = -(-moved // tile)
    tiles = fewest.astype(np.int64) if isinstance(fewest, np.ndarray) else int(fewest)
    seconds: Quantity
    if isinstance(operator, Collective):
        latency, exchange = all_reduce_seconds(group, operator)
        engine, seconds = LINK, exchange - latency
        after: Mapping[Hashable, Picoseconds] = {label: seconds_to_ps(latency)}
    else:
        depth = 3 if isinstance(operator, Attention) else 1  # scores, softmax and values are stages of their own
        engine, seconds = "units", group.arithmetic_seconds(operator, share)
        after = {FILL_DRAIN: stretch(seconds_to_ps(depth * chip.timing.stage_latency), "clock")}

    def times(num_bytes: Quantity, part: Quantity) -> TileTimes:
        load, compute = seconds_to_ps(num_bytes / chip.streaming_bandwidth), seconds_to_ps(seconds * part)
        return stretch(load, "memory"), compute if engine == LINK else stretch(compute, "clock")

    load, compute = times(moved, 1.0)
    if isinstance(tiles, int) and tiles == 0:
        return StreamStage(operator, label, engine, load, compute, after)
    last = cast(Quantity, moved - (tiles - 1) * tile)
    return StreamStage(
        operator, label, engine, load, compute, after, tiles, times(tile, tile / moved), times(last, last / moved)
    )


def stream_tile_bytes(chip: Dataflow) -> float:
    """What a stream moves at a time: a tile of one size, so that a larger buffer only holds more of them. Of a buffer
    for less than two, half of it: one tile arrives while the other is used."""
    return min(STREAM_TILE_BYTES, chip.on_chip.stream_buffer_bytes / 2)


def stream_slots(chip: Dataflow, held_bytes: float = 0.0) -> int:
    """Tiles by which a weight stream may run ahead, beside activations of ``held_bytes``: at least two."""
    room = min(chip.on_chip.stream_buffer_bytes, fused_bytes(chip) - held_bytes)
    return max(2, int(room // stream_tile_bytes(chip)))


def limiter_of(operator: Operator) -> str:
    match operator:
        case Collective():
            return "link"
        case Elementwise():
            return VECTOR_UNIT
        case _:
            return MATRIX_UNIT


def all_reduce_seconds(group: DataflowGroup, collective: Collective) -> tuple[Quantity, Quantity]:
    """(latency, whole) of a collective streamed inside a kernel; a gather or scatter moves half of an AllReduce."""
    volume = collective.payload_bytes * (1.0 if collective.operation == "all_reduce" else 0.5)
    if not isinstance(volume, np.ndarray):
        return _exchange_seconds(group, volume)
    volumes, places = np.unique(volume, return_inverse=True)
    latency, whole = np.array([_exchange_seconds(group, each) for each in volumes.tolist()]).T
    return latency[places], whole[places]


def _exchange_seconds(group: DataflowGroup, volume: float) -> tuple[float, float]:
    return _streamed_seconds(group.cluster.linked(group.chip), group.cluster.count, volume)


_streamed_seconds = lru_cache(MOST_EXCHANGES)(streamed_all_reduce)


def tokens_of(decoder: Decoder) -> int:
    """Rows of the activations that pass through one decoder; of several passes the most."""
    products = (operator for operator in decoder.operators if isinstance(operator, MatrixProduct) and operator.weights)
    return max(int(largest(operator.m)) for operator in products)


def weight_bytes(decoder: Decoder) -> float:
    """Weights of one decoder on one chip."""
    return sum(operator.stream_bytes for operator in decoder.operators if isinstance(operator, MatrixProduct))


def fused_bytes(chip: Dataflow) -> float:
    """On-chip memory that a fused kernel may fill: its share of the memory units."""
    return chip.on_chip.total_bytes * chip.timing.unit_share


def tile_bytes(decoder: Decoder, rows: int) -> float:
    """What the token stream keeps on chip beside weights: double buffers between all stages, each a tile of ``rows``
    tokens, and in prefill the keys and values of the sequence that passes through, which its later tiles read."""
    a_token = sum(map(on_chip_bytes, decoder.operators)) / tokens_of(decoder)
    return 2.0 * min(rows, tokens_of(decoder)) * a_token + sum(
        largest(operator.context) * operator.kv_entry_bytes
        for operator in decoder.operators
        if isinstance(operator, Attention) and not operator.decode
    )


def activation_bytes(decoder: Decoder) -> float:
    """What the weight stream keeps on chip: the residual of all tokens, and input and output of the widest operator."""
    hidden = max(o.k for o in decoder.operators if isinstance(o, MatrixProduct) and o.weights)
    widest = max(map(on_chip_bytes, decoder.operators))
    return widest + tokens_of(decoder) * hidden * ACTIVATION_BYTES
