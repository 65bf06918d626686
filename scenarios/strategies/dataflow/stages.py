"""The dataflow chips of a group: what an operator takes as a stage of a fused kernel, and what the chip can hold."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from chips.clock.timeline import Picoseconds, seconds_to_ps
from chips.kernels.kernel_time import MATRIX_UNIT, VECTOR_UNIT
from chips.spec import Dataflow
from cluster import Cluster
from collectives.libraries.choice import streamed_all_reduce
from scenarios.strategies.label import FILL_DRAIN, LINK, Label
from scenarios.strategies.stream import StreamStage, stream_tiles
from scenarios.workload.operators import (
    ACTIVATION_BYTES,
    Attention,
    Collective,
    Decoder,
    Elementwise,
    MatrixProduct,
    Operator,
    Quantity,
    largest,
)

TILE_TOKENS = 64  # tokens in a tile of the token stream: two passes of a unit's 32 lanes hide its 6 stages
BUFFER_TILES = 2  # double buffering: one tile arrives while the other is used; finer tiles change totals by under 0.5%
MOST_EXCHANGES = 2**16  # prices of collectives that a process remembers
LEAST_WORK = 1e-12  # keeps the share of an operator without arithmetic (a copy) above zero


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


def stages_of(group: DataflowGroup, operators: Sequence[Operator]) -> list[StreamStage]:
    """A fused kernel's stages side by side on the chip, each with a share of the units in proportion to its work."""
    work = [group.arithmetic_seconds(operator, 1.0) for operator in operators]
    whole = sum(work)
    return [
        stage_of(group, operator, np.maximum(own / np.maximum(whole, LEAST_WORK), LEAST_WORK), spill=False)
        for operator, own in zip(operators, work, strict=True)
    ]


def stage_of(group: DataflowGroup, operator: Operator, share: Quantity, *, spill: bool) -> StreamStage:
    """One operator on ``share`` of the units; with ``spill`` its activations cross off-chip memory too."""
    timing = group.chip.timing
    label = Label(operator.part, limiter_of(operator))
    moved = operator.stream_bytes + (operator.activation_bytes if spill else 0.0)
    stretch = group.cluster.stretch
    load = stretch(seconds_to_ps(moved / group.chip.streaming_bandwidth), "memory")
    tiles = stream_tiles(operator, moved, group.chip.on_chip.stream_buffer_bytes / BUFFER_TILES)
    if isinstance(operator, Collective):
        latency, seconds = all_reduce_seconds(group, operator)
        exposed: dict[Hashable, Picoseconds] = {label: seconds_to_ps(latency)}
        return StreamStage(operator, label, LINK, load, seconds_to_ps(seconds - latency), exposed, tiles)
    compute = stretch(seconds_to_ps(group.arithmetic_seconds(operator, share)), "clock")
    depth = 3 if isinstance(operator, Attention) else 1  # scores, softmax and values are stages of their own
    drain: dict[Hashable, Picoseconds] = {FILL_DRAIN: stretch(seconds_to_ps(depth * timing.stage_latency), "clock")}
    return StreamStage(operator, label, "units", load, compute, drain, tiles)


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


def resident_bytes(chip: Dataflow) -> float:
    """On-chip memory that a fused kernel may fill: its share of the memory units, less the stream buffer."""
    return chip.on_chip.total_bytes * chip.timing.unit_share - chip.on_chip.stream_buffer_bytes


def tile_bytes(decoder: Decoder) -> float:
    """What the token stream keeps on chip beside weights: double buffers between all stages, each a tile of tokens, and
    in prefill the keys and values of the sequence that passes through, which its later tiles read."""
    a_token = sum(largest(operator.activation_bytes) for operator in decoder.operators) / tokens_of(decoder)
    return 2.0 * min(TILE_TOKENS, tokens_of(decoder)) * a_token + sum(
        largest(operator.context) * operator.kv_entry_bytes
        for operator in decoder.operators
        if isinstance(operator, Attention) and not operator.decode
    )


def activation_bytes(group: DataflowGroup, decoder: Decoder) -> float:
    """What the weight stream keeps on chip: the residual of all tokens, and input and output of the widest operator."""
    hidden = max(o.k for o in decoder.operators if isinstance(o, MatrixProduct) and o.weights)
    widest = max(largest(operator.activation_bytes) for operator in decoder.operators)
    return widest + tokens_of(decoder) * hidden * ACTIVATION_BYTES
