"""The token stream: a decoder's weights stay on chip while tiles of tokens pass through all its stages at once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from chips.clock.timeline import Buffer, Time, Timeline, seconds_to_ps
from cluster import Cluster
from scenarios.strategies.dataflow.stages import (
    TILE_TOKENS,
    DataflowGroup,
    all_reduce_seconds,
    limiter_of,
    tokens_of,
    weight_bytes,
)
from scenarios.strategies.label import FILL_DRAIN, HBM, LINK, Label
from scenarios.workload.operators import Collective, Decoder, Operator, largest


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
    """A decoder's stages through which ``tiles`` of tokens pass. Loads and latency in picoseconds.

    ``weight_load``: the decoder's weights, once; ``tile_load``: what else a tile moves through off-chip memory;
    ``latency``: of the collectives and of all stages, once.
    """

    tiles: int
    stages: tuple[TokenStage, ...]
    weight_load: int
    tile_load: int
    latency: int

    @property
    def slowest(self) -> int:
        times = [stage.ps for stage in self.stages]
        return times.index(max(times))

    @property
    def steady_ps(self) -> int:
        """All tiles at the initiation interval, or all loads, whichever is longer: without filling and draining."""
        interval = self.stages[self.slowest].ps
        return max(self.tiles * interval, self.weight_load + self.tiles * self.tile_load)


def token_pipeline(group: DataflowGroup, decoder: Decoder) -> TokenPipeline:
    """Stages balanced by giving each units in proportion to its work, so that all take the same time for a tile.

    Their common time is booked to the operators in proportion to the units that these hold. The collectives share the
    link, each at its part of the rate.
    """
    tiles = -(-tokens_of(decoder) // TILE_TOKENS)
    units = [operator for operator in decoder.operators if not isinstance(operator, Collective)]
    collectives = [operator for operator in decoder.operators if isinstance(operator, Collective)]
    shares: dict[Hashable, float] = {}
    for unit in units:
        label = Label(unit.part, limiter_of(unit))
        shares[label] = shares.get(label, 0.0) + largest(group.arithmetic_seconds(unit, 1.0)) / tiles
    balanced = {label: seconds_to_ps(seconds) for label, seconds in shares.items()}
    stages: list[TokenStage] = []
    latencies = 0.0
    for index, operator in enumerate(decoder.operators):
        if isinstance(operator, Collective):
            own, seconds = (largest(each) for each in all_reduce_seconds(group, operator))
            a_tile = seconds_to_ps(len(collectives) * (seconds - own) / tiles)
            stages.append(TokenStage(f"{LINK} {index}", operator, {Label("allreduce", LINK): a_tile}))
            latencies += own
        else:
            stages.append(TokenStage(f"stage {index}", operator, balanced))
    weights = weight_bytes(decoder)
    others = sum(largest(operator.stream_bytes) for operator in decoder.operators) - weights + decoder.kept_bytes
    latency = latencies + len(units) * group.chip.timing.stage_latency
    return TokenPipeline(
        tiles,
        tuple(stages),
        weight_load=seconds_to_ps(weights / group.chip.streaming_bandwidth),
        tile_load=seconds_to_ps(others / tiles / group.chip.streaming_bandwidth),
        latency=seconds_to_ps(latency),
    )


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
    weight_load, tile_load = stretch(pipeline.weight_load, "memory"), stretch(pipeline.tile_load, "memory")
    loaded = clock.task(memory, weight_load, after=(slot,), label=Label("matmul", HBM), name="weights")
    slowest = pipeline.slowest

    def tile(ready: Time, *, edge: bool) -> Time:
        if pipeline.tile_load:
            moved = clock.task(memory, tile_load, label=Label("attention", HBM), name="cache and activations")
            ready = clock.join(ready, moved)
        for index, stage in enumerate(pipeline.stages):
            booked = {FILL_DRAIN: stage.ps} if edge and index != slowest else stage.duration
            operator, linked = stage.operator, isinstance(stage.operator, Collective)
            ready = cluster.meet(clock, ready) if linked else ready
            duration = {label: ps if linked else stretch(ps, "clock") for label, ps in booked.items()}
            ready = clock.task(clock.engine(stage.engine), duration, (ready,), None, operator.name, operator)
        return ready

    start = clock.join(first, loaded)
    first_out = tile(start, edge=True)
    first_out = clock.task(clock.engine("pipeline"), {FILL_DRAIN: pipeline.latency}, after=(first_out,), name="latency")

    def middle(carried: tuple[Time, ...]) -> tuple[Time, ...]:
        tile(carried[0], edge=False)
        return carried

    clock.loop(max(pipeline.tiles - 2, 0), middle, (start,))
    end = tile(clock.join(start, last), edge=True) if pipeline.tiles > 1 else first_out
    weight_buffer.release(end)
    return first_out, end
