"""A decoder that no single kernel holds, cut into kernels that run one after the other: the token stream in sections.

Each section holds its own weights while all tiles of tokens pass through; between sections the chip loads another
program, and what the next one reads crosses off-chip memory. Placement does the same stage by stage
(``chips.placement.sections``); a kernel of the strategies begins and ends with a whole operator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from chips.clock.timeline import seconds_to_ps
from scenarios.strategies.dataflow.stages import DataflowGroup, tokens_of
from scenarios.strategies.dataflow.token_stream import TokenPipeline, token_pipeline
from scenarios.workload.operators import (
    ACTIVATION_BYTES,
    Attention,
    Collective,
    Decoder,
    Elementwise,
    MatrixProduct,
    Operator,
    largest,
)


def section_pipelines(
    group: DataflowGroup, decoder: Decoder, holds: Callable[[Decoder], bool], between: int
) -> tuple[float, list[TokenPipeline]]:
    """A decoder as the sections that together take least, and their picoseconds.

    None of them, in infinite time, where an operator alone is too large. ``holds``: whether one kernel holds a decoder;
    ``between``: picoseconds from one section to the next.
    """
    count = len(decoder.operators)
    reach, last = [], 0
    for first in range(count):
        last = max(last, first + 1)
        if not _fits(decoder, first, last, holds):
            return float("inf"), []
        while last < count and _fits(decoder, first, last + 1, holds):  # one operator more only needs more
            last += 1
        reach.append(last)
    # From each operator to the end: picoseconds, and the sections.
    best: list[tuple[float, list[TokenPipeline]]] = [(0.0, [])] * (count + 1)
    for first in range(count - 1, -1, -1):
        found = [(float("inf"), list[TokenPipeline]())]
        for last in range(first + 1, reach[first] + 1):
            if _has_weights(decoder, first, last):
                pipeline = _pipeline(group, decoder, first, last)
                work = pipeline.weight_load + pipeline.tiles * pipeline.stages[pipeline.slowest].ps + pipeline.latency
                found.append((between + work + best[last][0], [pipeline, *best[last][1]]))
        best[first] = min(found, key=lambda choice: choice[0])
    return best[0]


def _fits(decoder: Decoder, first: int, last: int, holds: Callable[[Decoder], bool]) -> bool:
    return not _has_weights(decoder, first, last) or holds(_part(decoder, first, last))


def _has_weights(decoder: Decoder, first: int, last: int) -> bool:
    return any(isinstance(operator, MatrixProduct) and operator.weights for operator in decoder.operators[first:last])


def _part(decoder: Decoder, first: int, last: int) -> Decoder:
    """Some operators of the decoder, with their share of the activations that a training step keeps."""
    share = (last - first) / len(decoder.operators)
    return replace(decoder, operators=decoder.operators[first:last], kept_bytes=decoder.kept_bytes * share)


def _pipeline(group: DataflowGroup, decoder: Decoder, first: int, last: int) -> TokenPipeline:
    """A section's stages; what the sections beside it wrote or will read moves through memory with every tile."""
    pipeline = token_pipeline(group, _part(decoder, first, last))
    crossing = sum(_crossing_bytes(decoder, cut) for cut in (first, last) if 0 < cut < len(decoder.operators))
    moved = crossing / pipeline.tiles / group.chip.streaming_bandwidth
    return replace(pipeline, tile_load=pipeline.tile_load + seconds_to_ps(moved))


def _crossing_bytes(decoder: Decoder, cut: int) -> float:
    """What the operators before a cut leave to those after it: the residual, and the last one's output."""
    hidden = max(
        operator.k for operator in decoder.operators if isinstance(operator, MatrixProduct) and operator.weights
    )
    return tokens_of(decoder) * hidden * ACTIVATION_BYTES + _output_bytes(decoder.operators[cut - 1])


def _output_bytes(operator: Operator) -> float:
    match operator:
        case MatrixProduct():
            return largest(operator.m) * operator.n * operator.count * ACTIVATION_BYTES
        case Attention():
            tokens = largest(operator.batch) * largest(operator.tokens)
            return tokens * operator.heads * operator.head_dim * ACTIVATION_BYTES
        case Elementwise():
            return largest(operator.bytes_written)
        case Collective():
            return largest(operator.payload_bytes)
