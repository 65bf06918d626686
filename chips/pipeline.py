"""Metapipelines: stages that work on different iterations at once, with buffers between them, nested to any depth.

    load, multiply, store = Stage("load", 700), Stage("multiply", 900), Stage("store", 300)
    tiles = Metapipeline("tiles", 1_000_000, (load, multiply, store))
    tiles.total_ps, tiles.initiation_interval_ps, tiles.limiter    # 900_001_000, 900, "multiply"
    rows = Metapipeline("rows", 64, (Stage("prepare", 5_000), Stage("tiles", tiles)))

Belongs here: what stages and buffers are and when each iteration runs. The algebra is in ``chips.max_plus``, the
equations of the Spatial compiler in ``chips.spatial_control``, what balances a pipeline in ``chips.pipeline_balance``.
Times are integer picoseconds, exact; tests hold every schedule equal to the same tasks on ``chips.timeline``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from chips.max_plus import NEVER, Arc, EventGraph, advance, cycle_mean, unrolled
from chips.spatial_control import outer_pipelined

IntArray = NDArray[np.int64]
Control = Literal["pipelined", "sequential", "streaming", "spatial"]


@dataclass(frozen=True, eq=False)
class Stage:
    """One step of every iteration.

    ``work``: picoseconds of one iteration on one unit; an int64 array with an entry an iteration; or a metapipeline,
    which fills and drains within each iteration. ``row_par``: units that share each iteration's work.
    ``latency_ps``: from first element in to first element out, where control is streaming.
    ``engine``: stages of one name take turns on it, in the order of the program. ``lag``: iterations by which this
    stage runs behind on it (software pipelining: with lag 1, the next iteration's stages of lag 0 go first).
    """

    name: str
    work: int | IntArray | Metapipeline
    row_par: int = 1
    latency_ps: int = 0
    engine: str = ""
    lag: int = 0

    def __post_init__(self) -> None:
        if self.row_par < 1 or self.lag < 0 or self.latency_ps < 0:
            raise ValueError(
                f"Stage '{self.name}' has row_par {self.row_par}, lag {self.lag} and latency {self.latency_ps} ps; "
                "row_par is at least 1, the others at least 0."
            )
        if not isinstance(self.work, Metapipeline) and np.any(np.asarray(self.work) < 0):
            raise ValueError(f"Stage '{self.name}' has negative work; it takes at least 0 picoseconds.")

    @cached_property
    def duration_ps(self) -> int | IntArray:
        """Picoseconds of one iteration: its work over its units, rounded up."""
        work = self.work.total_ps if isinstance(self.work, Metapipeline) else self.work
        return -(-work // self.row_par)


@dataclass(frozen=True)
class Buffer:
    """What ``source`` writes and ``target`` reads, with room for the values of ``depth`` iterations.

    A slot is taken when its writer starts and free when its reader has finished: with depth 1 neighbours alternate.
    Default: the Spatial compiler's rule, the stages it crosses plus one (neighbours: 2, a double buffer).
    ``carried``: the target reads what was written so many iterations ago (a loop-carried value).
    """

    source: str
    target: str
    depth: int | None = None
    carried: int = 0

    def __post_init__(self) -> None:
        if self.carried < 0 or (self.depth is not None and self.depth < max(self.carried, 1)):
            raise ValueError(
                f"The buffer from '{self.source}' to '{self.target}' has depth {self.depth} and is carried over "
                f"{self.carried} iterations; the depth is at least 1 and at least that."
            )


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
            return None if any(link.carried for link in self.links) else self.iterations * sum(spent)
        interval, neighbours = max(spent), set()
        for link in self.links:
            crossed = position[link.target] - position[link.source]
            depth = link.depth or 1
            if link.carried or crossed < 1 or (depth <= crossed and (crossed > 1 or self.control == "streaming")):
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
        state, ramp, latest = self.graph.start(), self._most_lag, 0
        slot = 0
        while slot < self.iterations + ramp:
            ends = slot < ramp or slot >= self.iterations
            slots = 1 if ends else self.iterations - ramp
            state = advance((self._graph_at(slot) if ends else self.graph).step, state, slots)
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
        slots = self.iterations + self._most_lag
        times = unrolled(self.graph, [self._weights(arc, slots) for arc in self.graph.arcs], slots)
        own = [slice(stage.lag, stage.lag + self.iterations) for stage in self.stages]
        starts = np.stack([times[3 * place, span] for place, span in enumerate(own)])
        finishes = np.stack([times[3 * place + 1, span] for place, span in enumerate(own)])
        return Schedule(tuple(stage.name for stage in self.stages), starts, finishes)

    @cached_property
    def graph(self) -> EventGraph:
        """Stage s starts at event 3s and finishes at 3s + 1; at 3s + 2 its engine may go on to the next stage."""
        position = {stage.name: place for place, stage in enumerate(self.stages)}
        arcs: list[Arc] = []

        def tie(source: int, target: int, weight: int, delay: int) -> None:
            """In slots of software pipelining: iteration i of a stage runs in slot i + lag."""
            slots = delay + self.stages[target // 3].lag - self.stages[source // 3].lag
            if slots < 0:
                late, early = self.stages[source // 3].name, self.stages[target // 3].name
                raise ValueError(
                    f"Stage '{early}' of '{self.name}' waits for '{late}', which lags {-slots} iterations more than "
                    "their buffer is deep."
                )
            arcs.append(Arc(source, target, weight, slots))

        engines: dict[str, list[int]] = {}
        for place, stage in enumerate(self.stages):
            duration = stage.duration_ps
            tie(3 * place, 3 * place + 1, duration if isinstance(duration, int) else 0, 0)
            tie(3 * place + 1, 3 * place, 0, 1)
            engines.setdefault(stage.engine or stage.name, []).append(place)
        for link in self.links:
            source, target = position[link.source], position[link.target]
            if self.control == "streaming" and not link.carried:
                tie(3 * source, 3 * target, self.stages[source].latency_ps, 0)
                tie(3 * source + 1, 3 * target + 1, self.stages[target].latency_ps, 0)
            else:
                tie(3 * source + 1, 3 * target, 0, link.carried)
            tie(3 * target + 1, 3 * source, 0, (link.depth or 1) - link.carried)
        turns = [sorted(places, key=lambda place: self.stages[place].lag) for places in engines.values()]
        if self.control == "sequential":
            turns = [sorted(position.values(), key=lambda place: self.levels[self.stages[place].name])]
        for places in turns:
            for before, after in zip([places[-1], *places], places, strict=False):
                if len(places) > 1:  # an engine passes slots by in which a stage has no iteration
                    delay = int(after == places[0])
                    arcs.append(Arc(3 * before + 2, 3 * after, 0, delay))
                    arcs.append(Arc(3 * before + 2, 3 * after + 2, 0, delay))
                    arcs.append(Arc(3 * after + 1, 3 * after + 2, 0, 0))
        return EventGraph(3 * len(self.stages), tuple(arcs))

    @property
    def _most_lag(self) -> int:
        return max(stage.lag for stage in self.stages)

    def _weights(self, arc: Arc, slots: int) -> int | IntArray:
        """An arc's weight in every slot; never where its stages have no iteration in it."""
        source, target = self.stages[arc.source // 3], self.stages[arc.target // 3]
        duration = source.duration_ps
        changes = isinstance(duration, np.ndarray) and arc.source % 3 == 0 and arc.target == arc.source + 1
        engine_passes = arc.source % 3 == 2 and arc.target % 3 == 2
        if engine_passes or not (changes or self._most_lag):
            return arc.weight
        weights = np.full(slots, NEVER, np.int64)
        weights[target.lag : target.lag + self.iterations] = duration if changes else arc.weight
        return weights

    def _graph_at(self, slot: int) -> EventGraph:
        """The graph of one slot near the ends, without the stages that have no iteration in it."""
        arcs = []
        for arc in self.graph.arcs:
            target = self.stages[arc.target // 3]
            runs = target.lag <= slot < target.lag + self.iterations
            passes = arc.source % 3 == 2 and arc.target % 3 == 2
            arcs.append(arc if runs or passes else replace(arc, weight=NEVER))
        return replace(self.graph, arcs=tuple(arcs))

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
