"""Price points: ``simulate`` one, ``compare`` a grid; both return a frame in the documented schema of ``results``."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Unpack

import numpy as np

from chips.explained_time import PICOSECONDS_PER_SECOND
from chips.spec import CatalogError
from chips.timeline import Event, Time, Timeline
from cluster import Cluster
from scenarios.decoder import forward
from scenarios.errors import DoesNotFit
from scenarios.machine import Label, lower_bound
from scenarios.memory import check_memory
from scenarios.model import Model, Shard, shard
from scenarios.operators import Attention, Step
from scenarios.point import Options, Point, make_point
from scenarios.strategies import STRATEGIES, run_strategy, side_by_side
from scenarios.training import training_step

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("matmul", "attention", "other", "allreduce", "launch", "fill_drain")


@dataclass
class Outcome:
    """What a point took: picoseconds by label, the lower bound of the same work, and the bytes it had to stream."""

    spent: dict[Hashable, int] = field(default_factory=dict)
    bound_seconds: float = 0.0
    stream_bytes: float = 0.0

    @property
    def ps(self) -> int:
        return sum(self.spent.values())

    def part_ps(self, part: str) -> int:
        """Picoseconds of one column of the results."""
        return sum(ps for label, ps in self.spent.items() if isinstance(label, Label) and label.part == part)

    @property
    def limiter(self) -> str:
        """What most of the time waited for."""
        waited: dict[str, int] = {}
        for label, ps in self.spent.items():
            if isinstance(label, Label):
                waited[label.limiter] = waited.get(label.limiter, 0) + ps
        return max(waited, key=lambda limiter: waited[limiter])


def simulate(
    model: str | Model, chip: str, count: int = 1, *, strategy: str = "per_operator", **options: Unpack[Options]
) -> pd.DataFrame:
    """Price one point: one row in the schema of ``results.schema``; where it does not fit, ``reason`` says why.

    ``options`` are those of the command line, with its defaults (``scenarios.point.Options``). Raises ScenarioError or
    CatalogError in one sentence for a wrong request.
    """
    from results.schema import frame

    return frame([price_point(make_point(model, chip, count, strategy=strategy, **options))])


def compare(
    model: str | Model,
    chips: str | Sequence[str],
    count: int | Sequence[int] = 1,
    *,
    strategy: str | Sequence[str] = tuple(STRATEGIES),
    **options: Unpack[Options],
) -> pd.DataFrame:
    """Price every chip, count and strategy: a row each, in that order. ``options`` as for ``simulate``.

    Raises ScenarioError or CatalogError in one sentence for a wrong request; what does not fit is a row that says so.
    """
    from results.schema import frame

    points = [
        make_point(model, chip, number, strategy=name, **options)
        for chip in ([chips] if isinstance(chips, str) else chips)
        for number in ([count] if isinstance(count, int) else count)
        for name in ([strategy] if isinstance(strategy, str) else strategy)
    ]
    return frame([price_point(point) for point in points])


def price_point(point: Point) -> dict[str, object]:
    """The record of one point, with the keys of the results' schema."""
    record: dict[str, object] = {
        "chip": point.chip.name,
        "count": point.count,
        "model": point.model.name,
        "phase": point.phase,
        "strategy": point.strategy,
        "launch": point.launch,
        "precision": point.precision,
        "batch": point.batch,
        "context": point.context,
    }
    try:
        outcome = run_point(point)
    except DoesNotFit as refusal:
        missing = dict.fromkeys(
            ("seconds", "tokens_per_s_user", "tokens_per_s", "roofline_fraction", "bound_s"), float("nan")
        )
        parts = {f"{part}_s": float("nan") for part in PARTS}
        return record | missing | parts | {"limiter": "", "fits": False, "reason": str(refusal)}
    seconds = outcome.ps / PICOSECONDS_PER_SECOND
    tokens = {"decode": 1, "request": point.output_tokens or 0}.get(point.phase, point.context)
    parts = {f"{part}_s": outcome.part_ps(part) / PICOSECONDS_PER_SECOND for part in PARTS}
    return (
        record
        | {
            "seconds": seconds,
            "tokens_per_s_user": tokens / seconds,
            "tokens_per_s": point.batch * tokens / seconds,
            "roofline_fraction": outcome.stream_bytes / point.chip.memory.bandwidth / seconds,
        }
        | parts
        | {"bound_s": outcome.bound_seconds, "limiter": outcome.limiter, "fits": True, "reason": ""}
    )


def run_point(point: Point) -> Outcome:
    """Run one point on the clock. Raises DoesNotFit with numbers; ScenarioError where the model cannot be split so."""
    split, cluster = split_model(point), Cluster(point.chip, point.count)
    outcome = Outcome()
    for step, lanes in point_steps(point, split):
        clock = Timeline(chips=lanes)
        finish = run_strategy(clock, cluster, point.strategy, step, point.launch, point.framework)
        _add(outcome, point, split, step, finish)
    return outcome


def trace_point(point: Point) -> list[Event]:
    """Every task of one point as it ran, for a trace; of a request only its prefill and first output token."""
    split, cluster = split_model(point), Cluster(point.chip, point.count)
    events: list[Event] = []
    start = 0
    for step, lanes in point_steps(point, split)[: 2 if point.phase == "request" else None]:
        if lanes > 1:
            step = _first_lane(step)
        clock = Timeline(record=True)
        finish = run_strategy(clock, cluster, point.strategy, step, point.launch, point.framework)
        events += [
            replace(event, start_ps=event.start_ps + start, finish_ps=event.finish_ps + start) for event in clock.events
        ]
        start += int(finish.ps)
    return events


def split_model(point: Point) -> Shard:
    """The model's shard on one chip, after the checks of memory, precision and split."""
    try:
        point.chip.peak_flops(point.precision)
    except CatalogError as error:
        raise DoesNotFit(str(error).rstrip(".")) from None
    split = shard(point.model, point.count)
    check_memory(point, split)
    return split


def point_steps(point: Point, split: Shard) -> list[tuple[Step, int]]:
    """The passes of a point, one after the other, each with how many it stands for side by side.

    The output tokens of a request differ only in their context: they are one pass on a clock with a lane for each.
    """
    model, batch, context, precision = point.model, point.batch, point.context, point.precision
    if point.phase == "decode":
        return [(forward(model, split, batch, 1, context, precision), 1)]
    if point.phase == "prefill":
        return [(forward(model, split, batch, context, context, precision), 1)]
    if point.phase == "train":
        work = training_step(model, split, batch, context, precision)
        return [(work.forward, 1), (work.backward, 1), (work.optimizer, 1)]
    prompt = context - (point.output_tokens or 0)
    prefill = forward(model, split, batch, prompt, prompt, precision)
    contexts = np.arange(prompt + 1, context, dtype=np.float64)
    if contexts.size > 1 and side_by_side(point.chip, batch):
        return [(prefill, 1), (forward(model, split, batch, 1, contexts, precision), contexts.size)]
    return [(prefill, 1), *((forward(model, split, batch, 1, int(each), precision), 1) for each in contexts)]


def _first_lane(step: Step) -> Step:
    decoder = tuple(
        replace(operator, context=int(np.min(operator.context))) if isinstance(operator, Attention) else operator
        for operator in step.decoder
    )
    return replace(step, decoder=decoder)


def _add(outcome: Outcome, point: Point, split: Shard, step: Step, finish: Time) -> None:
    for label, spent in finish.parts.items():
        outcome.spent[label] = outcome.spent.get(label, 0) + int(np.sum(spent))
    bound = lower_bound(point.chip, split.ranks, step)
    outcome.bound_seconds += float(np.sum(bound))
    outcome.stream_bytes += float(np.sum(step.total(lambda operator: operator.stream_bytes)))
