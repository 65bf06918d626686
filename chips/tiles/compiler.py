"""A tile program on a chip: its stages on the chip's engines, their bytes and FLOP, and the time of it all.

Belongs here: what both kinds of chip share. ``chips.tiles.spatial`` lays stages out side by side on a dataflow chip,
``chips.tiles.gpu`` runs them on the warps of streaming multiprocessors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from chips.pipeline.metapipeline import Metapipeline
from chips.spec import Dataflow, Gpu
from chips.tiles.language import Loop, Operation, Shape, TileError, Trace, trace

ELEMENT_BYTES = 2
"""Tiles are bf16; the matrix units accumulate in fp32."""


@dataclass(frozen=True)
class Compiled:
    """One program on one chip.

    ``pipeline``: what the picture shows, the loop in which the program spends most of its time. ``seconds``: all of
    it, launch apart; ``limiter``: what it waits for. ``in_turn_seconds``: the same with one stage at a time;
    ``single_buffered_seconds``: with room for one tile in every buffer. ``engines``: share of that time in which each
    engine works. ``units``: compute units of each stage, where each has its own. ``buffer_bytes``: on-chip memory
    taken; ``flop``: in matrix products; ``memory_bytes``: to and from the chip's memory. ``stages``: a record of each.
    """

    program: str
    chip: str
    pipeline: Metapipeline
    seconds: float
    engines: dict[str, float]
    units: dict[str, int]
    buffer_bytes: int
    flop: int
    memory_bytes: int
    stages: list[dict[str, object]]
    limiter: str
    in_turn_seconds: float
    single_buffered_seconds: float

    @property
    def flops(self) -> float:
        """Matrix FLOP/s achieved."""
        return self.flop / self.seconds

    def record(self) -> dict[str, object]:
        """Plain values: seconds, bytes, FLOP/s; engines and stages are fields of their own."""
        return {
            "program": self.program,
            "chip": self.chip,
            "seconds": self.seconds,
            "initiation_interval_seconds": float(self.pipeline.initiation_interval_ps) * 1e-12,
            "speedup_over_sequential": self.in_turn_seconds / self.seconds,
            "speedup_over_single_buffers": self.single_buffered_seconds / self.seconds,
            "limiting_stage": self.pipeline.limiter,
            "limited_by": self.limiter,
            "buffer_bytes": self.buffer_bytes,
            "memory_bytes": self.memory_bytes,
            "matrix_flop": self.flop,
            "matrix_flop_per_second": self.flops,
        }


def compile_program(
    program: Callable[..., None], chip: Gpu | Dataflow, asynchronous: bool | None = None, **shapes: Shape
) -> Compiled:
    """Compile ``program`` for tensors of ``shapes``.

    ``asynchronous``: on a GPU, whether matrix instructions run beside the vector work of the same thread block
    (default: as the generation does). Raises TileError on the program's mistakes, with file and line, and where the
    generation has no asynchronous matrix instructions.
    """
    from chips.tiles.gpu import compile_gpu
    from chips.tiles.spatial import compile_spatial

    found = trace(program, **shapes)
    if not found.operations:
        raise TileError(f"'{found.name}' does nothing: it loads no tile.")
    if isinstance(chip, Gpu):
        able = chip.generation.attention.asynchronous
        if asynchronous and not able:
            raise TileError(f"{chip.title} has no asynchronous matrix instructions; it runs '{found.name}' in turn.")
        return compile_gpu(found, chip, able if asynchronous is None else asynchronous)
    return compile_spatial(found, chip)


def executions(loop: Loop) -> int:
    """How often the body of ``loop`` runs in all."""
    return prod(each.iterations for each in loop.ancestors())


def tile_bytes(operation: Operation) -> int:
    """Bytes of the tile that an operation makes or stores."""
    return prod(operation.shape) * ELEMENT_BYTES


def moved_bytes(operation: Operation) -> float:
    """Bytes of a load's or store's tile that cross the memory: of masked tiles their part of the tensor, on average."""
    return tile_bytes(operation) * operation.inside if operation.kind in ("load", "store") else 0.0


def total(found: Trace, count: Callable[[Operation], float]) -> int:
    """A count summed over all executions of all operations."""
    return round(sum(count(operation) * executions(operation.loop) for operation in found.operations))


def check_tiles(found: Trace, room: int, memory: str) -> None:
    """Raise TileError with the line of the first tile that is larger than ``room`` bytes."""
    for operation in found.operations:
        size = tile_bytes(operation)
        if size > room:
            rows, columns = operation.shape
            raise TileError(
                f"{operation.place}: a tile of {rows} x {columns} takes {size:,} bytes; {memory} holds {room:,}."
            )
