"""Scaling curves: tokens a second against the number of chips, a panel a chip, with the ideal lines they fall below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, NullLocator

from results.analysis import grows_with_count
from results.analysis import scaling as scaled
from results.errors import SchemaError
from results.pictures.canvas.palette import FAINT, readable, strategy_styles
from results.pictures.canvas.panels import check_panels, panels, side_by_side
from results.pictures.canvas.picture import Picture, plain_axes
from results.units import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABEL_APART = 1.17  # labels at the ends of curves stand at least by this factor apart


def scaling(results: pd.DataFrame) -> Picture:
    """A line a strategy; the thin line above it is what its first point promises: twice the chips, twice the speed.

    Numbers at the ends are the efficiency there. Raises SchemaError where nothing fits or all rows have one count.
    """
    fitting = results.loc[results["fits"]]
    if fitting["count"].nunique() < 2:
        raise SchemaError("scaling curves need two counts that fit; the rows that fit have one or none.")
    grows = grows_with_count(fitting)
    shown = ("count", "strategy", "batch") if grows else ("count", "strategy")
    check_panels(fitting, shown)
    fitting = scaled(results)
    fitting = fitting.loc[fitting["fits"]]
    common, parted = panels(fitting, shown)
    across = side_by_side(len(parted))
    down = -(-len(parted) // across)
    picture = Picture(max(4.0 * across, 6), 3.6 * down + 0.7, _description(fitting))
    picture.suptitle(common, x=0.01, ha="left", weight="bold")
    styles = strategy_styles(fitting["strategy"].unique())
    shared: Axes | None = None
    for number, (title, rows) in enumerate(parted):
        axes = picture.add_subplot(down, across, number + 1, sharex=shared, sharey=shared)
        shared = shared or axes
        axes.set_title(title, loc="left")
        _draw(axes, rows, styles)
        if number % across == 0:
            axes.set_ylabel("tokens/s of the whole batch")
        if number >= len(parted) - across:
            axes.set_xlabel("chips (and a batch that grows with them)" if grows else "chips")
    assert shared is not None
    _scales(shared, fitting)
    handles, labels = shared.get_legend_handles_labels()
    picture.legend(
        handles, [str(label) for label in labels], loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=4, frameon=False
    )
    picture.tight_layout()
    return picture


def _draw(axes: Axes, rows: pd.DataFrame, styles: dict[str, tuple[str, str]]) -> None:
    ends: list[tuple[float, float, str, str]] = []
    for strategy, curve in rows.sort_values("count").groupby("strategy", sort=False):
        colour, marker = styles[str(strategy)]
        chips, speed = curve["count"].to_numpy(np.float64), curve["tokens_per_s"].to_numpy(np.float64)
        axes.plot(chips, speed[0] * chips / chips[0], color=colour, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.7)
        axes.plot(chips, speed, color=colour, marker=marker, markersize=5, linewidth=1.6, label=readable(strategy))
        ends.append((speed[-1], chips[-1], percent(float(curve["scaling_efficiency"].iloc[-1])), colour))
    lowest = 0.0
    for speed_there, chips_there, text, colour in sorted(ends):
        lowest = max(speed_there, lowest * LABEL_APART)
        place = {"xytext": (7, 0), "textcoords": "offset points", "va": "center", "color": colour, "fontsize": 8}
        axes.annotate(text, (chips_there, lowest), **place)  # type: ignore[arg-type]
    axes.plot([], [], color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)), label="ideal")
    plain_axes(axes)


def _scales(axes: Axes, rows: pd.DataFrame) -> None:
    """Both axes in powers of two, so that ideal lines are parallel; labels are the numbers themselves."""
    counts = np.unique(rows["count"])
    low, high = rows["tokens_per_s"].min(), rows["tokens_per_s"].max()
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlim(counts[0] / 1.15, counts[-1] * 1.9)
    axes.set_ylim(low / 1.3, high * 1.8)
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"))


def _description(rows: pd.DataFrame) -> str:
    last = rows.loc[rows["count"] == rows["count"].max()]
    best, worst = (last.loc[last["scaling_efficiency"].agg(pick)] for pick in ("idxmax", "idxmin"))
    told = [
        f"{row['chip']} {readable(row['strategy'])} keeps {percent(row['scaling_efficiency'])}" for row in (best, worst)
    ]
    return f"Tokens a second against chips, with ideal lines. At {best['count']} chips {' and '.join(told)} of ideal."
