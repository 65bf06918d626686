"""Price points: ``simulate`` one, ``compare`` a grid; both return a frame in the documented schema of ``results``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Unpack

import numpy as np

from chips.clock.timeline import Event
from chips.spec import CatalogError
from cluster import LOCAL, Cluster, Communicator, Executor, run_ranks
from scenarios.assignment import (
    MOST_SIDE_BY_SIDE,
    chips_of_stages,
    cluster_of,
    clusters_of_groups,
    working_chips,
)
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.memory import check_memory
from scenarios.outcome import Outcome, Record, record_of
from scenarios.point import ALIKE, Options, Point, make_point
from scenarios.strategies import STRATEGIES, run_strategy, side_by_side
from scenarios.strategies.bound import lower_bound
from scenarios.training.run import run_training
from scenarios.training.stages import training_work
from scenarios.workload.decoder import forward
from scenarios.workload.model import Model, Shard, shard
from scenarios.workload.operators import Attention, Count, Step

if TYPE_CHECKING:
    import pandas as pd


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
    executor: Executor = LOCAL,
    **options: Unpack[Options],
) -> pd.DataFrame:
    """Price every chip, count and strategy: a row each, in that order. ``options`` as for ``simulate``.

    The frame is the same on every ``executor``. Raises ScenarioError or CatalogError in one sentence for a wrong
    request, ClusterError where a rank of the executor cannot be started or is lost; what does not fit is a row that
    says so.
    """
    from results.schema import frame

    points = [
        make_point(model, chip, number, strategy=name, **options)
        for chip in ([chips] if isinstance(chips, str) else chips)
        for number in ([count] if isinstance(count, int) else count)
        for name in ([strategy] if isinstance(strategy, str) else strategy)
    ]
    if executor.name == "local":
        return frame([price_point(point) for point in points])
    return frame([_record(point, answer) for point, answer in zip(points, _distributed(points, executor), strict=True)])


def price_point(point: Point) -> Record:
    """The record of one point, with the keys of the results' schema."""
    return _record(point, _answer(point))


def _record(point: Point, answer: Outcome | DoesNotFit) -> Record:
    varies = point.variation != ALIKE and isinstance(answer, Outcome)
    return record_of(point, answer, run_point(replace(point, variation=ALIKE)) if varies else None)


def run_point(point: Point, communicator: Communicator | None = None) -> Outcome:
    """Run one point on the clock; with a ``communicator``, only this rank's chip, which meets the others in messages.

    Raises DoesNotFit with numbers; ScenarioError where the model cannot be split so.
    """
    split = split_model(point)
    if point.one_group:
        return _run_group(point, split, cluster_of(point, communicator))
    return run_training(point, split) if point.phase == "train" else _slowest_replica(point, split)


def _slowest_replica(point: Point, split: Shard) -> Outcome:
    """Of replicas that serve side by side and never meet, the one that takes longest."""
    (chips,) = chips_of_stages(point)
    replica = replace(point.replica, batch=-(-point.batch // len(chips)))
    lanes = max(passes for _, passes in point_steps(replica, split))
    clusters, _ = clusters_of_groups(point, chips[:, 0], max(1, MOST_SIDE_BY_SIDE // lanes))
    outcomes = [_run_group(replica, split, cluster) for cluster in clusters]
    slowest = max(outcomes, key=lambda outcome: np.max(outcome.ps))
    return slowest.of(int(np.argmax(slowest.ps)))


def _run_group(point: Point, split: Shard, cluster: Cluster) -> Outcome:
    """All passes of a point on one group of chips, or as an array on each of several side by side."""
    outcome, groups = Outcome(), cluster.passes
    for step, passes in point_steps(point, split):
        lanes = cluster.side_by_side(passes * groups)
        clock = lanes.start_clock()
        on_lanes = _with_contexts(step, partial(np.repeat, repeats=lanes.lanes * groups)) if passes > 1 else step
        finish = run_strategy(clock, lanes, point.strategy, on_lanes, point.launch, point.framework)
        # A pass is over when its last chip is.
        for label, spent in lanes.meet(clock, finish).parts.items():
            of_groups = np.atleast_1d(spent)[:: lanes.lanes].reshape(-1, groups).sum(axis=0)
            outcome.spent[label] = outcome.spent.get(label, 0) + (of_groups if groups > 1 else int(of_groups[0]))
        outcome.bound_seconds += float(np.sum(lower_bound(point.chip, split.ranks, step)))
        outcome.stream_bytes += float(np.sum(step.total(lambda operator: operator.stream_bytes)))
    return outcome


def _answer(point: Point, communicator: Communicator | None = None) -> Outcome | DoesNotFit:
    try:
        return run_point(point, communicator)
    except DoesNotFit as refusal:
        return refusal


def _distributed(points: Sequence[Point], executor: Executor) -> list[Outcome | DoesNotFit]:
    """What ``_answer`` gives, with a rank a chip: the ranks of one count are started once for all of its points."""
    several = next((point for point in points if not point.one_group), None)
    if several is not None:
        raise ScenarioError(
            f"--executor {executor.name} runs the ranks of one tensor-parallel group; --parallel {several.parallel} "
            "makes several on these chips: --executor local."
        )
    answers: dict[int, Outcome | DoesNotFit] = {}
    groups: dict[int, list[int]] = {}
    for index, point in enumerate(points):
        try:
            groups.setdefault(len(working_chips(point)), []).append(index)
        except DoesNotFit as refusal:
            answers[index] = refusal
    for ranks, members in groups.items():
        asked = [points[index] for index in members]
        answers |= zip(members, run_ranks(answers_of_rank, asked, count=ranks, executor=executor)[0], strict=True)
    return [answers[index] for index in range(len(points))]


def answers_of_rank(communicator: Communicator, points: Sequence[Point]) -> list[Outcome | DoesNotFit]:
    """One rank's program: all ranks come to the same answers, because a pass is over where all of them meet."""
    return [_answer(point, communicator) for point in points]


def trace_point(point: Point) -> list[Event]:
    """Every task of one point as it ran, for a trace: those of ``trace_passes``, one after the other."""
    return [event for _, events in trace_passes(point) for event in events]


def trace_passes(point: Point) -> list[tuple[Step, list[Event]]]:
    """Every pass of one point with its tasks as they ran; of a request only its prefill and first output token.

    Where chips differ, times are arrays over them.
    """
    split, cluster = split_model(point), cluster_of(point)
    found: list[tuple[Step, list[Event]]] = []
    start = 0
    for step, passes in point_steps(point, split)[: 2 if point.phase == "request" else None]:
        if passes > 1:
            step = _with_contexts(step, lambda context: int(np.min(context)))
        clock = cluster.start_clock(record=True)
        finish = run_strategy(clock, cluster, point.strategy, step, point.launch, point.framework)
        events = [
            replace(event, start_ps=event.start_ps + start, finish_ps=event.finish_ps + start) for event in clock.events
        ]
        found.append((step, events))
        start += int(np.max(finish.ps))
    return found


def split_model(point: Point) -> Shard:
    """The model's shard on one chip, after the checks of memory, precision and split."""
    try:
        point.chip.peak_flops(point.precision)
    except CatalogError as error:
        raise DoesNotFit(str(error).rstrip(".")) from None
    if not point.one_group:
        split = shard(point.model, point.layout.tensor)
        check_memory(point if point.phase == "train" else point.replica, split)
        return split
    ranks = len(working_chips(point))
    split = shard(point.model, ranks)
    check_memory(replace(point, count=ranks, parallel=replace(point.parallel, tensor=0)), split)
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
        work = training_work(point, split)
        return [(work.forward, 1), (work.backward, 1), (work.optimizer, 1)]
    prompt = context - (point.output_tokens or 0)
    prefill = forward(model, split, batch, prompt, prompt, precision)
    contexts = np.arange(prompt + 1, context, dtype=np.float64)
    if contexts.size > 1 and side_by_side(point.chip, batch):
        return [(prefill, 1), (forward(model, split, batch, 1, contexts, precision), contexts.size)]
    return [(prefill, 1), *((forward(model, split, batch, 1, int(each), precision), 1) for each in contexts)]


def _with_contexts(step: Step, change: Callable[[Count], Count]) -> Step:
    """The step with the contexts of its attention changed."""
    decoder = tuple(
        replace(operator, context=change(operator.context)) if isinstance(operator, Attention) else operator
        for operator in step.decoder
    )
    return replace(step, decoder=decoder)
