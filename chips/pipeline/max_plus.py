"""Event graphs: when repeated events happen, as max-plus linear recurrences, and the N-th one without the others.

    x_v(i) = max over arcs (u, v, weight, delay) of x_u(i - delay) + weight

One step of the whole graph is a matrix in the max-plus algebra (maximum for sum, sum for product), so N equal steps
are its N-th power, taken by squaring: exact in integers, whatever the transient. Belongs here: the algebra on graphs
and matrices. What the events mean (stages, buffers, engines) is in ``chips.pipeline.metapipeline``.
Source of the theory: Baccelli, Cohen, Olsder, Quadrat, Synchronization and Linearity, 1992, chapters 2 and 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
NEVER = -(1 << 60)
"""The algebra's zero: an event that waits for nothing. Real times are at least 0, and below 2**60 (13 days in ps)."""


@dataclass(frozen=True, slots=True)
class Arc:
    """Event ``target`` happens at least ``weight`` after the ``source`` of ``delay`` repetitions ago."""

    source: int
    target: int
    weight: int
    delay: int


@dataclass(frozen=True)
class EventGraph:
    """``events`` events that repeat, tied by ``arcs``. Events of repetitions before the first one are at 0."""

    events: int
    arcs: tuple[Arc, ...]

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The events of one repetition, each after those that it waits for. Raises ValueError on a deadlock."""
        sorter: TopologicalSorter[int] = TopologicalSorter({event: () for event in range(self.events)})
        for arc in self.arcs:
            if arc.delay == 0:
                sorter.add(arc.target, arc.source)
        try:
            return tuple(sorter.static_order())
        except CycleError as error:
            raise ValueError(f"Events {error.args[1]} wait for each other in one iteration: a deadlock.") from None

    @cached_property
    def memory(self) -> tuple[tuple[int, int], ...]:
        """What a step must know of the past: (event, repetitions ago), the state's entries in order."""
        longest: dict[int, int] = {}
        for arc in self.arcs:
            if arc.delay:
                longest[arc.source] = max(longest.get(arc.source, 0), arc.delay)
        return tuple((event, ago) for event in sorted(longest) for ago in range(1, longest[event] + 1))

    @cached_property
    def rows(self) -> IntArray:
        """How this repetition's events follow from the state: shape (events, len(memory)), max-plus."""
        place = {entry: column for column, entry in enumerate(self.memory)}
        rows = np.full((self.events, len(self.memory)), NEVER, np.int64)
        incoming: list[list[Arc]] = [[] for _ in range(self.events)]
        for arc in self.arcs:
            incoming[arc.target].append(arc)
        for event in self.order:
            row = rows[event]
            for arc in incoming[event]:
                if arc.delay:
                    column = place[arc.source, arc.delay]
                    row[column] = max(int(row[column]), arc.weight)
                else:
                    np.maximum(row, rows[arc.source] + arc.weight, out=row)
            row[row < 0] = NEVER
        return rows

    @cached_property
    def step(self) -> IntArray:
        """The matrix that takes the state before a repetition to the state after it."""
        matrix = np.full((len(self.memory), len(self.memory)), NEVER, np.int64)
        place = {entry: column for column, entry in enumerate(self.memory)}
        for line, (event, ago) in enumerate(self.memory):
            if ago == 1:
                matrix[line] = self.rows[event]
            else:
                matrix[line, place[event, ago - 1]] = 0
        return matrix

    def start(self) -> IntArray:
        """The state before the first repetition."""
        return np.zeros(len(self.memory), np.int64)


def apply(matrix: IntArray, state: IntArray) -> IntArray:
    """Max-plus product of a matrix and a vector."""
    return _clean((matrix + state).max(axis=1))


def multiply(left: IntArray, right: IntArray) -> IntArray:
    """Max-plus product of two square matrices."""
    return _clean((left[:, :, None] + right[None, :, :]).max(axis=1))


def advance(matrix: IntArray, state: IntArray, steps: int) -> IntArray:
    """``steps`` equal steps from ``state``: log2(steps) squarings."""
    while steps:
        if steps & 1:
            state = apply(matrix, state)
        steps >>= 1
        if steps:
            matrix = multiply(matrix, matrix)
    return state


def cycle_mean(matrix: IntArray) -> Fraction:
    """The largest mean weight of a cycle: what each step costs in the long run (Karp 1978), exact."""
    size = len(matrix)
    walks = [np.zeros(size, np.int64)]  # every vertex may begin a walk, so that no cycle is missed
    for _ in range(size):
        walks.append(apply(matrix, walks[-1]))
    last = walks[-1]
    means = [
        min(
            Fraction(int(last[vertex] - walk[vertex]), size - length)
            for length, walk in enumerate(walks[:-1])
            if walk[vertex] >= 0
        )
        for vertex in range(size)
        if last[vertex] >= 0
    ]
    return max(means, default=Fraction(0))


def unrolled(graph: EventGraph, weights: Sequence[IntArray | int], repetitions: int) -> IntArray:
    """Every event of every repetition, shape (events, repetitions); ``weights`` per arc, arrays where they change.

    An array weight has an entry a repetition of its target.
    """
    incoming: list[list[tuple[int, int, IntArray | int]]] = [[] for _ in range(graph.events)]
    for arc, weight in zip(graph.arcs, weights, strict=True):
        incoming[arc.target].append(
            (arc.source, arc.delay, weight.tolist() if isinstance(weight, np.ndarray) else weight)
        )
    times: list[list[int]] = [[0] * repetitions for _ in range(graph.events)]
    for i in range(repetitions):
        for event in graph.order:
            latest = 0
            for source, delay, weight in incoming[event]:
                spent = weight if isinstance(weight, int) else weight[i]
                before = times[source][i - delay] if i >= delay else 0
                latest = max(latest, before + spent)
            times[event][i] = latest
    return np.array(times, np.int64).reshape(graph.events, repetitions)


def _clean(values: IntArray) -> IntArray:
    values[values < 0] = NEVER
    return values
