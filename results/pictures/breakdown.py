"""Stacked bars: where the time or energy of each point goes, a group a chip and count, a bar a strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from results.analysis import inputs_of, varied
from results.errors import SchemaError
from results.pictures.canvas.palette import FAINT, readable
from results.pictures.canvas.picture import Picture, plain_axes
from results.pictures.quantities import quantity
from results.units import three_digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PER = {"decode": "token", "prefill": "prefill", "request": "request", "train": "training step"}
MOST_BARS = 120
BAR_HEIGHT = 0.82
GROUP_GAP = 0.7
INCHES_PER_BAR = 0.21


def breakdown(results: pd.DataFrame, *, of: str = "seconds") -> Picture:
    """Horizontal bars from top to bottom in the order of the rows, ``of`` seconds by part or joules by cause.

    Raises SchemaError for more than ``MOST_BARS``, or where ``of`` is neither.
    """
    drawn = quantity(of)
    if len(results) > MOST_BARS:
        raise SchemaError(f"a breakdown shows at most {MOST_BARS} rows, not {len(results)}: choose among them.")
    bars = results.reset_index(drop=True)
    # What else varies between the rows names the groups; the rest is the title.
    grouping = [name for name in inputs_of(bars) if name in {"chip", "count", *varied(bars)} - {"strategy"}]
    places, groups = _places(bars, grouping)
    size, unit = drawn.unit(float(bars[of].max()) if bars["fits"].any() else 1.0)
    picture = Picture(11, 1.6 + INCHES_PER_BAR * (places[-1] + 1), _description(bars, groups, of))
    axes = picture.add_subplot()
    left = pd.Series(0.0, index=bars.index)
    for part, (title, colour) in drawn.parts.items():
        widths = bars[part].fillna(0.0) / size
        axes.barh(places, widths, BAR_HEIGHT, left=left, color=colour, label=title, linewidth=0)
        left = left + widths
    _whiskers(axes, bars, of, places, size)
    _annotate(axes, bars, of, places, size, unit)
    axes.set_yticks(places, [readable(strategy) for strategy in bars["strategy"]])
    for name, first, last in groups:
        place = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center", "weight": "bold"}
        axes.text(-0.135, (first + last) / 2, name, **place)  # type: ignore[arg-type]
    _style(axes, bars, grouping, of, unit)
    axes.set_ylim(places[-1] + 0.8, -0.8)
    axes.set_xlim(0, max(left.max(), bars[f"{of}_high"].fillna(0.0).max() / size, 1e-12) * 1.1)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return picture


def _places(bars: pd.DataFrame, grouping: list[str]) -> tuple[list[float], list[tuple[str, float, float]]]:
    """Where each bar stands, and the name, first and last place of every group."""
    places: list[float] = []
    groups: list[tuple[str, float, float]] = []
    for _, row in bars.iterrows():
        others = [f"{name} {row[name]}" for name in grouping if name not in ("chip", "count") and row[name] != ""]
        name = "\n".join([f"{row['chip']} ×{row['count']}", *others])
        if groups and groups[-1][0] == name:
            places.append(places[-1] + 1)
            groups[-1] = (name, groups[-1][1], places[-1])
            continue
        start = places[-1] + 1 + GROUP_GAP if places else 0.0
        places.append(start)
        groups.append((name, start, start))
    return places, groups


def _whiskers(axes: Axes, bars: pd.DataFrame, of: str, places: list[float], size: float) -> None:
    """The band that holds 8 of 10 measurements, over the end of each bar."""
    low, whole, high = (bars[name] / size for name in (f"{of}_low", of, f"{of}_high"))
    axes.errorbar(
        whole,
        places,
        xerr=[whole - low, high - whole],
        fmt="none",
        ecolor="black",
        elinewidth=0.7,
        capsize=1.5,
        label="8 of 10 measurements",
    )


def _annotate(axes: Axes, bars: pd.DataFrame, of: str, places: list[float], size: float, unit: str) -> None:
    """The total behind each bar and its whisker, or that the point does not fit."""
    for place, whole, high, fits in zip(places, bars[of], bars[f"{of}_high"], bars["fits"], strict=True):
        text = f"{three_digits(whole / size)} {unit}" if fits else "does not fit"
        axes.annotate(
            text,
            (high / size if fits else 0.0, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color="black" if fits else FAINT,
            style="normal" if fits else "italic",
        )


def _style(axes: Axes, bars: pd.DataFrame, grouping: list[str], of: str, unit: str) -> None:
    first = bars.iloc[0]
    told = {"model": "", "phase": "", "precision": "", "batch": "batch ", "context": "context "}
    title = ", ".join(f"{word}{first[name]}" for name, word in told.items() if name not in grouping)
    drawn = quantity(of)
    each = " of each sequence" if drawn.of_each and first["phase"] in ("decode", "request") else ""
    per = f" per {PER[first['phase']]}{each}" if "phase" not in grouping else ""
    axes.set_xlabel(f"{drawn.word}{per}, {unit}")
    axes.set_title(title, loc="left", weight="bold")
    plain_axes(axes, "x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _description(bars: pd.DataFrame, groups: list[tuple[str, float, float]], of: str) -> str:
    fitting = bars.loc[bars["fits"]]
    drawn = quantity(of)
    told = f"Stacked bars of {drawn.word} by part for {len(bars)} points in {len(groups)} groups of chip and count."
    if fitting.empty:
        return f"{told} None fits."
    best = fitting.iloc[int(fitting[of].argmin())]
    name = f"{best['chip']} times {best['count']}, {readable(best['strategy'])}"
    return f"{told} The least has {name}, {best[of] * 1e3:.3g} m{drawn.symbol}."
