"""The three strategies on a dataflow chip: operators, whole decoders, or the loop over decoders laid out in space.

A fused kernel has two mappings, and the compiler takes the faster. *Weight stream*: all tokens are held on chip while
the weights pass once (decode). *Token stream*: the decoder's weights are held on chip while tiles of tokens pass
through all stages at once (prefill, training, large batches).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from chips.kernels.kernel_time import MATRIX_UNIT, VECTOR_UNIT
from chips.spec import Dataflow
from chips.timeline import Buffer, Picoseconds, Time, Timeline, seconds_to_ps
from cluster import Cluster
from collectives.library import streamed_all_reduce
from scenarios.errors import DoesNotFit
from scenarios.machine import FILL_DRAIN, LAUNCH, Label
from scenarios.operators import (
    ACTIVATION_BYTES,
    Attention,
    Collective,
    Elementwise,
    MatrixProduct,
    Operator,
    Quantity,
    Step,
)
from scenarios.strategies.registry import strategy
from scenarios.strategies.stream import BUFFER_TILES, LINK, StreamStage, run_stages, stream_tiles

TILE_TOKENS = 64  # tokens in a tile of the token stream: two passes of a unit's 32 lanes hide its 6 stages
LEAST_WORK = 1e-12  # keeps the share of an operator without arithmetic (a copy) above zero


@dataclass(frozen=True)
class DataflowMachine:
    """The dataflow chips of one tensor-parallel group."""

    chip: Dataflow
    cluster: Cluster

    @property
    def memory_bandwidth(self) -> float:
        """What a stream of weights achieves, bytes/s."""
        return self.chip.memory.bandwidth * self.chip.timing.memory_efficiency

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


@strategy("per_operator", "dataflow")
def per_operator(clock: Timeline, machine: DataflowMachine, step: Step, launch: str) -> Time:
    """Every operator is a kernel: its activations cross off-chip memory, and the whole chip drains between kernels."""
    buffer = clock.buffer(BUFFER_TILES)

    def stages(operators: Sequence[Operator]) -> list[StreamStage]:
        return [_stage(machine, operator, 1.0, spill=True) for operator in operators]

    def kernels(stages: Sequence[StreamStage], ready: Time) -> Time:
        for stage in stages:
            ready = _launch(clock, machine, launch, _load_program(clock, machine, launch, ready))
            ready = run_stages(clock, machine.cluster, [stage], buffer, ready)
        return ready

    decoder = stages(step.decoder)
    ready = kernels(stages(step.before), clock.now)
    (ready,) = clock.loop(step.layers, lambda carried: (kernels(decoder, carried[0]),), (ready,), "layer")
    return kernels(stages(step.after), ready)


@strategy("fused_decoder", "dataflow")
def fused_decoder(clock: Timeline, machine: DataflowMachine, step: Step, launch: str) -> Time:
    """One kernel a decoder, launched once for each layer: the pipeline fills and drains at every layer boundary."""
    return _fused(clock, machine, step, launch, looped=False)


@strategy("kernel_loop", "dataflow")
def kernel_loop(clock: Timeline, machine: DataflowMachine, step: Step, launch: str) -> Time:
    """One kernel for all decoders: while a layer's dependent tail finishes, the next layer's weights stream in."""
    return _fused(clock, machine, step, launch, looped=True)


def _fused(clock: Timeline, machine: DataflowMachine, step: Step, launch: str, *, looped: bool) -> Time:
    buffer = clock.buffer(BUFFER_TILES)

    def once(operators: Sequence[Operator], ready: Time) -> Time:
        if not operators:
            return ready
        ready = _launch(clock, machine, launch, _load_program(clock, machine, launch, ready))
        return run_stages(clock, machine.cluster, _stages(machine, operators), buffer, ready)

    ready = once(step.before, clock.now)
    if step.layers:
        ready = _decoders(clock, machine, step, launch, ready, looped=looped)
    return once(step.after, ready)


def _decoders(clock: Timeline, machine: DataflowMachine, step: Step, launch: str, ready: Time, *, looped: bool) -> Time:
    decoder = _decoder_mapping(clock, machine, step, looped)

    def layer(carried: tuple[Time, ...]) -> tuple[Time, ...]:
        first, last = carried
        if not looped:
            first = last = _launch(clock, machine, launch, last)
        return decoder(first, last)

    ready = _load_program(clock, machine, launch, ready)
    if looped:
        ready = _launch(clock, machine, launch, ready)
    return clock.loop(step.layers, layer, (ready, ready), "layer")[1]


def _load_program(clock: Timeline, machine: DataflowMachine, launch: str, ready: Time) -> Time:
    """Shift another program's configuration into all units: the first of a launch's three commands."""
    timing = machine.chip.timing
    cost = timing.program_load + (timing.software_dispatch if launch == "software" else 0.0)
    return clock.barrier(seconds_to_ps(cost), label=LAUNCH, name="program load", after=(ready,))


def _launch(clock: Timeline, machine: DataflowMachine, launch: str, ready: Time) -> Time:
    """A synchronization boundary: the chip drains, then argument load and execute, then the first data arrive.

    Sequenced by the host, each command also costs a dispatch; sequenced by the chip's own hardware it does not
    (Prabhakar et al., arXiv 2405.07518, section IV-D).
    """
    timing = machine.chip.timing
    cost = timing.argument_load + timing.execute + (2 * timing.software_dispatch if launch == "software" else 0.0)
    started = clock.barrier(seconds_to_ps(cost), label=LAUNCH, name="kernel launch", after=(ready,))
    fill = seconds_to_ps(timing.memory_latency)
    return clock.task(clock.engine("HBM"), fill, after=(started,), label=FILL_DRAIN, name="first load")


# --- weight stream: all tokens on chip, weights pass once ---


def _stages(machine: DataflowMachine, operators: Sequence[Operator]) -> list[StreamStage]:
    """A fused kernel's stages side by side on the chip, each with a share of the units in proportion to its work."""
    work = [machine.arithmetic_seconds(operator, 1.0) for operator in operators]
    whole = sum(work)
    return [
        _stage(machine, operator, np.maximum(own / np.maximum(whole, LEAST_WORK), LEAST_WORK), spill=False)
        for operator, own in zip(operators, work, strict=True)
    ]


def _stage(machine: DataflowMachine, operator: Operator, share: Quantity, *, spill: bool) -> StreamStage:
    """One operator on ``share`` of the units; with ``spill`` its activations cross off-chip memory too."""
    timing = machine.chip.timing
    label = Label(operator.part, _limiter(operator))
    moved = operator.stream_bytes + (operator.activation_bytes if spill else 0.0)
    stretch = machine.cluster.stretch
    load = stretch(seconds_to_ps(moved / machine.memory_bandwidth))
    tiles = stream_tiles(moved, machine.chip.on_chip.stream_buffer_bytes)
    if isinstance(operator, Collective):
        latency, seconds = all_reduce_seconds(machine, operator)
        exposed: dict[Hashable, Picoseconds] = {label: seconds_to_ps(latency)}
        return StreamStage(operator.name, label, LINK, load, seconds_to_ps(seconds - latency), exposed, tiles)
    compute = stretch(seconds_to_ps(machine.arithmetic_seconds(operator, share)))
    depth = 3 if isinstance(operator, Attention) else 1  # scores, softmax and values are stages of their own
    drain: dict[Hashable, Picoseconds] = {FILL_DRAIN: seconds_to_ps(depth * timing.stage_latency)}
    return StreamStage(operator.name, label, "units", load, compute, drain, tiles)


def _limiter(operator: Operator) -> str:
    match operator:
        case Collective():
            return "link"
        case Elementwise():
            return VECTOR_UNIT
        case _:
            return MATRIX_UNIT


def all_reduce_seconds(machine: DataflowMachine, collective: Collective) -> tuple[float, float]:
    """(latency, whole) of a collective streamed inside a kernel; a gather or scatter moves half of an AllReduce."""
    volume = collective.payload_bytes * (1.0 if collective.operation == "all_reduce" else 0.5)
    return streamed_all_reduce(machine.chip, machine.cluster.count, volume)


# --- token stream: the decoder's weights on chip, tiles of tokens pass through all stages at once ---


class TokenStage(NamedTuple):
    """One stage of the token stream: its engine, its operator, and the picoseconds of a tile by what they count as."""

    engine: str
    name: str
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


def token_pipeline(machine: DataflowMachine, step: Step) -> TokenPipeline:
    """Stages balanced by giving each units in proportion to its work, so that all take the same time for a tile.

    Their common time is booked to the operators in proportion to the units that these hold. The collectives share the
    link, each at its part of the rate.
    """
    tiles = -(-tokens_of(step) // TILE_TOKENS)
    units = [operator for operator in step.decoder if not isinstance(operator, Collective)]
    collectives = [operator for operator in step.decoder if isinstance(operator, Collective)]
    shares: dict[Hashable, float] = {}
    for unit in units:
        label = Label(unit.part, _limiter(unit))
        shares[label] = shares.get(label, 0.0) + float(np.max(machine.arithmetic_seconds(unit, 1.0))) / tiles
    balanced = {label: seconds_to_ps(seconds) for label, seconds in shares.items()}
    streamed = {operator.name: all_reduce_seconds(machine, operator) for operator in collectives}
    stages: list[TokenStage] = []
    for index, operator in enumerate(step.decoder):
        if operator.name in streamed:
            latency, seconds = streamed[operator.name]
            a_tile = seconds_to_ps(len(collectives) * (seconds - latency) / tiles)
            stages.append(TokenStage(f"{LINK} {index}", operator.name, {Label("allreduce", "link"): a_tile}))
        else:
            stages.append(TokenStage(f"stage {index}", operator.name, balanced))
    weights = weight_bytes(step)
    others = sum(float(np.max(operator.stream_bytes)) for operator in step.decoder) - weights + step.kept_bytes
    latency = sum(latency for latency, _ in streamed.values()) + len(units) * machine.chip.timing.stage_latency
    return TokenPipeline(
        tiles,
        tuple(stages),
        weight_load=seconds_to_ps(weights / machine.memory_bandwidth),
        tile_load=seconds_to_ps(others / tiles / machine.memory_bandwidth),
        latency=seconds_to_ps(latency),
    )


def run_token_pipeline(
    clock: Timeline, cluster: Cluster, pipeline: TokenPipeline, weight_buffer: Buffer, first: Time, last: Time
) -> tuple[Time, Time]:
    """Issue one decoder: ``first`` and ``last`` are when its first and last tile of input are complete.

    Returns the same for its output. A stage's first tile fills the pipeline and its last tile drains it, except in
    the slowest stage, which is the one that counts.
    """
    memory = clock.engine("HBM")
    slot = weight_buffer.acquire()
    stretch = cluster.stretch
    weight_load, tile_load = stretch(pipeline.weight_load), stretch(pipeline.tile_load)
    loaded = clock.task(memory, weight_load, after=(slot,), label=Label("matmul", "HBM"), name="weights")
    slowest = pipeline.slowest

    def tile(ready: Time, *, edge: bool) -> Time:
        if pipeline.tile_load:
            moved = clock.task(memory, tile_load, label=Label("attention", "HBM"), name="KV cache")
            ready = clock.join(ready, moved)
        for index, stage in enumerate(pipeline.stages):
            booked = {FILL_DRAIN: stage.ps} if edge and index != slowest else stage.duration
            stretched = {label: stretch(ps) for label, ps in booked.items()}
            ready = cluster.meet(clock, ready) if stage.engine.startswith(LINK) else ready
            ready = clock.task(clock.engine(stage.engine), stretched, after=(ready,), name=stage.name)
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


def _decoder_mapping(
    clock: Timeline, machine: DataflowMachine, step: Step, looped: bool
) -> Callable[[Time, Time], tuple[Time, Time]]:
    """The faster mapping of one decoder that fits on the chip, as a function that issues it on the clock."""
    weights, room = weight_bytes(step), resident_bytes(machine.chip)
    holds_tokens = activation_bytes(machine, step) <= room
    holds_weights = weights + tile_bytes(step) <= room
    if not holds_tokens and not holds_weights:
        raise DoesNotFit(_too_large(machine, step))
    stages = _stages(machine, step.decoder)
    if holds_weights and tokens_of(step) >= 2 * TILE_TOKENS:
        pipeline = token_pipeline(machine, step)
        by_weights = max(sum(int(np.max(s.load)) for s in stages), sum(int(np.max(s.compute)) for s in stages))
        if not holds_tokens or pipeline.steady_ps < by_weights:
            ahead = looped and 2 * weights + tile_bytes(step) <= room
            weight_buffer = clock.buffer(2 if ahead else 1)
            return lambda first, last: run_token_pipeline(clock, machine.cluster, pipeline, weight_buffer, first, last)
    if not holds_tokens:
        raise DoesNotFit(_too_large(machine, step))
    buffer = clock.buffer(BUFFER_TILES)

    def by_weight_stream(first: Time, last: Time) -> tuple[Time, Time]:
        done = run_stages(clock, machine.cluster, stages, buffer, last)
        return done, done

    return by_weight_stream


# --- what fits on the chip ---


def tokens_of(step: Step) -> int:
    """Rows of the activations that pass through one decoder."""
    return max(operator.m for operator in step.decoder if isinstance(operator, MatrixProduct) and operator.weights)


def weight_bytes(step: Step) -> float:
    """Weights of one decoder on one chip."""
    return sum(operator.stream_bytes for operator in step.decoder if isinstance(operator, MatrixProduct))


def resident_bytes(chip: Dataflow) -> float:
    """On-chip memory that a fused kernel may fill: its share of the memory units, less the stream buffer."""
    return chip.on_chip.total_bytes * chip.timing.unit_share - chip.on_chip.stream_buffer_bytes


def tile_bytes(step: Step) -> float:
    """Double buffers between all stages of the token stream, each a tile of tokens."""
    a_token = sum(float(np.max(operator.activation_bytes)) for operator in step.decoder) / tokens_of(step)
    return 2.0 * min(TILE_TOKENS, tokens_of(step)) * a_token


def activation_bytes(machine: DataflowMachine, step: Step) -> float:
    """What the weight stream keeps on chip: the residual of all tokens, and input and output of the widest operator."""
    hidden = max(o.k for o in step.decoder if isinstance(o, MatrixProduct) and o.weights)
    widest = max(float(np.max(operator.activation_bytes)) for operator in step.decoder)
    return widest + tokens_of(step) * hidden * ACTIVATION_BYTES


def _too_large(machine: DataflowMachine, step: Step) -> str:
    needed = min(weight_bytes(step) + tile_bytes(step), activation_bytes(machine, step))
    room = resident_bytes(machine.chip)
    return (
        f"one decoder needs {needed / 2**20:,.0f} MiB on chip, {machine.chip.name} has {room / 2**20:,.0f} MiB for it; "
        f"about {machine.cluster.count * int(np.ceil(needed / room))} chips would fit"
    )
