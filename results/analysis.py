"""Questions asked of a frame: side by side, how much faster, where it stops paying, what is best, how well it scales.

pandas in, pandas out; every function takes a frame of ``results.schema`` and leaves it as it was. Rows that do not fit
have no time, and so no answer. Nothing here draws or prints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from results.errors import SchemaError
from results.schema import INPUTS, SWEPT

Names = str | Sequence[str]
# Inputs for which each kind of chip has words of its own.
OWN_WORDS = ("launch", "framework", "collectives", "synchronization")
UNMEASURED = {"sibling": " (those of a sibling were)", "unmeasured": ""}  # of the column ``kernels``
# A win of less is inside of what the simulator itself is off by.
WORTH = 1.05


def select(results: pd.DataFrame, conditions: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The rows whose columns have one of the values given for each, written as text: ``{"batch": ["1", "8"]}``.

    Raises SchemaError where a column is unknown, or no row that is left has one of the values.
    """
    _known(results, tuple(conditions))
    for name, wanted in conditions.items():
        texts = results[name].astype(str)
        there = texts.unique()
        if missing := [value for value in wanted if value not in there]:
            raise SchemaError(f"no row has {name} {missing[0]}; there are {name} {', '.join(there)}.")
        results = results.loc[texts.isin(list(wanted))]
    return results.reset_index(drop=True)


def pivot(
    results: pd.DataFrame, rows: Names = ("chip", "count"), columns: Names = "strategy", values: str = "seconds"
) -> pd.DataFrame:
    """``values`` side by side: a row for each of ``rows``, a column for each of ``columns``, in the frame's order.

    Raises SchemaError where two rows would share a cell, naming what tells them apart.
    """
    down, across = _names(rows), _names(columns)
    _known(results, (*down, *across, values))
    _single(results, [*down, *across])
    wide = results.set_index([*down, *across])[values].unstack(across)
    first = {
        axis: list(dict.fromkeys(results[names].itertuples(index=False, name=None)))
        for axis, names in (("index", down), ("columns", across))
    }
    order = {axis: [key[0] if len(key) == 1 else key for key in keys] for axis, keys in first.items()}
    return pd.DataFrame(wide.reindex(index=order["index"], columns=order["columns"]))


def speedups(results: pd.DataFrame, baseline: Mapping[str, object] | None = None) -> pd.DataFrame:
    """The frame with ``baseline_s`` and ``speedup`` (baseline_s / seconds; above 1 is faster than the baseline).

    ``baseline``: values of input columns, ``{"strategy": "per_operator"}`` by default. A row is held against the row
    that has these values and is its equal in all other inputs; ``launch`` and ``framework`` must be equal only between
    rows of one chip, because each kind of chip has words of its own for them. NaN where there is no such row. Raises
    SchemaError for an unknown column, or where several rows could be the baseline.
    """
    against = {"strategy": "per_operator"} if baseline is None else dict(baseline)
    _known(results, tuple(against))
    chosen = np.logical_and.reduce([(results[name] == value).to_numpy() for name, value in against.items()])
    if not chosen.any():
        raise SchemaError(f"no row is the baseline: {_words(against)}.")
    ignored = {*against, *OWN_WORDS} if "chip" in against else set(against)
    shared = [name for name in inputs_of(results) if name not in ignored]
    base = results.loc[chosen]
    _single(base, shared)
    keys = pd.MultiIndex.from_frame(results[shared])
    places = pd.MultiIndex.from_frame(base[shared]).get_indexer(keys)
    seconds = np.where(places >= 0, base["seconds"].to_numpy()[places], np.nan)
    return results.assign(baseline_s=seconds, speedup=seconds / results["seconds"])


def crossovers(
    results: pd.DataFrame,
    along: str = "batch",
    *,
    fast: str = "kernel_loop",
    slow: str = "per_operator",
    column: str = "strategy",
    worth: float = WORTH,
) -> pd.DataFrame:
    """Where ``fast`` stops paying against ``slow`` as ``along`` grows: a row a place, and one for a curve without.

    ``fast`` and ``slow`` are values of ``column``; a curve is all rows that are equal in every other input. It pays
    where slow is at least ``worth`` times as long. Columns beside the curve's inputs: ``change`` (``stops``,
    ``starts``; ``always`` or ``never`` where the curve has no such place), ``crossover`` (the value of ``along`` at
    which slow / fast is ``worth``, on a straight line between its neighbours on logarithmic scales; NaN without one),
    ``before`` and ``after`` (the neighbours, or the ends of the curve) and their speed-ups.
    """
    _known(results, (along, column))
    compared = results.loc[results[column].isin([fast, slow]), [*inputs_of(results), "seconds"]]
    faster = speedups(compared, {column: slow})
    faster = faster.loc[(faster[column] == fast) & faster["speedup"].notna()]
    curve = [name for name in inputs_of(results) if name not in (along, column)]
    _single(faster, [*curve, along])
    faster = faster.sort_values(along, kind="stable")
    numbers = faster.groupby(curve, sort=False).ngroup().to_numpy()
    ordered = np.argsort(numbers, kind="stable")  # one curve after the other
    faster, numbers = faster.iloc[ordered], numbers[ordered]
    places, ratios = faster[along].to_numpy(np.float64), faster["speedup"].to_numpy(np.float64)
    pays = ratios >= worth
    turns = np.flatnonzero((pays[1:] != pays[:-1]) & (numbers[1:] == numbers[:-1]))
    firsts, lasts = np.flatnonzero(np.diff(numbers, prepend=-1)), np.flatnonzero(np.diff(numbers, append=-1))
    never = ~np.isin(numbers[firsts], numbers[turns])  # curves that pass no place
    before, after = np.append(turns, firsts[never]), np.append(turns + 1, lasts[never])
    turned = np.arange(len(before)) < len(turns)
    (x, y), (p, q) = np.log(places[[before, after]]), np.log(ratios[[before, after]])
    with np.errstate(all="ignore"):  # curves without such a place, which may be one point
        crossover = np.exp(x + (y - x) * (np.log(worth) - p) / (q - p))
    found = (
        faster[curve]
        .iloc[before]
        .assign(
            change=np.where(
                turned, np.where(pays[before], "stops", "starts"), np.where(pays[before], "always", "never")
            ),
            crossover=np.where(turned, crossover, np.nan),
            before=places[before],
            after=places[after],
            speedup_before=ratios[before],
            speedup_after=ratios[after],
        )
    )
    return found.iloc[np.argsort(before, kind="stable")].reset_index(drop=True)


def pareto_front(
    results: pd.DataFrame,
    *,
    maximize: Sequence[str] = ("tokens_per_s_user", "tokens_per_s"),
    minimize: Sequence[str] = ("count",),
) -> pd.DataFrame:
    """The rows that no other row beats: none is as good in every objective and better in one. In the frame's order.

    Rows that do not fit, or miss an objective, are left out.
    """
    _known(results, (*maximize, *minimize))
    costs = np.column_stack([*(-results[name] for name in maximize), *(results[name] for name in minimize)])
    candidates = np.flatnonzero(np.isfinite(costs).all(axis=1) & results["fits"].to_numpy())
    # Nothing can be beaten by what comes after it in lexical order, so that each survivor clears those behind it.
    candidates = candidates[np.lexsort(costs[candidates].T[::-1])]
    front: list[int] = []
    while len(candidates):
        best = costs[candidates[0]]
        equal = (costs[candidates] == best).all(axis=1)
        front += candidates[equal].tolist()
        candidates = candidates[(costs[candidates] < best).any(axis=1)]
    return results.iloc[sorted(front)]


def scaling(results: pd.DataFrame) -> pd.DataFrame:
    """The frame with ``scaling_speedup``, ``ideal_speedup`` and ``scaling_efficiency`` (their ratio, 1 is ideal).

    Strong scaling: the same work on more chips, against the smallest count of the same curve (all other inputs equal)
    that fits. Ideal: twice the chips, half the time. Weak scaling, where each count has one batch of its own
    (``grows_with_count``): twice the chips, twice the sequences in the same time.
    """
    along = ("count", "batch") if grows_with_count(results) else ("count",)
    curve = [name for name in inputs_of(results) if name not in along]
    _single(results, [*curve, "count"])
    fits = results.loc[results["fits"]].sort_values("count")
    first = fits.assign(work=fits["batch"]).groupby(curve, sort=False)[["count", "seconds", "work"]].first()
    start = first.reindex(pd.MultiIndex.from_frame(results[curve])).set_axis(results.index)
    # Curves of which nothing fits have no start: NaN.
    speedup = results["batch"] / start["work"] * (start["seconds"] / results["seconds"])
    ideal = results["count"] / start["count"]
    return results.assign(scaling_speedup=speedup, ideal_speedup=ideal, scaling_efficiency=speedup / ideal)


def grows_with_count(results: pd.DataFrame) -> bool:
    """Whether the batch varies with the count and with nothing else."""
    return results["batch"].nunique() > 1 and bool((results.groupby("count")["batch"].nunique() == 1).all())


def _names(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def inputs_of(results: pd.DataFrame) -> list[str]:
    """What tells points apart: the schema's inputs, and what a sweep varied beside them."""
    return [name for name in (*INPUTS, *SWEPT) if name in results]


def varied(results: pd.DataFrame) -> list[str]:
    """Inputs of which the rows have several values; not a chip's own words that tell nothing beside the chip."""
    chips = results.groupby("chip")
    return [
        name
        for name in inputs_of(results)
        if results[name].nunique() > 1 and (name not in OWN_WORDS or (chips[name].nunique() > 1).any())
    ]


def _known(results: pd.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        if name not in results:
            raise SchemaError(f"there is no column '{name}'; there are {', '.join(map(str, results.columns))}.")


def _single(results: pd.DataFrame, names: Sequence[str]) -> None:
    """Refuse a frame in which two rows are equal in ``names``."""
    again = results.duplicated(list(names), keep=False)
    if not again.any():
        return
    twins = results.loc[again]
    first = twins.iloc[0]
    alike = twins.loc[(twins[list(names)] == first[list(names)]).all(axis=1)]
    differing = [name for name in inputs_of(twins) if alike[name].nunique() > 1]
    told = f"they differ in {', '.join(differing)}: choose among them first" if differing else "drop the copies first"
    raise SchemaError(f"{len(alike)} rows are equal in {', '.join(names)} ({_words(first[list(names)])}); {told}.")


def _words(values: Mapping[str, object] | pd.Series) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def unmeasured_kernels(results: pd.DataFrame) -> list[str]:
    """A sentence that names the chips of which nobody measured a kernel; none where all were measured."""
    told = results[results["kernels"].isin(list(UNMEASURED))]
    if told.empty:
        return []
    chips = dict(zip(told["chip"], told["kernels"], strict=True))
    names = ", ".join(chip + UNMEASURED[source] for chip, source in chips.items())
    return [f"Kernels that nobody measured, with wider bands (docs/unmeasured.md): {names}."]
