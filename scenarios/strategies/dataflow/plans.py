"""The kernels that a segment becomes on a dataflow chip, and how they are issued. Which plan is best: ``choice.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from chips.clock.time import Picoseconds
from chips.clock.timeline import Time, Timeline
from scenarios.strategies.dataflow.launch import launch as launched
from scenarios.strategies.dataflow.launch import load_program
from scenarios.strategies.dataflow.stages import DataflowGroup, stage_alone, stages_of
from scenarios.strategies.dataflow.token_stream import TokenPipeline, run_token_pipeline
from scenarios.strategies.stream import StreamStage, run_stages
from scenarios.workload.operators import Decoder, Segment

Form = Literal["weight stream", "token stream", "sections", "operators apart"]


@dataclass(frozen=True)
class WeightStream:
    """A kernel whose weights stream past the ``stages`` of a segment, which take turns; without one, past a single
    operator's."""

    stages: tuple[StreamStage, ...]
    segment: Segment | None = None

    def on(self, group: DataflowGroup) -> tuple[StreamStage, ...]:
        """The stages as they are on chips that may differ."""
        if group.cluster.slowdown is None:
            return self.stages
        if self.segment is None:
            return tuple(stage_alone(group, stage.operator) for stage in self.stages)
        return stages_of(group, self.segment)


Kernel = TokenPipeline | WeightStream
Run = Callable[[Time, Time], tuple[Time, Time]]
"""Issues one layer: from when the first and last of its input are complete to the same of its output."""


@dataclass(frozen=True)
class Plan:
    """The kernels of one layer, in their order: streams of weights past some stages, or of tiles of tokens.

    ``least`` and ``most``: picoseconds of all layers, however tasks wait for each other. ``slots``: of the buffer of a
    weight stream; ``held``: decoders whose weights a token stream holds at a time; ``looped``: one launch for all
    layers.
    """

    form: Form
    kernels: tuple[Kernel, ...]
    least: Picoseconds
    most: Picoseconds
    slots: int = 2
    held: int = 1
    looped: bool = False

    def issue(self, clock: Timeline, group: DataflowGroup, segment: Segment, launch: str, ready: Time) -> Time:
        """Issue the segment on the clock; when its last result is complete."""
        resident = len(self.kernels) == 1  # the program stays on the chip from layer to layer
        runs = [self._runner(clock, group, kernel) for kernel in self.kernels]

        def layer(carried: tuple[Time, ...]) -> tuple[Time, ...]:
            first, last = carried
            for run in runs:
                if not self.looped:
                    last = last if resident else load_program(clock, group.chip, launch, last)
                    first = last = launched(clock, group.chip, launch, last)
                first, last = run(first, last)
            return first, last

        if resident:
            ready = load_program(clock, group.chip, launch, ready)
            ready = launched(clock, group.chip, launch, ready) if self.looped else ready
        if not isinstance(segment, Decoder):
            return layer((ready, ready))[1]
        return clock.loop(segment.layers, layer, (ready, ready), "layer")[1]

    def _runner(
        self, clock: Timeline, group: DataflowGroup, kernel: Kernel
    ) -> Callable[[Time, Time], tuple[Time, Time]]:
        if isinstance(kernel, TokenPipeline):
            return partial(run_token_pipeline, clock, group.cluster, kernel.on(group), clock.buffer(self.held))
        stages, buffer = kernel.on(group), clock.buffer(self.slots)

        def by_weights(first: Time, last: Time) -> tuple[Time, Time]:
            done = run_stages(clock, group.cluster, stages, buffer, last)
            return done, done

        return by_weights
