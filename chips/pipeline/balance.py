"""What to change in an unbalanced metapipeline: units for the slow stages, deeper buffers for jittery ones.

Belongs here: questions about a ``chips.pipeline.metapipeline.Metapipeline``, answered with its own totals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from chips.pipeline.metapipeline import Metapipeline, Stage


def row_par_for(pipeline: Metapipeline, interval_ps: int) -> dict[str, int]:
    """Parallel units that each stage needs to take at most ``interval_ps`` an iteration, on average."""
    if interval_ps < 1:
        raise ValueError(f"An interval of {interval_ps} ps cannot be reached; it is at least 1.")
    units = {}
    for stage in pipeline.stages:
        work = stage.work.total_ps if isinstance(stage.work, Metapipeline) else float(np.mean(stage.work))
        units[stage.name] = max(1, -(-round(work) // interval_ps))
    return units


@dataclass(frozen=True)
class Balance:
    """The slowest stage, the ``row_par`` that makes it as fast as the next, and the totals before and after."""

    stage: str
    row_par: int
    total_ps: int
    balanced_ps: int


def balance(pipeline: Metapipeline) -> Balance:
    """How many units the slowest stage needs so that it no longer limits. Raises ValueError for a single stage."""
    if len(pipeline.stages) < 2:
        raise ValueError(f"'{pipeline.name}' has one stage; balance is between at least two.")
    mean = [float(np.mean(stage.duration_ps)) for stage in pipeline.stages]
    order = np.argsort(mean)
    slowest, second = int(order[-1]), int(order[-2])
    stage = pipeline.stages[slowest]
    needed = row_par_for(pipeline, max(1, round(mean[second])))[stage.name]
    faster = replace(stage, row_par=max(needed, stage.row_par))
    stages = (*pipeline.stages[:slowest], faster, *pipeline.stages[slowest + 1 :])
    return Balance(stage.name, faster.row_par, pipeline.total_ps, replace(pipeline, stages=stages).total_ps)


def with_jitter(pipeline: Metapipeline, spread: float, seed: int) -> Metapipeline:
    """The same with every duration drawn anew each iteration: uniform within ``spread`` (0 to 1) around its mean."""
    if not 0.0 <= spread <= 1.0:
        raise ValueError(f"The spread of a duration is {spread:g}; it is between 0 and 1.")
    random = np.random.default_rng(seed)
    stages = []
    for stage in pipeline.stages:
        factors = random.uniform(1.0 - spread, 1.0 + spread, pipeline.iterations)
        work = np.rint(stage.duration_ps * factors).astype(np.int64)
        stages.append(replace(stage, work=work, row_par=1))
    return replace(pipeline, stages=tuple(stages))


def in_turn(pipeline: Metapipeline) -> Metapipeline:
    """The same without any pipelining, at no level: one stage at a time, one iteration at a time."""
    stages = tuple(_within(stage, in_turn) for stage in pipeline.stages)
    return replace(pipeline, stages=stages, buffers=pipeline.links, control="sequential")


def single_buffered(pipeline: Metapipeline) -> Metapipeline:
    """The same with room for one value in every buffer, at all levels, so that neighbours take turns at it.

    Values carried from iteration to iteration keep theirs.
    """
    stages = tuple(_within(stage, single_buffered) for stage in pipeline.stages)
    links = tuple(link if link.carried else replace(link, depth=1) for link in pipeline.links)
    return replace(pipeline, stages=stages, buffers=links)


def _within(stage: Stage, change: Callable[[Metapipeline], Metapipeline]) -> Stage:
    work = change(stage.work) if isinstance(stage.work, Metapipeline) else stage.work
    return replace(stage, work=work, lag=0)


def totals_by_depth(pipeline: Metapipeline, extra: Sequence[int]) -> dict[int, int]:
    """The total with every buffer so many slots deeper: {slots added: picoseconds}. Never grows with the slots."""
    return {
        more: replace(
            pipeline, buffers=tuple(replace(link, depth=(link.depth or 1) + more) for link in pipeline.links)
        ).total_ps
        for more in extra
    }
