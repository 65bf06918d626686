"""A fused kernel before it has a place: stages, the buffers between them, and how often they pass.

Known here: how much work a stage has on one unit of a chip and along what it may be cut. Not here: how many units it
gets (``allocation.py``), where they are (``placing.py``). Whoever knows operators builds a program from these; sizes in
bytes, times in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

from results.errors import LooplineError

OUTSIDE = -1
"""The source of a buffer that is filled from off-chip memory, by the kernel before."""
Control = Literal["in turn", "pipelined"]


class TooLarge(LooplineError, ValueError):
    """No number of kernels holds the program; the message names the stage and what it needs."""


@dataclass(frozen=True)
class Operand:
    """The wide operand of a product (weights, keys, values), which memory units feed to the lanes.

    ``num_bytes``: read in each of ``turns`` a pass. Of these, ``resident_bytes`` lie on chip as long as the kernel runs
    and ``loaded_bytes`` come from off-chip memory once, at its start; ``streamed_bytes`` come from there in every pass.
    """

    num_bytes: float
    turns: int
    resident_bytes: float = 0.0
    loaded_bytes: float = 0.0
    streamed_bytes: float = 0.0

    def share(self, parts: int) -> Operand:
        """One of ``parts`` equal shares."""
        sizes = self.num_bytes, self.resident_bytes, self.loaded_bytes, self.streamed_bytes
        own, resident, loaded, streamed = (size / parts for size in sizes)
        return Operand(own, self.turns, resident, loaded, streamed)


@dataclass(frozen=True)
class Exchange:
    """What a stage does with other chips in a pass: bytes that leave (as many enter), seconds on the link, latency."""

    num_bytes: float
    seconds: float
    latency: float


@dataclass(frozen=True)
class Stage:
    """One operation of a fused kernel.

    ``blocks``: (along the result, along the depth of the sum) blocks into which the work of a pass may be cut; a unit
    takes whole ones. ``block_seconds``: one block on one compute unit. Of a product also ``rows``, of its narrow
    operand, and ``copies``, of independent products that lie one after the other along the result.
    """

    name: str
    blocks: tuple[int, int]
    block_seconds: float
    rows: float = 0.0
    copies: int = 1
    operand: Operand | None = None
    exchange: Exchange | None = None

    @property
    def unit_seconds(self) -> float:
        """All work of a pass on one compute unit."""
        return self.blocks[0] * self.blocks[1] * self.block_seconds


@dataclass(frozen=True)
class Buffer:
    """A tensor between stages: ``num_bytes`` pass through it in a pass, ``held_bytes`` of them lie there at once.

    ``source``: index of the stage that writes it, or OUTSIDE. ``readers``: indices of those that read it. ``until``:
    the last stage while which it must lie on chip; the number of stages for what the next decoder reads.
    """

    name: str
    num_bytes: float
    held_bytes: float
    source: int
    readers: tuple[int, ...]
    until: int

    @property
    def distance(self) -> int:
        """Stages from its writer to its end: in a pipeline, a value that skips k stages is held k + 1 times."""
        return self.until - (min(self.readers) - 1 if self.source == OUTSIDE else self.source)


@dataclass(frozen=True)
class FusedProgram:
    """Stages in program order and the buffers between them.

    ``control``: *in turn*: one stage after the other works on all of the pass (weights stream past it); *pipelined*:
    all stages work at once, each on another of the ``passes`` (tiles stream past resident weights).
    ``memory_bytes``: what a pass moves to or from off-chip memory beside streamed operands.
    """

    name: str
    stages: tuple[Stage, ...]
    buffers: tuple[Buffer, ...]
    control: Control
    passes: int = 1
    memory_bytes: float = 0.0

    def copies(self, buffer: Buffer) -> int:
        """How many passes' worth of ``buffer`` are held at once."""
        return max(2, buffer.distance + 1) if self.control == "pipelined" else 1

    def part(self, first: int, last: int) -> FusedProgram:
        """Stages ``first`` up to ``last`` (not included) as a kernel whose input and output cross memory."""
        if (first, last) == (0, len(self.stages)):
            return self
        crossing = 0.0
        buffers = []
        for buffer in self.buffers:
            readers = tuple(reader - first for reader in buffer.readers if first <= reader < last)
            written = first <= buffer.source < last
            if not readers and not written:
                continue
            leaves = written and buffer.until >= last
            crossing += buffer.num_bytes * (leaves + (not written))
            source = buffer.source - first if written else OUTSIDE
            until = last - first if leaves else max(readers, default=source)
            buffers.append(replace(buffer, source=source, readers=readers, until=until))
        stages = self.stages[first:last]
        memory = self.memory_bytes * len(stages) / len(self.stages) + crossing
        name = f"{stages[0].name} to {stages[-1].name}" if len(stages) > 1 else stages[0].name
        return replace(self, name=name, stages=stages, buffers=tuple(buffers), memory_bytes=memory)


def with_shares(program: FusedProgram, fits: Callable[[FusedProgram], bool]) -> FusedProgram:
    """``program`` with every stage that alone is too large cut into the fewest equal shares that are not.

    Raises TooLarge where even a share of one block is.
    """
    index = 0
    while index < len(program.stages):
        alone = program.part(index, index + 1)
        least, parts = 1, alone.stages[0].blocks[0]
        if not fits(_first_share(alone, parts)):
            raise TooLarge(f"{program.stages[index].name} alone is too large, even for a kernel of its own")
        while least < parts:
            middle = (least + parts) // 2
            least, parts = (least, middle) if fits(_first_share(alone, middle)) else (middle + 1, parts)
        program = _cut(program, index, parts)
        index += parts
    return program


def _first_share(alone: FusedProgram, parts: int) -> FusedProgram:
    """One of ``parts`` shares of the only stage of a program: all of its input, and its share of the result."""
    buffers = (
        buffer
        if buffer.source == OUTSIDE
        else replace(buffer, num_bytes=buffer.num_bytes / parts, held_bytes=buffer.held_bytes / parts)
        for buffer in alone.buffers
    )
    return replace(alone, stages=(_share(alone.stages[0], parts),), buffers=tuple(buffers))


def _share(stage: Stage, parts: int) -> Stage:
    operand = stage.operand.share(parts) if stage.operand else None
    return replace(stage, blocks=(ceil(stage.blocks[0] / parts), stage.blocks[1]), operand=operand)


def _cut(program: FusedProgram, index: int, parts: int) -> FusedProgram:
    """``program`` with stage ``index`` as ``parts`` equal shares along its result, one after the other."""
    if parts == 1:
        return program
    stage = program.stages[index]
    own = _share(stage, parts)
    shares = [replace(own, name=f"{stage.name}, {number} of {parts}") for number in range(1, parts + 1)]

    def moved(place: int) -> int:
        return place if place <= index else place + parts - 1

    buffers: list[Buffer] = []
    for buffer in program.buffers:
        readers = [moved(reader) for reader in buffer.readers if reader != index]
        readers += range(index, index + parts) if index in buffer.readers else []
        until = buffer.until + parts - 1 if buffer.until >= index else buffer.until
        kept = replace(buffer, source=moved(buffer.source), readers=tuple(sorted(readers)), until=until)
        if buffer.source == index:
            piece = replace(kept, num_bytes=buffer.num_bytes / parts, held_bytes=buffer.held_bytes / parts)
            buffers += [replace(piece, source=index + place) for place in range(parts)]
        else:
            buffers.append(kept)
    stages = (*program.stages[:index], *shares, *program.stages[index + 1 :])
    return replace(program, stages=stages, buffers=tuple(buffers))
