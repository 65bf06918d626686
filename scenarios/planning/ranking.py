"""Rows put in order: those that keep to limits, the best at a goal first."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from scenarios.assignment import assign
from scenarios.errors import ScenarioError
from scenarios.memory import needed_bytes
from scenarios.planning.goals import GOALS, Reached
from scenarios.point import Point

if TYPE_CHECKING:
    import pandas as pd


class Limit(NamedTuple):
    """What a column of every row has to be: ``value`` or more, or, unless ``least``, at most that."""

    told: str
    """as it was asked for."""
    column: str
    value: float
    least: bool


def read_limit(text: str, option: str, *, least: bool) -> Limit:
    """ "tokens_per_s_user=50" of ``option``. Raises ScenarioError where it is no column and number."""
    column, _, number = (part.strip() for part in text.partition("="))
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not column or not isfinite(value):
        raise ScenarioError(f"{option} {text}: expected COLUMN=NUMBER, such as tokens_per_s_user=50.")
    return Limit(f"{option} {text}", column, value, least)


def within(frame: pd.DataFrame, limits: Sequence[Limit]) -> pd.DataFrame:
    """The rows of points that fit and keep to all ``limits``.

    Raises ScenarioError where there is none, or for a limit of what is no column of numbers.
    """
    left = frame.loc[frame["fits"]]
    for limit in limits:
        check_column(frame, limit)
        values = left[limit.column]
        kept = left.loc[values >= limit.value if limit.least else values <= limit.value]
        if kept.empty:
            nearest = values.to_numpy().argmax() if limit.least else values.to_numpy().argmin()
            row = left.iloc[int(nearest)]
            raise ScenarioError(
                f"{limit.told}: none of {len(left):,} points is within; the {'most' if limit.least else 'least'}, "
                f"{row[limit.column]:.4g}, is of {row['chip']} x{row['count']}."
            )
        left = kept
    return left


def check_column(frame: pd.DataFrame, limit: Limit) -> None:
    """Raise ScenarioError for a limit of what is no column of numbers."""
    numbers = [name for name in frame.columns if frame[name].dtype.kind in "if"]
    if limit.column not in numbers:
        near = get_close_matches(limit.column, numbers, n=3, cutoff=0.5)
        raise ScenarioError(f"{limit.told}: no column of numbers; expected {' or '.join(near) or ', '.join(numbers)}.")


def ranked(frame: pd.DataFrame, goal: str) -> pd.DataFrame:
    """The rows, the best at ``goal`` first; those of the goal "cost" have a column ``cost``. Equal ones stay in order.

    Raises ScenarioError for an unknown goal.
    """
    check_goal(goal)
    columns = [frame[name] for name in ("count", "tokens_per_s_user", "tokens_per_s", "joules_per_token")]
    dollars = frame["cost"] if goal == "cost" else [0.0] * len(frame)
    reached = zip(*columns, dollars, strict=True)
    scores = {row: GOALS[goal].score(Reached(*each)) for row, each in zip(frame.index, reached, strict=True)}
    return frame.loc[sorted(scores, key=scores.__getitem__)]


def with_shares(rows: pd.DataFrame, points: Sequence[Point]) -> pd.DataFrame:
    """The rows with ``needed_bytes`` of a chip's memory and ``tokens_per_s_chip``; their index numbers ``points``."""
    needed = [needed_bytes(assign(points[number])) for number in rows.index]
    return rows.assign(needed_bytes=needed, tokens_per_s_chip=rows["tokens_per_s"] / rows["count"])


def check_goal(goal: str, option: str = "--goal") -> None:
    """Raise ScenarioError for a goal that is not known."""
    if goal not in GOALS:
        raise ScenarioError(f"{option} '{goal}' is unknown; expected one of {', '.join(GOALS)}.")
