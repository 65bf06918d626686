"""What it costs that chips differ: by how much longer each point takes than on alike chips, in time and as a share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.errors import SchemaError
from results.pictures.canvas.palette import readable, strategy_styles
from results.pictures.canvas.picture import Picture, plain_axes
from results.units import percent, seconds_unit, three_digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes


BAR = 0.8
INCHES_PER_BAR = 0.24


def variation_costs(results: pd.DataFrame) -> Picture:
    """Two panels of bars, a group a chip, count and variation, a bar a strategy.

    Left: the time that is lost; right: the same as a share of what alike chips take. Raises SchemaError where no row
    that fits has chips that differ.
    """
    rows = results.loc[results["fits"] & (results["variation"] != "")]
    if rows.empty:
        raise SchemaError("no row that fits has chips that differ: give --variation.")
    groups = [(name, group) for name, group in rows.groupby(["chip", "count", "variation"], sort=False)]
    several = rows["variation"].nunique() > 1
    lost = (rows["seconds"] - rows["alike_s"]).to_numpy(np.float64)
    size, unit = seconds_unit(float(lost.max()))
    picture = Picture(10, 1.3 + INCHES_PER_BAR * (len(rows) + len(groups)), _description(rows, lost))
    left, right = picture.subplots(1, 2, sharey=True)
    left.set_xlabel(f"longer than on alike chips, {unit}")
    right.set_xlabel("longer than on alike chips, %")
    styles = strategy_styles(rows["strategy"].unique())
    place, ticks = 0.0, []
    for (chip, count, variation), group in groups:
        ticks.append((place + (len(group) - 1) / 2, f"{chip} ×{count}" + (f"\n{variation}" if several else "")))
        for _, row in group.iterrows():
            seconds = row["seconds"] - row["alike_s"]
            share = seconds / row["alike_s"]
            colour = styles[row["strategy"]][0]
            _bar(left, place, seconds / size, f"{three_digits(seconds / size)} {unit}", colour, row["strategy"])
            _bar(right, place, 100 * share, percent(share), colour, row["strategy"])
            place += 1
        place += 1
    left.set_yticks([tick for tick, _ in ticks], [name for _, name in ticks], weight="bold")
    left.set_ylim(place - 1.2, -0.8)
    _finish(picture, left, right, rows, "" if several else str(rows["variation"].iloc[0]))
    return picture


def _bar(axes: Axes, place: float, width: float, text: str, colour: str, strategy: str) -> None:
    axes.barh(place, width, BAR, color=colour, label=readable(strategy), linewidth=0)
    axes.annotate(text, (width, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)


def _finish(picture: Picture, left: Axes, right: Axes, rows: pd.DataFrame, variation: str) -> None:
    first = rows.iloc[0]
    title = f"{first['model']}, {first['phase']}, batch {first['batch']}, context {first['context']}"
    picture.suptitle(f"{title}, {variation}" if variation else title, x=0.01, ha="left", weight="bold")
    for axes in (left, right):
        plain_axes(axes, "x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.18)
    named = dict(zip(*reversed(left.get_legend_handles_labels()), strict=True))
    picture.legend(named.values(), list(named), loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=4, frameon=False)
    picture.tight_layout()


def _description(rows: pd.DataFrame, lost: NDArray[np.float64]) -> str:
    shares = lost / rows["alike_s"].to_numpy(np.float64)
    most = rows.iloc[int(shares.argmax())]
    who = f"{most['chip']} times {most['count']}, {readable(most['strategy'])}"
    return (
        f"Bars of the time that {len(rows)} points lose to chips that differ, and its share. The largest share, "
        f"{percent(float(shares.max()))}, is that of {who}."
    )
