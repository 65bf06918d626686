"""What a frame answers, in sentences with numbers: what a strategy wins, where, and where it stops paying."""

from __future__ import annotations

import pandas as pd

from results.analysis import OWN_WORDS, crossovers, inputs_of, speedups
from results.pictures.canvas.palette import PART_COLOURS, readable
from results.schema import PART_COLUMNS
from results.units import format_seconds, percent, three_digits

FAST, SLOW = "kernel_loop", "per_operator"
NOUNS = {
    "per_operator": "a kernel for each operator",
    "fused_decoder": "a kernel for each decoder",
    "kernel_loop": "one looped kernel for all decoders",
}
PER = {"decode": "a token", "prefill": "a prefill", "request": "a request", "train": "a step"}
MOST_CHIPS = 4  # that are compared with the first
ALONG = ("batch", "context", "count")


def answer(results: pd.DataFrame) -> list[str]:
    """Sentences for a reader in a hurry, the most important first; at least one."""
    needed = [*inputs_of(results), "seconds", "alike_s", *PART_COLUMNS, "limiter"]
    fitting = results.loc[results["fits"], needed]
    if fitting.empty:
        return [f"None of the {len(results):,} points fits: {results['reason'].iloc[0]}."]
    sentences = [
        *_wins(fitting),
        *_chip_for_chip(fitting),
        _fastest(fitting),
        *_stops(fitting),
        *_all_reduce(fitting),
        *_variation(fitting),
    ]
    missing = len(results) - len(fitting)
    if missing:
        sentences.append(f"{missing:,} of {len(results):,} points do not fit.")
    return sentences


def _wins(fitting: pd.DataFrame) -> list[str]:
    """For each chip the point at which looping wins most, the largest win first, and what it wins it from."""
    if not {FAST, SLOW} <= set(fitting["strategy"].unique()):
        return []
    faster = speedups(fitting, {"strategy": SLOW})
    faster = faster.loc[(faster["strategy"] == FAST) & faster["speedup"].notna()]
    if faster.empty:
        return []
    best = faster.loc[faster.groupby("chip")["speedup"].idxmax()].sort_values("speedup", ascending=False)
    told = [
        f"{three_digits(row['speedup'])} times as fast on {row['count']} {row['chip']}{_setting(row, fitting)} "
        f"({format_seconds(row['baseline_s'])} to {format_seconds(row['seconds'])} {PER[row['phase']]})"
        for _, row in best.iterrows()
    ]
    sentences = [f"Against {NOUNS[SLOW]}, {NOUNS[FAST]} is at best {_joined(told)}."]
    top = best.iloc[0]
    shared = [name for name in inputs_of(fitting) if name != "strategy"]
    before = fitting.loc[(fitting["strategy"] == SLOW) & (fitting[shared] == top[shared]).all(axis=1)].iloc[0]
    lost, after = (percent((row["launch_s"] + row["host_s"]) / row["seconds"]) for row in (before, top))
    waits = percent(top["dependency_s"] / top["seconds"])
    sentences.append(
        f"There, kernel launches and the host take {lost} of the time of {NOUNS[SLOW]} and {after} of the looped "
        f"kernel's, whose operators wait for each other for {waits}."
    )
    return sentences


def _chip_for_chip(fitting: pd.DataFrame) -> list[str]:
    """How the other chips compare with the first at equal counts and settings, each with its best strategy."""
    setting = [name for name in inputs_of(fitting) if name not in ("chip", "strategy", *OWN_WORDS)]
    best = fitting.groupby([*setting, "chip"], sort=False)["seconds"].min().unstack("chip")
    first, *others = fitting["chip"].unique()
    sentences = []
    for chip in others[:MOST_CHIPS]:
        ratios = (best[first] / best[chip]).dropna()
        if ratios.empty:
            continue
        low, high = (three_digits(float(each)) for each in (ratios.min(), ratios.max()))
        alike = f"Chip for chip, each with its best strategy, {chip} is {high} times as fast as {first}"
        if low == high:
            sentences.append(f"{alike}.")
            continue
        settings = ratios.index.to_frame(index=False)
        most, least = (settings.iloc[int(at)] for at in (ratios.argmax(), ratios.argmin()))
        sentences.append(
            f"{alike} on {_chips(most)}{_setting(most, fitting)}, and {low} times on {_chips(least)}"
            f"{_setting(least, fitting)}; it is the faster in {(ratios > 1).sum():,} of {len(ratios):,} settings."
        )
    return sentences


def _chips(row: pd.Series) -> str:
    return f"{row['count']} chip{'s' if row['count'] > 1 else ''}"


def _all_reduce(fitting: pd.DataFrame) -> list[str]:
    """Where AllReduce takes the largest share, if counts vary."""
    shares = fitting["allreduce_s"] / fitting["seconds"]
    if fitting["count"].nunique() < 2 or not shares.max() > 0:
        return []
    row = fitting.iloc[int(shares.to_numpy().argmax())]
    return [
        f"AllReduce that nothing hides takes at most {percent(shares.max())} of the time: on {row['count']} "
        f"{row['chip']} with {readable(row['strategy'])}{_setting(row, fitting)}."
    ]


def _variation(fitting: pd.DataFrame) -> list[str]:
    """What it costs that chips differ, where they do."""
    if (fitting["variation"] == "").all():
        return []
    longer = fitting["seconds"] / fitting["alike_s"] - 1
    row = fitting.iloc[int(longer.to_numpy().argmax())]
    return [
        f"Chips that differ ({row['variation']}) make it at most {percent(longer.max())} longer: on {row['count']} "
        f"{row['chip']} with {readable(row['strategy'])}{_setting(row, fitting)}."
    ]


def _fastest(fitting: pd.DataFrame) -> str:
    """The shortest time of the first phase that is there, and what takes most of it."""
    same = fitting.loc[fitting["phase"] == fitting["phase"].iloc[0]]
    best = same.iloc[int(same["seconds"].to_numpy().argmin())]
    largest = max(PART_COLUMNS, key=lambda part: best[part])
    share = percent(best[largest] / best["seconds"])
    return (
        f"The shortest time {PER[best['phase']]} is {format_seconds(best['seconds'])}, on {best['count']} "
        f"{best['chip']} with {readable(best['strategy'])}{_setting(best, fitting)}: {share} of it are "
        f"{PART_COLOURS[largest][0]}, and it waits mostly for {best['limiter']}."
    )


def _stops(fitting: pd.DataFrame) -> list[str]:
    """Where looping stops paying, along the first of batch, context and count where it does."""
    if not {FAST, SLOW} <= set(fitting["strategy"].unique()):
        return []
    for along in ALONG:
        if fitting[along].nunique() < 2:
            continue
        found = crossovers(fitting, along, fast=FAST, slow=SLOW)
        stops = found.loc[found["change"] == "stops"].sort_values("crossover")
        if len(stops):
            first, last = stops.iloc[0], stops.iloc[-1]
            where = f"on {first['chip']}" if along == "count" else f"on {first['count']} {first['chip']}"
            ends = f"near {along} {three_digits(first['crossover'])} {where}"
            if len(stops) > 1:
                other = f"on {last['chip']}" if along == "count" else f"on {last['count']} {last['chip']}"
                ends += f", and last near {along} {three_digits(last['crossover'])} {other}"
            return [
                f"Along {along}, looping stops paying (less than 5% faster) on {len(stops)} of {len(found)} curves: "
                f"first {ends}."
            ]
    return []


def _setting(row: pd.Series, fitting: pd.DataFrame) -> str:
    """Which of several batches and contexts a row is of."""
    told = [f"{name} {row[name]:,}" for name in ("batch", "context") if fitting[name].nunique() > 1]
    model = [str(row["model"])] if fitting["model"].nunique() > 1 else []
    return f" at {', '.join(model + told)}" if model + told else ""


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
