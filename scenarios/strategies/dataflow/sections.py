"""A decoder cut into kernels that run one after the other, each launched with a program of its own.

Each holds its own weights while all tiles of tokens pass through, or is a single operator whose weights stream; what
the next one reads crosses off-chip memory. The chip drains between kernels, so that times add up and the best cuts are
found exactly. Placement does the same stage by stage (``chips.placement.sections``); a kernel of the strategies begins
and ends with a whole operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from scenarios.strategies.dataflow.plans import Kernel, WeightStream
from scenarios.strategies.dataflow.stages import DataflowGroup, tokens_of
from scenarios.strategies.dataflow.token_stream import StreamTotals, TokenPipeline, tile_costs, tile_load_ps
from scenarios.strategies.stream import StreamStage
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


def sections(
    group: DataflowGroup,
    decoder: Decoder,
    alone: Sequence[StreamStage],
    holds: Callable[[Decoder, int], bool],
    tile_rows: Sequence[int],
    between: int,
) -> tuple[int, tuple[Kernel, ...]]:
    """A decoder as the kernels that together take least, and their picoseconds.

    ``alone``: its operators as kernels of their own; ``holds``: whether one kernel holds a decoder as a stream of tiles
    of so many tokens, of which ``tile_rows`` are tried; ``between``: picoseconds that each kernel's launch takes.
    """
    count, tokens = len(decoder.operators), tokens_of(decoder)
    crossing = [0.0, *(_crossing_bytes(decoder, cut) for cut in range(1, count)), 0.0]
    # Tiles that are smaller need less room.
    largest_held = next((rows for rows in reversed(tile_rows) if holds(decoder, rows)), 0)
    sizes = [
        (
            rows,
            tile_costs(group, decoder, rows),
            [count] * count if rows <= largest_held else _reach(decoder, rows, holds),
        )
        for rows in tile_rows
    ]
    # From each operator to the end: picoseconds, and the kernels.
    best: list[tuple[int, tuple[Kernel, ...]]] = [(0, ())] * (count + 1)
    for first in range(count - 1, -1, -1):
        took, rest = best[first + 1]
        single: Kernel = WeightStream((alone[first],))
        least = between + int(alone[first].alone_ps) + took, (single, *rest)
        for rows, costs, reach in sizes:
            totals, tiles = StreamTotals(), -(-tokens // rows)
            for last in range(first + 1, reach[first] + 1):
                totals.add(costs[last - 1])
                if not totals.weight_load:
                    continue
                kept = decoder.kept_bytes * ((last - first) / count)
                moved = totals.moved_bytes + crossing[first] + crossing[last] + kept
                a_tile = tile_load_ps(group.chip, moved, tiles)
                took, rest = best[last]
                took += between + totals.alone_ps(tiles, a_tile)
                if took < least[0]:
                    least = took, (TokenPipeline(rows, tokens, costs[first:last], a_tile), *rest)
        best[first] = least
    return best[0]


def _reach(decoder: Decoder, rows: int, holds: Callable[[Decoder, int], bool]) -> list[int]:
    """For each operator, up to which one a kernel that begins with it holds all: to itself if not even that one."""
    count, reach, last = len(decoder.operators), list[int](), 0
    for first in range(count):
        last = max(last, first)
        while last < count and (  # one operator more only needs more
            not _has_weights(decoder, first, last + 1) or holds(_part(decoder, first, last + 1), rows)
        ):
            last += 1
        reach.append(last)
    return reach


def _has_weights(decoder: Decoder, first: int, last: int) -> bool:
    return any(isinstance(operator, MatrixProduct) and operator.weights for operator in decoder.operators[first:last])


def _part(decoder: Decoder, first: int, last: int) -> Decoder:
    """Some operators of the decoder, with their share of the activations that a training step keeps."""
    share = (last - first) / len(decoder.operators)
    return replace(decoder, operators=decoder.operators[first:last], kept_bytes=decoder.kept_bytes * share)


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
