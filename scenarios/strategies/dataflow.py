"""The three strategies on a dataflow chip: operators, whole decoders, or the loop over decoders laid out in space.

A fused kernel has two mappings, and the compiler takes the faster that fits. *Weight stream*: all tokens are held on
chip while the weights pass once (decode). *Token stream*: the decoder's weights are held on chip while tiles of tokens
pass through all stages at once (prefill, training, large batches).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chips.placement import fits
from chips.timeline import Time, Timeline, seconds_to_ps
from scenarios.errors import DoesNotFit
from scenarios.machine import FILL_DRAIN, LAUNCH
from scenarios.operators import MatrixProduct, Operator, Step
from scenarios.strategies.dataflow_machine import (
    TILE_TOKENS,
    DataflowMachine,
    activation_bytes,
    resident_bytes,
    stage_of,
    stages_of,
    tile_bytes,
    tokens_of,
    weight_bytes,
)
from scenarios.strategies.fused_program import token_stream
from scenarios.strategies.registry import strategy
from scenarios.strategies.stream import BUFFER_TILES, StreamStage, run_stages
from scenarios.strategies.token_stream import run_token_pipeline, token_pipeline


@strategy("per_operator", "dataflow")
def per_operator(clock: Timeline, machine: DataflowMachine, step: Step, launch: str) -> Time:
    """Every operator is a kernel: its activations cross off-chip memory, and the whole chip drains between kernels."""
    buffer = clock.buffer(BUFFER_TILES)

    def stages(operators: Sequence[Operator]) -> list[StreamStage]:
        return [stage_of(machine, operator, 1.0, spill=True) for operator in operators]

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
        return run_stages(clock, machine.cluster, stages_of(machine, operators), buffer, ready)

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


def _decoder_mapping(
    clock: Timeline, machine: DataflowMachine, step: Step, looped: bool
) -> Callable[[Time, Time], tuple[Time, Time]]:
    """The faster mapping of one decoder that fits on the chip, as a function that issues it on the clock."""
    weights, room = weight_bytes(step), resident_bytes(machine.chip)
    # Stricter than placement, which counts what is live at a time: units full of activations feed no compute unit.
    holds_tokens = activation_bytes(machine, step) <= room
    stages = stages_of(machine, step.decoder)
    if tokens_of(step) >= 2 * TILE_TOKENS and _holds_weights(machine, step):
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


def _holds_weights(machine: DataflowMachine, step: Step) -> bool:
    """Whether one kernel holds a decoder as a token stream: placement's answer.

    Placement knows forward passes; a backward pass goes by bytes, in the share of the chip that fused decoders reach.
    """
    if all(operator.weights for operator in step.decoder if isinstance(operator, MatrixProduct)):
        return fits(token_stream(machine, step), machine.chip)
    return weight_bytes(step) + tile_bytes(step) <= resident_bytes(machine.chip)


def _too_large(machine: DataflowMachine, step: Step) -> str:
    needed = min(weight_bytes(step) + tile_bytes(step), activation_bytes(machine, step))
    room = resident_bytes(machine.chip)
    return (
        f"one decoder needs {needed / 2**20:,.0f} MiB on chip, {machine.chip.name} has {room / 2**20:,.0f} MiB for it; "
        f"about {machine.cluster.count * int(np.ceil(needed / room))} chips would fit"
    )
