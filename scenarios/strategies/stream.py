"""A fused kernel whose weights stream past its stages: the inside of ``fused_decoder`` and ``kernel_loop``.

Weights and KV cache arrive tile by tile on the HBM engine, in program order, at most a stream buffer ahead of their
use. A stage multiplies a tile when it has arrived and the stage's input is complete; when its last tile is done, the
result needs ``latency`` to reach the next stage. While a dependent tail (attention, AllReduce) runs, loads go on only
until the buffer is full: what a boundary costs then follows from the clock, not from a formula.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chips.clock.time import IntArray, plain
from chips.clock.timeline import Buffer, Picoseconds, Time, Timeline
from cluster import Cluster
from scenarios.strategies.label import HBM, LINK, Label
from scenarios.workload.operators import Attention, Operator, Quantity

TileTimes = tuple[Picoseconds, Picoseconds]
"""Load and compute of one tile."""
FEW_TILES = 32  # as many are issued one by one in less time than a loop takes to see that it is periodic


def stream_tiles(operator: Operator, moved_bytes: Quantity, slot_bytes: float) -> int | IntArray:
    """Tiles in which an operator's bytes stream, each at most a slot of the stream buffer; 0 for no bytes.

    Weights come in as few tiles as hold them. A KV cache grows, and a kernel is compiled for sizes that double: it
    comes in a power of two of tiles.
    """
    fewest = np.ceil(np.asarray(moved_bytes) / slot_bytes).astype(np.int64)
    if isinstance(operator, Attention):
        mantissa, exponent = np.frexp(fewest)
        fewest = np.where(fewest == 0, 0, 1 << np.where(mantissa == 0.5, exponent - 1, exponent))
    return plain(fewest)


@dataclass(frozen=True, slots=True)
class StreamStage:
    """One operator inside a fused kernel. Times in picoseconds for all of its ``tiles`` together.

    ``load``: off-chip memory time of its weights or KV cache; ``compute``: time on ``engine``, in parallel with loads;
    ``latency``: from its last tile to its result at the next stage, by what it is counted as. A stage with 0
    ``tiles`` loads nothing. Passes side by side may each have their own number of them. ``tile``, ``last``: load
    and compute of every tile but the last, and of that; without them all tiles take equally long.
    """

    operator: Operator
    label: Label
    engine: str
    load: Picoseconds
    compute: Picoseconds
    latency: Mapping[Hashable, Picoseconds]
    tiles: int | IntArray = 0
    tile: TileTimes | None = None
    last: TileTimes | None = None

    @property
    def tile_times(self) -> tuple[TileTimes, TileTimes]:
        """Of every tile but the last, and of the last."""
        if self.tile is not None and self.last is not None:
            return self.tile, self.last
        load, compute, rest = self.load // self.tiles, self.compute // self.tiles, self.tiles - 1
        # The last tile takes what the division left over, so that no picosecond is lost.
        return (load, compute), (self.load - load * rest, self.compute - compute * rest)

    @property
    def whole(self) -> TileTimes:
        """Load and compute of all tiles, each rounded to picoseconds by itself."""
        if isinstance(self.tiles, int) and self.tiles == 0:
            return self.load, self.compute
        (load, compute), (last_load, last_compute) = self.tile_times
        return (self.tiles - 1) * load + last_load, (self.tiles - 1) * compute + last_compute

    @property
    def alone_ps(self) -> Picoseconds:
        """What it takes when nothing is before it, with a buffer of two tiles or more."""
        drain = sum(self.latency.values())
        if isinstance(self.tiles, int) and self.tiles == 0:
            return self.compute + drain
        (load, compute), (last_load, last_compute) = self.tile_times
        rest = self.tiles - 1
        before = np.where(np.asarray(rest) > 0, np.maximum(load + rest * compute, rest * load + compute), 0)
        return plain(np.asarray(np.maximum(before, rest * load + last_load) + last_compute + drain))


def run_stages(clock: Timeline, cluster: Cluster, stages: Sequence[StreamStage], buffer: Buffer, ready: Time) -> Time:
    """Issue one pass through ``stages`` whose first input is complete at ``ready``; the time of the last result."""
    for stage in stages:
        ready = _run_stage(clock, stage, buffer, cluster.meet(clock, ready) if stage.engine == LINK else ready)
    return ready


def _run_stage(clock: Timeline, stage: StreamStage, buffer: Buffer, ready: Time) -> Time:
    engine, operator, name = clock.engine(stage.engine), stage.operator, stage.operator.name
    if isinstance(stage.tiles, int) and stage.tiles == 0:
        done = clock.task(engine, stage.compute, (ready,), stage.label, name, operator)
        return clock.task(engine, stage.latency, (done,), None, name, operator) if stage.latency else done
    memory = clock.engine(HBM)
    load_label = Label(stage.label.part, HBM)

    def tile(load: Picoseconds, compute: Picoseconds, ready: Time) -> Time:
        slot = buffer.acquire()
        arrived = clock.task(memory, load, (slot,), load_label, name, operator)
        used = clock.task(engine, compute, (arrived, ready), stage.label, name, operator)
        buffer.release(used)
        return used

    tiles = stage.tiles
    (load, compute), last = stage.tile_times

    def every_tile(carried: tuple[Time, ...]) -> tuple[Time, ...]:
        tile(load, compute, carried[0])
        return carried

    rest = tiles - 1
    most = tiles if isinstance(tiles, int) else int(tiles.max())
    clock.loop(rest, every_tile, (ready,), leaps=most > FEW_TILES)
    done = tile(*last, ready)
    return clock.task(engine, stage.latency, (done,), None, name, operator)
