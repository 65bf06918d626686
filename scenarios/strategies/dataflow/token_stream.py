"""The token stream: a decoder's weights stay on chip while tiles of tokens pass through all its stages at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from chips.clock.timeline import Buffer, Time, Timeline, seconds_to_ps
from chips.placement import ComputeUnit
from chips.spec import Dataflow
from cluster import Cluster
from scenarios.strategies.dataflow.stages import (
    DataflowGroup,
    all_reduce_seconds,
    limiter_of,
    state_bytes,
    tokens_of,
)
from scenarios.strategies.label import FILL_DRAIN, HBM, LINK, Label
from scenarios.workload.operators import Collective, Decoder, MatrixProduct, Operator, largest

TILE_ROWS = (32, 48, 64, 96, 128)
"""Tokens in a tile: at least as many as lanes, so that the next weights enter behind a tile's products."""


@dataclass(frozen=True, slots=True)
class TileCost:
    """What one operator adds to a token stream. Picoseconds of a tile: ``units``, on all, and ``link``, alone on it.

    ``latency``: from a tile's end in its stage to the next one; ``weight_load``: of its weights; ``moved_bytes``: what
    else all tiles together move through off-chip memory.
    """

    operator: Operator
    label: Label
    units: int
    link: int
    latency: int
    weight_load: int
    moved_bytes: float


@dataclass(slots=True)
class StreamTotals:
    """Several operators of a token stream together, in picoseconds: stages on units balance, others share the link."""

    stages: int = 0
    collectives: int = 0
    units: int = 0
    links: int = 0
    slowest_link: int = 0
    latency: int = 0
    weight_load: int = 0
    moved_bytes: float = 0.0

    def add(self, cost: TileCost) -> None:
        """One operator more."""
        if isinstance(cost.operator, Collective):
            self.collectives += 1
            self.links += cost.link
            self.slowest_link = max(self.slowest_link, cost.link)
        else:
            self.stages += 1
            self.units += cost.units
        self.latency += cost.latency
        self.weight_load += cost.weight_load
        self.moved_bytes += cost.moved_bytes

    @property
    def slowest_ps(self) -> int:
        """A tile in the slowest stage."""
        return max(self.units, self.collectives * self.slowest_link)

    @property
    def through_ps(self) -> int:
        """One tile through all stages, to its result."""
        return self.stages * self.units + self.collectives * self.links + self.latency

    def alone_ps(self, tiles: int, tile_load: int) -> int:
        """A kernel of these alone, on chips that are alike: weights, the first tile, then one an interval."""
        return self.weight_load + tile_load + self.through_ps + (tiles - 1) * max(self.slowest_ps, tile_load)


class TokenStage(NamedTuple):
    """One stage of the token stream: its engine, its operator, and the picoseconds of a tile by what they count as."""

    engine: str
    operator: Operator
    duration: Mapping[Hashable, int]

    @property
    def ps(self) -> int:
        return sum(self.duration.values())


@dataclass(frozen=True)
class TokenPipeline:
    """Operators through which ``tokens`` pass in tiles of ``rows``.

    ``tile_load``: picoseconds in which a tile moves what is no weight through off-chip memory.

    Units are dealt out in proportion to work, so that all stages take the same time for a tile. The collectives share
    the link, each at its part of the rate.
    """

    rows: int
    tokens: int
    costs: tuple[TileCost, ...]
    tile_load: int

    @property
    def tiles(self) -> int:
        return -(-self.tokens // self.rows)

    def on(self, group: DataflowGroup) -> TokenPipeline:
        """The same on chips of which some have slower links."""
        if group.cluster.slowest_link == 1.0:
            return self
        costs = (_tile_cost(group, cost.operator, self.rows, self.tokens) for cost in self.costs)
        return replace(self, costs=tuple(costs))

    @property
    def stages(self) -> tuple[TokenStage, ...]:
        """The common time of all units is booked to the operators in proportion to the units that these hold."""
        balanced: dict[Hashable, int] = {}
        for cost in self.costs:
            if not isinstance(cost.operator, Collective):
                balanced[cost.label] = balanced.get(cost.label, 0) + cost.units
        return tuple(
            TokenStage(f"{LINK} {index}", cost.operator, {cost.label: self.totals.collectives * cost.link})
            if isinstance(cost.operator, Collective)
            else TokenStage(f"stage {index}", cost.operator, balanced)
            for index, cost in enumerate(self.costs)
        )

    @cached_property
    def totals(self) -> StreamTotals:
        totals = StreamTotals()
        for cost in self.costs:
            totals.add(cost)
        return totals

    @property
    def alone_ps(self) -> int:
        """A kernel of these alone."""
        return self.totals.alone_ps(self.tiles, self.tile_load)

    def least_ps(self, layers: int) -> int:
        """What so many decoders in a loop take at least: the busiest stage, the memory, or one tile after the other."""
        loads = self.totals.weight_load + self.tiles * self.tile_load
        return layers * max(self.tiles * self.totals.slowest_ps, loads, self.totals.through_ps)

    def looped_ps(self, layers: int, decoders_held: int) -> int:
        """What so many decoders in a loop take on chips that are alike, of which the chip holds some at a time.

        The tasks of ``run_token_pipeline`` on plain numbers, all tiles of a stage at once, until every one of them
        moves by the same from layer to layer.
        """
        order, stages = np.arange(self.tiles), [stage.ps for stage in self.stages]
        weight_load, latency = self.totals.weight_load, self.totals.latency
        free, slots = [0] * len(stages), deque([0] * decoders_held)
        memory = first = last = 0
        state: list[int] = []
        for layer in range(layers):
            loaded = max(memory, slots.popleft()) + weight_load
            ready = np.full(self.tiles, max(first, loaded))
            ready[-1] = max(ready[-1], last if self.tiles > 1 else 0)
            ready = np.maximum(ready, loaded + self.tile_load * (order + 1))
            memory = loaded + self.tile_load * self.tiles
            for place, took in enumerate(stages):
                # out(i) = max(out(i - 1), ready(i)) + took, for all i
                ready -= took * order
                ready[0] = max(ready[0], free[place])
                ready = np.maximum.accumulate(ready) + took * (order + 1)
                free[place] = int(ready[-1])
            first, last = int(ready[0]) + latency, int(ready[-1]) + latency
            slots.append(last)
            before, state = state, [*free, *slots, memory, first, last]
            moved = {now - then for now, then in zip(state, before, strict=False)}
            if len(moved) == 1:
                return last + moved.pop() * (layers - 1 - layer)
        return last


def tile_rows(chip: Dataflow, tokens: int) -> list[int]:
    """Tokens in a tile that a compiler tries for so many: without those that take no less of any unit than a smaller.

    A tile takes whole turns of a unit's stages, and the last one costs as much as a full one. A smaller tile fills and
    drains sooner and needs less room.
    """
    kept: dict[int, tuple[int, int]] = {}
    for rows in TILE_ROWS:
        whole = -(-tokens // rows)
        cost = whole * rows, whole * turn_rows(chip, rows)
        if not any(least[0] <= cost[0] and least[1] <= cost[1] for least in kept.values()):
            kept[rows] = cost
    return list(kept)


def turn_rows(chip: Dataflow, rows: int) -> int:
    """Rows that products of ``rows`` cost: whole turns of a unit's stages, which each hold one."""
    unit = ComputeUnit.of(chip)
    return unit.turns(rows) * unit.depth


def tile_costs(group: DataflowGroup, decoder: Decoder, rows: int) -> tuple[TileCost, ...]:
    """What each operator of a decoder adds to a stream of tiles of ``rows`` tokens."""
    tokens = tokens_of(decoder)
    return tuple(_tile_cost(group, operator, rows, tokens) for operator in decoder.operators)


def _tile_cost(group: DataflowGroup, operator: Operator, rows: int, tokens: int) -> TileCost:
    label, chip, tiles = Label(operator.part, limiter_of(operator)), group.chip, -(-tokens // rows)
    if isinstance(operator, Collective):
        padded = largest(operator.payload_bytes) / tokens * (tiles * rows)
        latency, seconds = map(largest, all_reduce_seconds(group, replace(operator, payload_bytes=padded)))
        return TileCost(operator, label, 0, seconds_to_ps((seconds - latency) / tiles), seconds_to_ps(latency), 0, 0.0)
    weights = isinstance(operator, MatrixProduct) and operator.weights
    taken = turn_rows(chip, rows) if weights else rows
    streamed = largest(operator.stream_bytes) + state_bytes(operator)
    return TileCost(
        operator,
        label,
        units=seconds_to_ps(largest(group.arithmetic_seconds(operator, 1.0)) / tokens * taken),
        link=0,
        latency=seconds_to_ps(chip.timing.stage_latency),
        weight_load=seconds_to_ps(streamed / chip.streaming_bandwidth) if weights else 0,
        moved_bytes=0.0 if weights else streamed,
    )


def tile_load_ps(chip: Dataflow, moved_bytes: float, tiles: int) -> int:
    """A tile's part of what all tiles together move through off-chip memory."""
    return seconds_to_ps(moved_bytes / tiles / chip.streaming_bandwidth)


def run_token_pipeline(
    clock: Timeline, cluster: Cluster, pipeline: TokenPipeline, weight_buffer: Buffer, first: Time, last: Time
) -> tuple[Time, Time]:
    """Issue one decoder: ``first`` and ``last`` are when its first and last tile of input are complete.

    Returns the same for its output. A stage's first tile fills the pipeline and its last tile drains it, except in
    the slowest stage, which is the one that counts.
    """
    memory = clock.engine(HBM)
    slot = weight_buffer.acquire()
    stretch = cluster.stretch
    weight_load, tile_load = stretch(pipeline.totals.weight_load, "memory"), stretch(pipeline.tile_load, "memory")
    loaded = clock.task(memory, weight_load, after=(slot,), label=Label("matmul", HBM), name="weights")
    stages = pipeline.stages
    slowest = max(range(len(stages)), key=lambda index: stages[index].ps)

    def tile(ready: Time, *, edge: bool) -> Time:
        if pipeline.tile_load:
            moved = clock.task(memory, tile_load, label=Label("attention", HBM), name="cache and activations")
            ready = clock.join(ready, moved)
        for index, stage in enumerate(stages):
            booked = {FILL_DRAIN: stage.ps} if edge and index != slowest else stage.duration
            operator, linked = stage.operator, isinstance(stage.operator, Collective)
            ready = cluster.meet(clock, ready) if linked else ready
            duration = {label: ps if linked else stretch(ps, "clock") for label, ps in booked.items()}
            ready = clock.task(clock.engine(stage.engine), duration, (ready,), None, operator.name, operator)
        return ready

    def through(ready: Time, which: str) -> Time:
        """From the last stage's end to the result, while other tiles follow."""
        return clock.task(clock.engine(f"{which} tile"), pipeline.totals.latency, (ready,), FILL_DRAIN, "latency")

    start = clock.join(first, loaded)
    first_out = through(tile(start, edge=True), "first")

    def middle(carried: tuple[Time, ...]) -> tuple[Time, ...]:
        tile(carried[0], edge=False)
        return carried

    clock.loop(max(pipeline.tiles - 2, 0), middle, (start,))
    end = through(tile(clock.join(start, last), edge=True), "last") if pipeline.tiles > 1 else first_out
    weight_buffer.release(end)
    return first_out, end
