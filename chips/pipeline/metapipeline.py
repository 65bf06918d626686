"""Metapipelines: stages that work on different iterations at once, with buffers between them, nested to any depth.

    load, multiply, store = Stage("load", 700), Stage("multiply", 900), Stage("store", 300)
    tiles = Metapipeline("tiles", 1_000_000, (load, multiply, store))
    tiles.total_ps, tiles.initiation_interval_ps, tiles.limiter    # 900_001_000, 900, "multiply"
    rows = Metapipeline("rows", 64, (Stage("prepare", 5_000), Stage("tiles", tiles)))

Belongs here: the whole and its times. Its parts are in ``chips.pipeline.stage``, what waits for what in
``chips.pipeline.graph``, the algebra in ``chips.pipeline.max_plus``, the equations of the Spatial compiler in
``chips.pipeline.spatial_control``, what balances a pipeline in ``chips.pipeline.balance``. Times are
integer picoseconds, exact; tests hold every schedule equal to the same tasks on ``chips.clock.timeline``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np

from chips.pipeline.graph import event_graph, graph_at, weights_of
from chips.pipeline.max_plus import EventGraph, IntArray, advance, cycle_mean, unrolled
from chips.pipeline.spatial_control import outer_pipelined
from chips.pipeline.stage import Buffer, Stage

Control = Literal["pipelined", "sequential", "streaming", "spatial"]


@dataclass(frozen=True)
class Schedule:
    """Every iteration of every stage: ``start_ps`` and ``finish_ps`` of shape (stages, iterations)."""

    stages: tuple[str, ...]
    start_ps: IntArray
    finish_ps: IntArray


@dataclass(frozen=True, eq=False)
class Metapipeline:
    """``iterations`` of ``stages``, tied by ``buffers`` (default: each stage to the next).

    ``control``: pipelined (stages work on different iterations), sequential (an iteration at a time, a stage at a
    time), streaming (a stage also starts on its input's first element), or spatial (the Spatial compiler's equation
    for a pipelined controller; durations in clock cycles).
    Raises ValueError on names that do not match, and on stages that wait for each other.
    """

    name: str
    iterations: int
    stages: tuple[Stage, ...]
    buffers: tuple[Buffer, ...] | None = None
    control: Control = "pipelined"

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if self.iterations < 1 or not names or len(set(names)) < len(names):
            raise ValueError(
                f"Metapipeline '{self.name}' has {self.iterations} iterations of stages {names}; it needs at least one "
                "of each, and names that differ."
            )
        for stage in self.stages:
            duration = stage.duration_ps
            if isinstance(duration, np.ndarray) and duration.shape != (self.iterations,):
                raise ValueError(
                    f"Stage '{stage.name}' has work of shape {duration.shape}; it has {self.iterations} iterations."
                )
        if self.control != "pipelined" and self.most_lag:
            raise ValueError(f"Stages of '{self.name}' lag on their engines; {self.control} control has no lags.")
        for buffer in self.buffers or ():
            for end in (buffer.source, buffer.target):
                if end not in names:
                    raise ValueError(
                        f"A buffer of '{self.name}' names the stage '{end}'; there are {', '.join(names)}."
                    )

    @cached_property
    def links(self) -> tuple[Buffer, ...]:
        """The buffers, each with its depth."""
        buffers = self.buffers
        if buffers is None:
            pairs = pairwise(self.stages)
            buffers = tuple(Buffer(first.name, second.name) for first, second in pairs)
        return tuple(
            buffer if buffer.depth else replace(buffer, depth=self._default_depth(buffer)) for buffer in buffers
        )

    @cached_property
    def levels(self) -> dict[str, int]:
        """The stage distance from the first: one more than the latest stage that a stage reads from."""
        buffers = self.buffers
        if buffers is None:
            return {stage.name: position for position, stage in enumerate(self.stages)}
        levels = {stage.name: 0 for stage in self.stages}
        forward = [(buffer.source, buffer.target) for buffer in buffers if not buffer.carried]
        for _ in self.stages:
            for source, target in forward:
                levels[target] = max(levels[target], levels[source] + 1)
        if any(levels[target] <= levels[source] for source, target in forward):
            raise ValueError(f"Stages of '{self.name}' wait for each other in one iteration: a deadlock.")
        return levels

    @cached_property
    def total_ps(self) -> int:
        """When the last stage finishes the last iteration."""
        if self.control == "spatial":
            return outer_pipelined(self.iterations, [self._mean(stage) for stage in self.stages])
        if self.varies:
            return int(self.schedule().finish_ps.max())
        closed = self.closed_form_ps
        return self.recurrence_ps if closed is None else closed

    @cached_property
    def closed_form_ps(self) -> int | None:
        """Fill + (iterations - 1) x initiation interval + drain, where that is exact; None for other shapes.

        Exact for stages in a row: each reads from the one before, values that skip stages have the default depth or
        more, and no engine is shared. Where a buffer between neighbours has depth 1 they alternate: the interval is at
        least the sum of both. Streaming without latency: all stages run beside the slowest.
        """
        durations = [stage.duration_ps for stage in self.stages]
        if self.varies or any(stage.engine or stage.lag for stage in self.stages):
            return None
        spent = [int(duration) for duration in durations]
        position = {stage.name: place for place, stage in enumerate(self.stages)}
        if self.control == "sequential":
            waits = any(link.carried or link.latency_ps for link in self.links)
            return None if waits else self.iterations * sum(spent)
        interval, neighbours = max(spent), set()
        for link in self.links:
            crossed = position[link.target] - position[link.source]
            depth = link.depth or 1
            if (
                link.carried
                or link.latency_ps
                or crossed < 1
                or (depth <= crossed and (crossed > 1 or self.control == "streaming"))
            ):
                return None
            if crossed == 1:
                neighbours.add(link.source)
                if depth == 1:
                    interval = max(interval, spent[position[link.source]] + spent[position[link.target]])
        if len(neighbours) < len(spent) - 1:
            return None
        if self.control == "pipelined":
            return sum(spent) + (self.iterations - 1) * interval
        return None if any(stage.latency_ps for stage in self.stages) else self.iterations * interval

    @cached_property
    def recurrence_ps(self) -> int:
        """The total by powers of the max-plus matrix: exact for every shape whose durations do not change."""
        state, ramp, latest = self.graph.start(), self.most_lag, 0
        slot = 0
        while slot < self.iterations + ramp:
            ends = slot < ramp or slot >= self.iterations
            slots = 1 if ends else self.iterations - ramp
            state = advance((graph_at(self, slot) if ends else self.graph).step, state, slots)
            np.maximum(state, 0, out=state)  # a stage without an iteration in a slot has nothing to wait for
            latest, slot = max(latest, int(state.max())), slot + slots
        return latest

    @cached_property
    def initiation_interval_ps(self) -> Fraction:
        """Picoseconds between iterations in the long run: the heaviest cycle of the recurrence, exact.

        Where durations change, that of their means.
        """
        if self.control == "spatial":
            return Fraction(max(self._mean(stage) for stage in self.stages) + len(self.stages))
        if self.varies:
            return self.steady.initiation_interval_ps
        return cycle_mean(self.graph.step)

    @cached_property
    def varies(self) -> bool:
        """Whether a stage's duration changes from iteration to iteration."""
        return any(isinstance(stage.duration_ps, np.ndarray) for stage in self.stages)

    @cached_property
    def steady(self) -> Metapipeline:
        """The same with every changing duration at its mean."""
        return replace(self, stages=tuple(replace(stage, work=self._mean(stage), row_par=1) for stage in self.stages))

    @cached_property
    def engine_ps(self) -> dict[str, int]:
        """Picoseconds of work that each engine does in all iterations; a stage without one is its own."""
        busy: dict[str, int] = {}
        for stage in self.stages:
            duration = stage.duration_ps
            spent = int(duration.sum()) if isinstance(duration, np.ndarray) else duration * self.iterations
            busy[stage.engine or stage.name] = busy.get(stage.engine or stage.name, 0) + spent
        return busy

    @cached_property
    def limiter(self) -> str:
        """What sets the initiation interval: a stage or engine that never rests, a buffer, or a dependence."""
        interval, rounds = self.initiation_interval_ps, self.iterations
        name, busy = max(self.engine_ps.items(), key=lambda item: item[1])
        if self.varies or self.control == "spatial" or busy >= interval * rounds:
            return name
        for link in self.links:
            deeper = tuple(replace(other, depth=(other.depth or 1) + (other is link)) for other in self.links)
            if replace(self, buffers=deeper).initiation_interval_ps < interval:
                return f"buffer from {link.source} to {link.target} (depth {link.depth})"
        return "sequential control" if self.control == "sequential" else "dependence from iteration to iteration"

    def schedule(self) -> Schedule:
        """When every stage runs every iteration. Memory and time grow with the iterations; ``total_ps`` does not."""
        if self.control == "spatial":
            raise ValueError(f"'{self.name}' has spatial control: an equation for the total, without a schedule.")
        slots = self.iterations + self.most_lag
        times = unrolled(self.graph, [weights_of(self, arc, slots) for arc in self.graph.arcs], slots)
        own = [slice(stage.lag, stage.lag + self.iterations) for stage in self.stages]
        starts = np.stack([times[3 * place, span] for place, span in enumerate(own)])
        finishes = np.stack([times[3 * place + 1, span] for place, span in enumerate(own)])
        return Schedule(tuple(stage.name for stage in self.stages), starts, finishes)

    @cached_property
    def graph(self) -> EventGraph:
        """The recurrence of one iteration (``chips.pipeline.graph``)."""
        return event_graph(self)

    @property
    def most_lag(self) -> int:
        """Iterations by which the last stage of software pipelining runs behind the first."""
        return max(stage.lag for stage in self.stages)

    def _default_depth(self, buffer: Buffer) -> int:
        """Spatial's rule (computeMemoryBufferPorts): stage distance between writer and reader, plus one.

        At least room for the iterations by which the reader lags; besides, those over which the value is carried.
        """
        lags = {stage.name: stage.lag for stage in self.stages}
        distance = max(self.levels[buffer.target] - self.levels[buffer.source], 0)
        return max(distance, lags[buffer.target] - lags[buffer.source]) + 1 + buffer.carried

    def _mean(self, stage: Stage) -> int:
        duration = stage.duration_ps
        return round(float(duration.mean())) if isinstance(duration, np.ndarray) else duration


def chain(name: str, iterations: int, works: Sequence[int], depth: int | None = None) -> Metapipeline:
    """A metapipeline of stages ``s0``, ``s1``, ... in a row, with buffers of one ``depth`` between neighbours."""
    stages = tuple(Stage(f"s{place}", work) for place, work in enumerate(works))
    names = [stage.name for stage in stages]
    buffers = tuple(Buffer(first, second, depth) for first, second in pairwise(names))
    return Metapipeline(name, iterations, stages, buffers)


__all__ = ["Buffer", "Control", "Metapipeline", "Schedule", "Stage", "chain"]
