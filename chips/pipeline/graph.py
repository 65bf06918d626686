"""A metapipeline as an event graph: which start waits for which finish.

Stage s starts at event 3s and finishes at 3s + 1; at 3s + 2 its engine may go on to the next stage. With software
pipelining a repetition is a slot: iteration i of a stage runs in slot i + lag.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from chips.pipeline.max_plus import NEVER, Arc, EventGraph, IntArray

if TYPE_CHECKING:
    from chips.pipeline.metapipeline import Metapipeline


def event_graph(pipeline: Metapipeline) -> EventGraph:
    """All that its stages, buffers and engines wait for."""
    position = {stage.name: place for place, stage in enumerate(pipeline.stages)}
    arcs: list[Arc] = []

    def tie(source: int, target: int, weight: int, delay: int) -> None:
        """``delay`` is in iterations, what the graph keeps in slots."""
        slots = delay + pipeline.stages[target // 3].lag - pipeline.stages[source // 3].lag
        if slots < 0:
            late, early = pipeline.stages[source // 3].name, pipeline.stages[target // 3].name
            raise ValueError(
                f"Stage '{early}' of '{pipeline.name}' waits for '{late}', which lags {-slots} iterations more than "
                "their buffer is deep."
            )
        arcs.append(Arc(source, target, weight, slots))

    engines: dict[str, list[int]] = {}
    for place, stage in enumerate(pipeline.stages):
        duration = stage.duration_ps
        tie(3 * place, 3 * place + 1, duration if isinstance(duration, int) else 0, 0)
        tie(3 * place + 1, 3 * place, 0, 1)
        engines.setdefault(stage.engine or stage.name, []).append(place)
    for link in pipeline.links:
        source, target = position[link.source], position[link.target]
        if pipeline.control == "streaming" and not link.carried:
            tie(3 * source, 3 * target, pipeline.stages[source].latency_ps, 0)
            tie(3 * source + 1, 3 * target + 1, pipeline.stages[target].latency_ps, 0)
        else:
            tie(3 * source + 1, 3 * target, link.latency_ps, link.carried)
        tie(3 * target + 1, 3 * source, 0, (link.depth or 1) - link.carried)
    turns = [sorted(places, key=lambda place: pipeline.stages[place].lag) for places in engines.values()]
    if pipeline.control == "sequential":
        turns = [sorted(position.values(), key=lambda place: pipeline.levels[pipeline.stages[place].name])]
    for places in turns:
        for before, after in zip([places[-1], *places], places, strict=False):
            if len(places) > 1:  # an engine passes slots by in which a stage has no iteration
                delay = int(after == places[0])
                arcs.append(Arc(3 * before + 2, 3 * after, 0, delay))
                arcs.append(Arc(3 * before + 2, 3 * after + 2, 0, delay))
                arcs.append(Arc(3 * after + 1, 3 * after + 2, 0, 0))
    return EventGraph(3 * len(pipeline.stages), tuple(arcs))


def weights_of(pipeline: Metapipeline, arc: Arc, slots: int) -> int | IntArray:
    """An arc's weight in every slot; never where its stages have no iteration in it."""
    source, target = pipeline.stages[arc.source // 3], pipeline.stages[arc.target // 3]
    duration = source.duration_ps
    changes = isinstance(duration, np.ndarray) and arc.source % 3 == 0 and arc.target == arc.source + 1
    engine_passes = arc.source % 3 == 2 and arc.target % 3 == 2
    if engine_passes or not (changes or pipeline.most_lag):
        return arc.weight
    weights = np.full(slots, NEVER, np.int64)
    weights[target.lag : target.lag + pipeline.iterations] = duration if changes else arc.weight
    return weights


def graph_at(pipeline: Metapipeline, slot: int) -> EventGraph:
    """The graph of one slot near the ends, without the stages that have no iteration in it."""
    arcs = []
    for arc in pipeline.graph.arcs:
        target = pipeline.stages[arc.target // 3]
        runs = target.lag <= slot < target.lag + pipeline.iterations
        passes = arc.source % 3 == 2 and arc.target % 3 == 2
        arcs.append(arc if runs or passes else replace(arc, weight=NEVER))
    return replace(pipeline.graph, arcs=tuple(arcs))
