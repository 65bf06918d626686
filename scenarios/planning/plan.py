"""``plan``: of all ways to train or to serve a model on given chips, those that are best at a goal.

Training: every layout of a global batch (``scenarios.planning.training``). Serving: a token of decode on every chip,
count, strategy, precision and batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from chips.spec import load_chip
from scenarios.cost import PriceList, cost_of, paid_prices
from scenarios.errors import ScenarioError
from scenarios.inputs import INPUTS, Option, listed, showing_inputs
from scenarios.planning.candidate import Candidate
from scenarios.planning.goals import GOALS
from scenarios.planning.ranking import Limit, check_goal, ranked, with_shares, within
from scenarios.planning.search import ShowProgress, nobody
from scenarios.planning.training import TrainingSearch
from scenarios.point import make_point
from scenarios.pricing import price
from scenarios.quantities import check_count
from scenarios.strategies import STRATEGIES
from scenarios.sweeps.sweep import sweep
from scenarios.workload.model import Model, load_model, tensor_parallel_counts
from scenarios.workload.parallel import Parallel

if TYPE_CHECKING:
    import pandas as pd

BATCHES = tuple(2**power for power in range(11))
"""Sequences side by side that serving tries, unless told which."""
PRICED_AT_ONCE = 512  # points between two reports of progress
CHOSEN_HERE = ("phase", "parallel", "variation", "output_tokens")


@dataclass(frozen=True)
class Storage:
    """Where points are priced so that a plan may be stopped and goes on: a folder, and who fills it, as of a sweep."""

    folder: str | Path
    executor: str = "processes"
    workers: int | None = None
    address: str | None = None
    fresh: bool = False


@dataclass(frozen=True)
class Plan:
    """What ``plan`` found, the best first.

    ``frame``: a row in the results' schema for each point that was priced and does what was asked; beside it
    ``needed_bytes`` of a chip's memory and ``tokens_per_s_chip``. Its first ``keep`` rows are the best of all
    ``considered`` points, ``fitting`` of which fit their chips' memory.
    """

    frame: pd.DataFrame
    keep: int
    considered: int
    fitting: int


@showing_inputs
def plan(
    model: str | Model,
    chips: str | Sequence[str],
    count: int | Sequence[int] | None = None,
    *,
    global_batch: int | None = None,
    strategy: str | Sequence[str] | None = None,
    precision: str | Sequence[str] | None = None,
    batch: int | Sequence[int] | None = None,
    stages: int | Sequence[int] = 1,
    goal: str = "time",
    dollars_per_chip_hour: float | None = None,
    dollars_per_kilowatt_hour: float | None = None,
    tokens_per_s_user: float = 0.0,
    keep: int = 10,
    storage: Storage | None = None,
    on_progress: ShowProgress = nobody,
    **options: Option,
) -> Plan:
    """The ``keep`` best ways to train ``model`` with a ``global_batch``, or without one to serve it.

    Training: every layout over exactly ``count`` chips. Serving: decode on ``count`` chips (None: every number that
    divides the model and that the chip's links join) in so many ``stages`` of tensor-parallel groups, for each
    ``batch`` (None: powers of two up to 1,024). ``goal``: one of ``scenarios.planning.goals.GOALS``; only points are
    listed that give a sequence at least ``tokens_per_s_user``. The goal "cost" adds a column of that name, US dollars a
    million tokens at prices that are said or listed (``scenarios.cost``). ``strategy``: None is per_operator in
    training, all in serving. ``options``: inputs of ``scenarios.inputs`` that hold for all points.

    Raises ScenarioError or CatalogError in one sentence for a wrong request, or where no point does what was asked;
    what ``sweep`` raises where there is ``storage``.
    """
    check_goal(goal)
    if not 0 <= tokens_per_s_user < inf:
        raise ScenarioError(f"--tokens-per-s-user is {tokens_per_s_user:g}; expected tokens a second, 0 or more.")
    if storage is not None and isinstance(model, Model):
        raise ScenarioError("a plan kept in a folder takes its model by name or path, so that workers read it too.")
    check_count("--keep", keep)
    for row in INPUTS:
        if row.name in CHOSEN_HERE and row.name in options:
            raise ScenarioError(f"a plan takes no {row.option}: it is for it to choose, or of no use here.")
    paid = None
    if goal == "cost":
        names = [load_chip(chip).name for chip in listed(chips)]
        paid = paid_prices(names, dollars_per_chip_hour, dollars_per_kilowatt_hour)
    varied = {"model": [model], "chip": listed(chips), "precision": listed(precision)}
    if global_batch is None:
        for number in listed(stages):
            check_count("--stages", number)
        splits = ["" if number == 1 else f"pipeline={number}" for number in listed(stages)]
        varied |= {"strategy": listed(strategy or tuple(STRATEGIES)), "batch": listed(batch or BATCHES)}
        varied |= {"parallel": splits}
        priced = _serving(list(_candidates(varied, count, options | {"phase": "decode"})), storage, on_progress)
    else:
        check_count("--global-batch", global_batch)
        if batch is not None:
            raise ScenarioError("--batches are of serving; in training the layout deals --global-batch to the chips.")
        varied |= {"strategy": listed(strategy or "per_operator"), "batch": [global_batch]}
        steps = _candidates(varied, 1 if count is None else count, options | {"phase": "train"})
        priced = _training(TrainingSearch(steps, GOALS[goal], paid), keep, storage, on_progress)
    return _ordered(priced, goal, paid, tokens_per_s_user, keep)


class _Priced(NamedTuple):
    """A row for each of ``candidates``, of so many ``considered``, so many ``fitting``."""

    frame: pd.DataFrame
    candidates: Sequence[Candidate]
    considered: int
    fitting: int


def _serving(candidates: Sequence[Candidate], storage: Storage | None, on_progress: ShowProgress) -> _Priced:
    if not candidates:
        raise ScenarioError("no --count can be dealt to so many --stages; each has as many chips.")
    if storage is None:
        frame = _priced_here(candidates, on_progress)
    else:
        frame = _priced_there(candidates, storage, on_progress)
    return _Priced(frame, candidates, len(candidates), int(frame["fits"].sum()))


def _training(search: TrainingSearch, keep: int, storage: Storage | None, on_progress: ShowProgress) -> _Priced:
    if not search.fitting:
        raise ScenarioError(search.why_none)
    if storage is None:
        places, prices = search.priced_for(keep, on_progress)
        frame = prices.frame()
    else:
        places = search.shortlist(keep)
        frame = _priced_there([search.fitting[place] for place in places], storage, on_progress)
    return _Priced(frame, [search.fitting[place] for place in places], search.considered, len(search.fitting))


def _candidates(
    varied: dict[str, list[Any]], count: int | Sequence[int] | None, options: dict[str, Any]
) -> Iterator[Candidate]:
    """Every combination of what varies; of counts that are not given those that a chip's links join."""
    for values in product(*varied.values()):
        asked = dict(zip(varied, values, strict=True)) | options
        request = {name: value for name, value in asked.items() if value is not None}
        for number in _counts(request, count):
            asked = request | {"count": number}
            if number % Parallel.parse(request.get("parallel", "")).pipeline == 0:
                yield Candidate(asked, make_point(**asked))


def _counts(request: dict[str, Any], count: int | Sequence[int] | None) -> Sequence[int]:
    if count is not None:
        return listed(count)
    domain = load_chip(request["chip"]).link.domain
    model = request["model"]
    known = model if isinstance(model, Model) else load_model(model)
    return [ranks for ranks in tensor_parallel_counts(known) if ranks <= domain]


def _priced_here(chosen: Sequence[Candidate], on_progress: ShowProgress) -> pd.DataFrame:
    """A row in the results' schema for each of ``chosen``."""
    import pandas as pd

    frames = []
    for first in range(0, len(chosen), PRICED_AT_ONCE):
        frames.append(price([each.point for each in chosen[first : first + PRICED_AT_ONCE]]).frame())
        done = first + len(frames[-1])
        on_progress(len(chosen), done, done)
    return pd.concat(frames, ignore_index=True)


def _priced_there(chosen: Sequence[Candidate], storage: Storage, on_progress: ShowProgress) -> pd.DataFrame:
    """The same as a sweep whose keys go side by side, into a folder that is read again."""
    from results.store import load

    keys = {row.name: row.key for row in INPUTS}
    names = list(chosen[0].request)
    together = [name for name in names if len({each.request[name] for each in chosen}) > 1]
    values = {
        keys[name]: [each.request[name] for each in chosen] if name in together else chosen[0].request[name]
        for name in names
    }
    scenario = {"question": f"Which of {len(chosen):,} ways to run {chosen[0].point.model.name} are best?"} | values
    if together:
        scenario |= {"together": [[keys[name] for name in together]]}
    sweep(
        scenario,
        storage.folder,
        executor=storage.executor,
        workers=storage.workers,
        address=storage.address,
        fresh=storage.fresh,
        on_progress=lambda progress: on_progress(progress.total, progress.done, progress.priced),
    )
    return load(storage.folder)


def _ordered(priced: _Priced, goal: str, paid: PriceList | None, tokens_per_s_user: float, keep: int) -> Plan:
    """The rows that do what was asked, best first. Raises ScenarioError where there is none."""
    frame, candidates, considered, fitting = priced
    fits = frame.loc[frame["fits"]]
    if fits.empty:
        raise ScenarioError(f"none of {considered:,} points fits: {frame['reason'].iloc[0].rstrip('.')}.")
    user = Limit(f"--tokens-per-s-user {tokens_per_s_user:g}", "tokens_per_s_user", tokens_per_s_user, least=True)
    able = within(fits, [user])
    if paid is not None:
        able = able.assign(cost=cost_of(able, paid)["cost"])
    rows = with_shares(ranked(able, goal), [each.point for each in candidates])
    return Plan(rows.reset_index(drop=True), keep, considered, fitting)
