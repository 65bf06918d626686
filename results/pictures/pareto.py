"""The trade between one user's speed and a chip's throughput, and the points that nothing beats in both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from results.analysis import pareto_front
from results.errors import SchemaError
from results.pictures.canvas.palette import FAINT, readable, strategy_styles
from results.pictures.canvas.panels import panels
from results.pictures.canvas.picture import Picture, log_axis, plain_axes
from results.pictures.quantities import quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 2
MOST_DRAWN = 2000  # points of a strategy; more are pixels in an .svg too
NAME_WIDTH, NAME_HEIGHT = 75, 12  # pixels at matplotlib's 100 to the inch


def pareto(results: pd.DataFrame, *, of: str = "seconds") -> Picture:
    """A point a row: tokens/s of one user (right is better) and tokens/s a chip (up is better); a line is the front.

    ``of`` joules: up are the tokens of a joule. Raises SchemaError where nothing fits.
    """
    gained, upwards = quantity(of).gained
    both = ("tokens_per_s_user", gained)
    fitting = results.loc[results["fits"]]
    if fitting.empty:
        raise SchemaError("no row fits, so that there is no trade to draw.")
    fitting = fitting.assign(tokens_per_s_chip=fitting["tokens_per_s"] / fitting["count"])
    common, parted = panels(fitting, ("strategy", "count", "batch"))
    across = min(ACROSS, len(parted))
    down = -(-len(parted) // across)
    styles = strategy_styles(fitting["strategy"].unique())
    picture = Picture(5.2 * across + 0.5, 3.8 * down + 0.7, _description(fitting, both))
    picture.suptitle(common, x=0.01, ha="left", weight="bold")
    for number, (title, rows) in enumerate(parted):
        axes = picture.add_subplot(down, across, number + 1)
        front = pareto_front(rows, maximize=both, minimize=()).sort_values("tokens_per_s_user")
        axes.plot(front[both[0]], front[both[1]], color=FAINT, linewidth=1.2, label="best of both", zorder=1)
        for strategy, points in rows.groupby("strategy", sort=False):
            colour, marker = styles[str(strategy)]
            axes.scatter(
                points[both[0]],
                points[both[1]],
                s=18,
                color=colour,
                marker=marker,
                label=readable(strategy),
                rasterized=len(points) > MOST_DRAWN,
            )
        axes.set(xscale="log", yscale="log", xlabel="tokens/s of one user", ylabel=upwards)
        axes.set_title(title, loc="left")
        for axis in (axes.xaxis, axes.yaxis):
            log_axis(axis)
        axes.margins(x=0.2, y=0.1)
        _name_points(axes, front, both)
        plain_axes(axes)
        axes.legend(frameon=False, fontsize=8)
    picture.tight_layout()
    return picture


def _name_points(axes: Axes, front: pd.DataFrame, both: tuple[str, str]) -> None:
    """Count and batch beside the points of the front, where the name before leaves room."""
    last_x, last_y = -math.inf, -math.inf
    for count, batch, *place in front[["count", "batch", *both]].itertuples(index=False, name=None):
        x, y = axes.transData.transform(place)
        if abs(x - last_x) < NAME_WIDTH and abs(y - last_y) < NAME_HEIGHT:
            continue
        axes.annotate(
            f"×{count}, batch {batch}", (place[0], place[1]), xytext=(6, 3), textcoords="offset points", fontsize=7
        )
        last_x, last_y = x, y


def _description(rows: pd.DataFrame, both: tuple[str, str]) -> str:
    front = pareto_front(rows, maximize=both, minimize=())
    return (
        f"Tokens a second a user against {readable(both[1])} for {len(rows)} points; {len(front)} of them are not "
        "beaten in both."
    )
