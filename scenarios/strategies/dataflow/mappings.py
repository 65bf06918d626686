"""The three strategies on a dataflow chip: operators, whole decoders, or the loop over decoders laid out in space."""

from __future__ import annotations

from functools import partial

from chips.clock.timeline import Time, Timeline
from scenarios.strategies.dataflow.choice import plan_for
from scenarios.strategies.dataflow.launch import launch as launched
from scenarios.strategies.dataflow.launch import load_program
from scenarios.strategies.dataflow.stages import DataflowGroup, stage_alone, stream_slots
from scenarios.strategies.registry import strategy
from scenarios.strategies.segments import run_segment
from scenarios.strategies.stream import StreamStage, run_stages
from scenarios.workload.operators import Step


@strategy("per_operator", "dataflow", fuses=False, streams=True)
def per_operator(clock: Timeline, group: DataflowGroup, step: Step, launch: str) -> Time:
    """Every operator is a kernel: its activations cross off-chip memory, and the whole chip drains between kernels."""
    buffer = clock.buffer(stream_slots(group.chip))

    def kernels(stages: list[StreamStage], ready: Time) -> Time:
        for stage in stages:
            ready = launched(clock, group.chip, launch, load_program(clock, group.chip, launch, ready))
            ready = run_stages(clock, group.cluster, [stage], buffer, ready)
        return ready

    ready = clock.now
    for segment in step.segments:
        stages = [stage_alone(group, operator) for operator in segment.operators]
        ready = run_segment(clock, segment, partial(kernels, stages), ready)
    return ready


@strategy("fused_decoder", "dataflow", fuses=True, streams=True)
def fused_decoder(clock: Timeline, group: DataflowGroup, step: Step, launch: str) -> Time:
    """Few kernels a decoder, launched for each layer: the pipeline fills and drains at every layer boundary."""
    return _fused(clock, group, step, launch, looped=False)


@strategy("kernel_loop", "dataflow", fuses=True, streams=True, loops=True)
def kernel_loop(clock: Timeline, group: DataflowGroup, step: Step, launch: str) -> Time:
    """One kernel for all decoders: while a layer's dependent tail finishes, the next layer's weights stream in."""
    return _fused(clock, group, step, launch, looped=True)


def _fused(clock: Timeline, group: DataflowGroup, step: Step, launch: str, *, looped: bool) -> Time:
    ready = clock.now
    for segment in step.segments:
        if segment.operators:
            ready = plan_for(group, segment, launch, looped=looped).issue(clock, group, segment, launch, ready)
    return ready
