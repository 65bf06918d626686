"""Rooflines: operators as points under the limits of their chip (Williams, Waterman and Patterson 2009)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from results.pictures.canvas.palette import FAINT, PART_COLOURS
from results.pictures.canvas.picture import Picture, plain_axes
from results.units import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Roofs = Mapping[str, float]
MARKERS = {"matmul_s": "o", "attention_s": "^", "other_s": "s"}
SMALLEST, LARGEST = 14.0, 340.0  # areas of points, in points squared: none of the time, all of it
NAMED = 0.03  # operators with at least this share of the time have their name beside them
APART = 0.055  # names stand at least by this share of the panel's height apart


def roofline(chips: Sequence[tuple[str, pd.DataFrame, Roofs]], title: str) -> Picture:
    """A panel for each (title, operators, roofs).

    ``operators``: a row an operator with ``operator``, ``part``, ``calls``, ``seconds`` of a call, ``flop_per_byte``,
    ``flop_per_s``, ``roof_fraction``. ``roofs``: ``peak_flop_per_s``, ``memory_bytes_per_s`` and, if there is a cache,
    ``cache_bytes_per_s``. The area of a point is the operator's share of the time.
    """
    picture = Picture(6.2 * len(chips), 4.6, _description(chips))
    picture.suptitle(title, x=0.01, ha="left", weight="bold")
    every = pd.concat([operators for _, operators, _ in chips])
    left, right = every["flop_per_byte"].min() / 10, max(every["flop_per_byte"].max(), 1000.0) * 4
    top = max(limits["peak_flop_per_s"] for _, _, limits in chips) * 3
    bottom = every["flop_per_s"].min() / 3
    shared: Axes | None = None
    drawn: list[tuple[Axes, pd.DataFrame, Roofs]] = []
    for number, (name, operators, limits) in enumerate(chips):
        axes = picture.add_subplot(1, len(chips), number + 1, sharex=shared, sharey=shared)
        shared = shared or axes
        axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(bottom, top))
        axes.set_xlabel("FLOP a byte of weights, KV cache, inputs and outputs")
        axes.set_ylabel("FLOP/s" if number == 0 else "")
        axes.set_title(name, loc="left")
        plain_axes(axes)
        _roofs(axes, limits, left, right)
        _points(axes, operators)
        drawn.append((axes, operators, limits))
    assert shared is not None
    handles, labels = shared.get_legend_handles_labels()
    for handle in handles:
        handle.set(sizes=[36])  # the legend tells colours and shapes, not shares of time
    picture.legend(
        handles, [str(label) for label in labels], loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=4, frameon=False
    )
    picture.tight_layout()
    # Names need the final layout: how steep lines are, and what lies beside what.
    for axes, operators, limits in drawn:
        _name_roofs(axes, limits, left)
        _name_points(axes, operators)
    return picture


def _roofs(axes: Axes, limits: Roofs, left: float, right: float) -> None:
    peak = limits["peak_flop_per_s"]
    for key, style in (("memory_bytes_per_s", "-"), ("cache_bytes_per_s", "--")):
        if key in limits:
            ends = [left, peak / limits[key]]
            axes.plot(ends, [left * limits[key], peak], color="black", linewidth=1.1, linestyle=style)
    axes.plot([peak / limits["memory_bytes_per_s"], right], [peak, peak], color="black", linewidth=1.1)
    axes.text(right / 1.1, peak * 1.12, f"peak {peak / 1e12:,.0f} TFLOP/s", ha="right", va="bottom", fontsize=8)


def _name_roofs(axes: Axes, limits: Roofs, left: float) -> None:
    """Along their lines: memory below its own, a cache above."""
    start = left * 1.25
    for name, key, above in (("HBM", "memory_bytes_per_s", False), ("L2", "cache_bytes_per_s", True)):
        if key in limits:
            axes.annotate(
                f"{name} {limits[key] / 1e12:.3g} TB/s",
                (start, start * limits[key]),
                xytext=(0, 3 if above else -4),
                textcoords="offset points",
                va="bottom" if above else "top",
                rotation=_angle(axes),
                rotation_mode="anchor",
                fontsize=8,
            )


def _angle(axes: Axes) -> float:
    """Degrees at which a line of slope 1 on logarithmic scales rises in the panel."""
    (x0, x1), (y0, y1) = np.log10(axes.get_xlim()), np.log10(axes.get_ylim())
    box = axes.get_window_extent()
    return float(np.degrees(np.arctan2(box.height / (y1 - y0), box.width / (x1 - x0))))


def _points(axes: Axes, operators: pd.DataFrame) -> None:
    shares = _shares(operators)
    for part, marker in MARKERS.items():
        title, colour = PART_COLOURS[part]
        own = (operators["part"] == part).to_numpy()
        axes.scatter(
            operators.loc[own, "flop_per_byte"],
            operators.loc[own, "flop_per_s"],
            s=SMALLEST + (LARGEST - SMALLEST) * shares[own],
            color=colour,
            marker=marker,
            alpha=0.8,
            linewidth=0,
            label=title,
            zorder=3,
        )


def _shares(operators: pd.DataFrame) -> pd.Series:
    """Of the time of all operators, 0 to 1."""
    seconds = operators["calls"] * operators["seconds"]
    return seconds / seconds.sum()


def _name_points(axes: Axes, operators: pd.DataFrame) -> None:
    """Names and shares of time from top to bottom beside their points, apart from each other."""
    shares = _shares(operators)
    named = operators.assign(share=shares).loc[(shares >= NAMED).to_numpy()].sort_values("flop_per_s", ascending=False)
    last = np.inf
    for _, row in named.iterrows():
        place = (row["flop_per_byte"], row["flop_per_s"])
        x, y = axes.transAxes.inverted().transform(axes.transData.transform(place))
        last = min(y, last - APART)
        left = x > 0.6  # of the panel's width: no room to the right
        line = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.5, "shrinkA": 2, "shrinkB": 3}
        axes.annotate(
            f"{row['operator']}, {percent(row['share'])}",
            place,
            xytext=(x - 0.08 if left else x + 0.08, last - (0.06 if left else 0)),
            textcoords="axes fraction",
            ha="right" if left else "left",
            va="center",
            fontsize=7,
            arrowprops=line | {"relpos": (1.0, 0.5) if left else (0.0, 0.5)},
        )


def _description(chips: Sequence[tuple[str, pd.DataFrame, Roofs]]) -> str:
    told = []
    for name, operators, _ in chips:
        time = operators["calls"] * operators["seconds"]
        longest = operators.iloc[int(time.to_numpy().argmax())]
        told.append(
            f"on {name} {longest['operator']} takes {percent(float(time.max() / time.sum()))} of the operators' time "
            f"at {percent(longest['roof_fraction'])} of its roof"
        )
    return f"Rooflines with operators as points: {'; '.join(told)}."
