"""A decoder that no single kernel holds, cut into kernels that run one after the other: the token stream in sections.

Each section holds its own weights while all tiles of tokens pass through; between sections the chip loads another
program, and what the next one reads crosses off-chip memory. Placement does the same stage by stage
(``chips.placement.sections``); a kernel of the strategies begins and ends with a whole operator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from chips.clock.timeline import seconds_to_ps
from scenarios.strategies.dataflow.stages import DataflowMachine, tokens_of
from scenarios.strategies.dataflow.token_stream import TokenPipeline, token_pipeline
from scenarios.workload.operators import (
    ACTIVATION_BYTES,
    Attention,
    Collective,
    Elementwise,
    MatrixProduct,
    Operator,
    Step,
    largest,
)


def section_pipelines(
    machine: DataflowMachine, step: Step, holds: Callable[[Step], bool], between: int
) -> tuple[float, list[TokenPipeline]]:
    """The decoder of ``step`` as the sections that together take least, and their picoseconds.

    None of them, in infinite time, where an operator alone is too large. ``holds``: whether one kernel holds a decoder;
    ``between``: picoseconds from one section to the next.
    """
    count = len(step.decoder)
    reach, last = [], 0
    for first in range(count):
        last = max(last, first + 1)
        if not _fits(step, first, last, holds):
            return float("inf"), []
        while last < count and _fits(step, first, last + 1, holds):  # one operator more only needs more
            last += 1
        reach.append(last)
    # From each operator to the end: picoseconds, and the sections.
    best: list[tuple[float, list[TokenPipeline]]] = [(0.0, [])] * (count + 1)
    for first in range(count - 1, -1, -1):
        found = [(float("inf"), list[TokenPipeline]())]
        for last in range(first + 1, reach[first] + 1):
            if _has_weights(step, first, last):
                pipeline = _pipeline(machine, step, first, last)
                work = pipeline.weight_load + pipeline.tiles * pipeline.stages[pipeline.slowest].ps + pipeline.latency
                found.append((between + work + best[last][0], [pipeline, *best[last][1]]))
        best[first] = min(found, key=lambda choice: choice[0])
    return best[0]


def _fits(step: Step, first: int, last: int, holds: Callable[[Step], bool]) -> bool:
    return not _has_weights(step, first, last) or holds(_part(step, first, last))


def _has_weights(step: Step, first: int, last: int) -> bool:
    return any(isinstance(operator, MatrixProduct) and operator.weights for operator in step.decoder[first:last])


def _part(step: Step, first: int, last: int) -> Step:
    """Some operators of the decoder, with their share of the activations that a training step keeps."""
    share = (last - first) / len(step.decoder)
    return replace(step, decoder=step.decoder[first:last], kept_bytes=step.kept_bytes * share)


def _pipeline(machine: DataflowMachine, step: Step, first: int, last: int) -> TokenPipeline:
    """A section's stages; what the sections beside it wrote or will read moves through memory with every tile."""
    pipeline = token_pipeline(machine, _part(step, first, last))
    crossing = sum(_crossing_bytes(step, cut) for cut in (first, last) if 0 < cut < len(step.decoder))
    moved = crossing / pipeline.tiles / machine.memory_bandwidth
    return replace(pipeline, tile_load=pipeline.tile_load + seconds_to_ps(moved))


def _crossing_bytes(step: Step, cut: int) -> float:
    """What the operators before a cut leave to those after it: the residual, and the last one's output."""
    hidden = max(operator.k for operator in step.decoder if isinstance(operator, MatrixProduct) and operator.weights)
    return tokens_of(step) * hidden * ACTIVATION_BYTES + _output_bytes(step.decoder[cut - 1])


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
