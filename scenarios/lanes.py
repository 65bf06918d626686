"""Many points at once: those that differ only in their context run side by side, each on a lane of one clock.

Equal to pricing them one by one, to the picosecond: points share a clock only where they issue the same tasks, that is
where their attention streams in equally many tiles and the same thing limits its kernel.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from chips.spec import Dataflow, Gpu
from scenarios.decoder import forward
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.group import cluster_of
from scenarios.machine import gpu_machine, lower_bound
from scenarios.memory import check_memory
from scenarios.model import Shard
from scenarios.operators import Attention, Step
from scenarios.point import ALIKE, Point
from scenarios.pricing import Outcome, price_point, record_of, split_model
from scenarios.strategies import run_strategy, side_by_side
from scenarios.strategies.stream import tiles_of_passes

FEW = 6  # fewer points take less time one by one: an array's addition costs as much as several of numbers
Record = dict[str, object]


def price_points(points: Sequence[Point]) -> list[Record]:
    """The record of every point, in their order: what ``pricing.price_point`` gives for each.

    Raises ScenarioError for a point that it refuses.
    """
    records: dict[int, Record] = {}
    groups: dict[Hashable, list[int]] = {}
    for number, point in enumerate(points):
        groups.setdefault(number if _alone(point) else _shared(point), []).append(number)
    for members in groups.values():
        chosen = [points[number] for number in members]
        priced = [price_point(point) for point in chosen] if len(members) < FEW else _price_contexts(chosen)
        records |= zip(members, priced, strict=True)
    return [records[number] for number in range(len(points))]


def _alone(point: Point) -> bool:
    alike = point.variation == ALIKE and isinstance(point.chip, Gpu | Dataflow)
    return point.phase != "decode" or not alike or not side_by_side(point.chip, point.batch)


def _shared(point: Point) -> Hashable:
    """What points that differ only in their context have in common."""
    owners = (id(point.chip), id(point.model), point.framework.name)
    return (*owners, point.count, point.strategy, point.launch, point.precision, point.batch)


def _price_contexts(points: Sequence[Point]) -> list[Record]:
    """Records of points that differ only in their context."""
    try:
        split = split_model(replace(points[0], context=1))
    except (DoesNotFit, ScenarioError):  # not for their context: each is refused in its own words
        return [price_point(point) for point in points]
    records: dict[int, Record] = {}
    held: list[int] = []
    for number, point in enumerate(points):
        try:
            check_memory(point, split)
            held.append(number)
        except DoesNotFit as refusal:
            records[number] = record_of(point, refusal)
    if held:
        contexts = np.array([points[number].context for number in held], np.float64)
        tasks = _tasks(points[0], _step(points[0], split, contexts))
        for one in np.unique(tasks):
            lanes = np.flatnonzero(tasks == one)
            members = [held[lane] for lane in lanes]
            records |= zip(members, _run([points[number] for number in members], split, contexts[lanes]), strict=True)
    return [records[number] for number in range(len(points))]


def _step(point: Point, split: Shard, contexts: NDArray[np.float64]) -> Step:
    return forward(point.model, split, point.batch, 1, contexts, point.precision)


def _tasks(point: Point, step: Step) -> NDArray[np.str_]:
    """Of every lane what decides which tasks it issues: tiles of its attention, and what limits its kernel."""
    chip = point.chip
    (attention,) = (operator for operator in step.decoder if isinstance(operator, Attention))
    moved, limiter = attention.stream_bytes, np.array("")
    if isinstance(chip, Gpu):
        limiter = gpu_machine(chip, cluster_of(point), point.framework).kernel_time(attention).limiter
        buffer: float = chip.compute.units * chip.on_chip.shared_bytes
        moved = moved if point.strategy != "per_operator" else np.zeros_like(moved)
    else:
        assert isinstance(chip, Dataflow)  # no other kind computes a decoder
        buffer = chip.on_chip.stream_buffer_bytes
        moved = moved + (attention.activation_bytes if point.strategy == "per_operator" else 0.0)
    return np.char.add(tiles_of_passes(attention, moved, buffer).astype(np.str_), np.asarray(limiter).astype(np.str_))


def _run(points: Sequence[Point], split: Shard, contexts: NDArray[np.float64]) -> list[Record]:
    """Records of points that issue the same tasks, from one pass with a lane for each."""
    if len(points) < FEW:
        return [price_point(point) for point in points]
    first, step = points[0], _step(points[0], split, contexts)
    group = cluster_of(first).side_by_side(len(points))
    clock = group.start_clock()
    try:
        finish = run_strategy(clock, group, first.strategy, step, first.launch, first.framework)
    except DoesNotFit:  # for the longest of the contexts, perhaps not for all
        return [price_point(point) for point in points]
    spent = {label: np.broadcast_to(ps, contexts.shape).tolist() for label, ps in finish.parts.items()}
    bounds = np.broadcast_to(lower_bound(first.chip, split.ranks, step), contexts.shape).tolist()
    streamed = np.broadcast_to(step.total(lambda operator: operator.stream_bytes), contexts.shape).tolist()
    labels = list(spent)
    return [
        record_of(point, Outcome({label: ps for label, ps in zip(labels, each, strict=True) if ps}, bound, moved))
        for point, each, bound, moved in zip(points, zip(*spent.values(), strict=True), bounds, streamed, strict=True)
    ]
