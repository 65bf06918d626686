"""The three strategies on a dataflow chip: operators, whole decoders, or the loop over decoders laid out in space.

A fused kernel has two mappings, and the compiler takes the faster that fits. *Weight stream*: all tokens are held on
chip while the weights pass once (decode). *Token stream*: the decoder's weights are held on chip while tiles of tokens
pass through all stages at once (prefill, training, large batches); a decoder too large for that runs in sections, each
a kernel, looped or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from chips.clock.timeline import Time, Timeline, seconds_to_ps
from chips.placement import fits
from scenarios.errors import DoesNotFit
from scenarios.strategies.dataflow.fused_program import token_stream
from scenarios.strategies.dataflow.sections import section_pipelines
from scenarios.strategies.dataflow.stages import (
    BUFFER_TILES,
    TILE_TOKENS,
    DataflowGroup,
    activation_bytes,
    resident_bytes,
    stage_of,
    stages_of,
    tile_bytes,
    tokens_of,
    weight_bytes,
)
from scenarios.strategies.dataflow.token_stream import TokenPipeline, run_token_pipeline, token_pipeline
from scenarios.strategies.label import FILL_DRAIN, HBM, LAUNCH
from scenarios.strategies.registry import strategy
from scenarios.strategies.segments import run_segment
from scenarios.strategies.stream import StreamStage, run_stages
from scenarios.workload.operators import Decoder, MatrixProduct, Operator, Step


@strategy("per_operator", "dataflow", fuses=False, streams=True)
def per_operator(clock: Timeline, group: DataflowGroup, step: Step, launch: str) -> Time:
    """Every operator is a kernel: its activations cross off-chip memory, and the whole chip drains between kernels."""
    buffer = clock.buffer(BUFFER_TILES)

    def kernels(stages: Sequence[StreamStage], ready: Time) -> Time:
        for stage in stages:
            ready = _launch(clock, group, launch, _load_program(clock, group, launch, ready))
            ready = run_stages(clock, group.cluster, [stage], buffer, ready)
        return ready

    ready = clock.now
    for segment in step.segments:
        stages = [stage_of(group, operator, 1.0, spill=True) for operator in segment.operators]
        ready = run_segment(clock, segment, partial(kernels, stages), ready)
    return ready


@strategy("fused_decoder", "dataflow", fuses=True, streams=True)
def fused_decoder(clock: Timeline, group: DataflowGroup, step: Step, launch: str) -> Time:
    """One kernel a decoder, launched once for each layer: the pipeline fills and drains at every layer boundary."""
    return _fused(clock, group, step, launch, looped=False)


@strategy("kernel_loop", "dataflow", fuses=True, streams=True)
def kernel_loop(clock: Timeline, group: DataflowGroup, step: Step, launch: str) -> Time:
    """One kernel for all decoders: while a layer's dependent tail finishes, the next layer's weights stream in."""
    return _fused(clock, group, step, launch, looped=True)


def _fused(clock: Timeline, group: DataflowGroup, step: Step, launch: str, *, looped: bool) -> Time:
    buffer = clock.buffer(BUFFER_TILES)

    def once(operators: Sequence[Operator], ready: Time) -> Time:
        if not operators:
            return ready
        ready = _launch(clock, group, launch, _load_program(clock, group, launch, ready))
        return run_stages(clock, group.cluster, stages_of(group, operators), buffer, ready)

    ready = clock.now
    for segment in step.segments:
        if isinstance(segment, Decoder):
            ready = _layers(clock, group, segment, launch, ready, looped=looped)
        else:
            ready = once(segment.operators, ready)
    return ready


def _layers(clock: Timeline, group: DataflowGroup, decoder: Decoder, launch: str, ready: Time, *, looped: bool) -> Time:
    mapping = _decoder_mapping(clock, group, decoder, launch, looped)

    def layer(carried: tuple[Time, ...]) -> tuple[Time, ...]:
        first, last = carried
        if not looped and not mapping.sections:
            first = last = _launch(clock, group, launch, last)
        return mapping.issue(first, last)

    if not mapping.sections:
        ready = _load_program(clock, group, launch, ready)
        ready = _launch(clock, group, launch, ready) if looped else ready
    return clock.loop(decoder.layers, layer, (ready, ready), "layer")[1]


def _load_program(clock: Timeline, group: DataflowGroup, launch: str, ready: Time) -> Time:
    """Shift another program's configuration into all units: the first of a launch's three commands."""
    return clock.barrier(_program_load_ps(group, launch), label=LAUNCH, name="program load", after=(ready,))


def _program_load_ps(group: DataflowGroup, launch: str) -> int:
    timing = group.chip.timing
    return seconds_to_ps(timing.program_load + (timing.software_dispatch if launch == "software" else 0.0))


def _launch(clock: Timeline, group: DataflowGroup, launch: str, ready: Time) -> Time:
    """A synchronization boundary: the chip drains, then argument load and execute, then the first data arrive.

    Sequenced by the host, each command also costs a dispatch; sequenced by the chip's own hardware it does not
    (Prabhakar et al., arXiv 2405.07518, section IV-D).
    """
    started = clock.barrier(_launch_ps(group, launch), label=LAUNCH, name="kernel launch", after=(ready,))
    fill = seconds_to_ps(group.chip.timing.memory_latency)
    return clock.task(clock.engine(HBM), fill, after=(started,), label=FILL_DRAIN, name="first load")


def _launch_ps(group: DataflowGroup, launch: str) -> int:
    timing = group.chip.timing
    dispatch = 2 * timing.software_dispatch if launch == "software" else 0.0
    return seconds_to_ps(timing.argument_load + timing.execute + dispatch)


class _Mapping(NamedTuple):
    """How a decoder is laid out: a function that issues it, and whether it is several kernels with their launches."""

    issue: Callable[[Time, Time], tuple[Time, Time]]
    sections: bool = False


def _decoder_mapping(clock: Timeline, group: DataflowGroup, decoder: Decoder, launch: str, looped: bool) -> _Mapping:
    """The fastest mapping of one decoder that fits on the chip."""
    weights, room = weight_bytes(decoder), resident_bytes(group.chip)
    # Stricter than placement, which counts what is live at a time: units full of activations feed no compute unit.
    holds_tokens = activation_bytes(group, decoder) <= room
    stages = stages_of(group, decoder.operators)
    by_weights = max(sum(int(np.max(s.load)) for s in stages), sum(int(np.max(s.compute)) for s in stages))
    if tokens_of(decoder) >= 2 * TILE_TOKENS:
        if _holds_weights(group, decoder):
            pipeline = token_pipeline(group, decoder)
            if not holds_tokens or pipeline.steady_ps < by_weights:
                ahead = looped and 2 * weights + tile_bytes(decoder) <= room
                return _token_stream(clock, group, pipeline, 2 if ahead else 1)
        else:
            between = _program_load_ps(group, launch) + _launch_ps(group, launch)
            together, pipelines = section_pipelines(group, decoder, partial(_holds_weights, group), between)
            if pipelines and (not holds_tokens or together < by_weights):
                return _in_sections(clock, group, pipelines, launch)
    if not holds_tokens:
        raise DoesNotFit(_too_large(group, decoder))
    buffer = clock.buffer(BUFFER_TILES)

    def by_weight_stream(first: Time, last: Time) -> tuple[Time, Time]:
        done = run_stages(clock, group.cluster, stages, buffer, last)
        return done, done

    return _Mapping(by_weight_stream)


def _token_stream(clock: Timeline, group: DataflowGroup, pipeline: TokenPipeline, decoders_held: int) -> _Mapping:
    weight_buffer = clock.buffer(decoders_held)
    return _Mapping(lambda first, last: run_token_pipeline(clock, group.cluster, pipeline, weight_buffer, first, last))


def _in_sections(clock: Timeline, group: DataflowGroup, pipelines: Sequence[TokenPipeline], launch: str) -> _Mapping:
    weight_buffer = clock.buffer(1)

    def issue(first: Time, last: Time) -> tuple[Time, Time]:
        for pipeline in pipelines:
            ready = _launch(clock, group, launch, _load_program(clock, group, launch, last))
            last = run_token_pipeline(clock, group.cluster, pipeline, weight_buffer, ready, ready)[1]
        return last, last

    return _Mapping(issue, sections=True)


def _holds_weights(group: DataflowGroup, decoder: Decoder) -> bool:
    """Whether one kernel holds a decoder as a token stream: placement's answer.

    Placement knows forward passes; a backward pass goes by bytes, in the share of the chip that fused decoders reach.
    """
    if all(operator.weights for operator in decoder.operators if isinstance(operator, MatrixProduct)):
        return fits(token_stream(group, decoder), group.chip)
    return weight_bytes(decoder) + tile_bytes(decoder) <= resident_bytes(group.chip)


def _too_large(group: DataflowGroup, decoder: Decoder) -> str:
    needed = min(weight_bytes(decoder) + tile_bytes(decoder), activation_bytes(group, decoder))
    room = resident_bytes(group.chip)
    return (
        f"one decoder needs {needed / 2**20:,.0f} MiB on chip, {group.chip.name} has {room / 2**20:,.0f} MiB for it; "
        f"about {group.cluster.count * int(np.ceil(needed / room))} chips would fit"
    )
