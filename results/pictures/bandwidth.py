"""Bandwidth over time: a panel a strategy, over a few layers, with their boundaries and the memory's own limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.pictures.canvas.palette import FAINT, readable, strategy_styles
from results.pictures.canvas.picture import Picture, plain_axes
from results.step_series import StepSeries
from results.units import PICOSECONDS_PER_SECOND, format_seconds, percent, seconds_unit


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of one strategy's run: its bandwidth (B/s), where a layer ends (picoseconds), and the limit (B/s)."""

    strategy: str
    bandwidth: StepSeries
    boundaries_ps: NDArray[np.int64]
    limit: float


def bandwidth(windows: Sequence[Window], title: str) -> Picture:
    """A panel for each window, one below the other, each with a time axis of its own: all show as many layers."""
    picture = Picture(9.5, 1.75 * len(windows) + 0.9, _description(windows))
    picture.suptitle(title, x=0.01, ha="left", weight="bold")
    styles = strategy_styles([window.strategy for window in windows])
    for number, window in enumerate(windows):
        axes = picture.add_subplot(len(windows), 1, number + 1)
        series, colour = window.bandwidth, styles[window.strategy][0]
        length = float(series.times_ps[-1] - series.times_ps[0]) / PICOSECONDS_PER_SECOND
        size, unit = seconds_unit(length)
        times = (series.times_ps - series.times_ps[0]) / PICOSECONDS_PER_SECOND / size
        values = np.append(series.values, series.values[-1]) / 1e12
        # Without an outline, gaps that are too short to be seen are not seen.
        axes.fill_between(times, values, step="post", color=colour, alpha=0.7, linewidth=0)
        axes.axhline(window.limit / 1e12, color="black", linewidth=1.0, linestyle="--")
        for boundary in (window.boundaries_ps - series.times_ps[0]) / PICOSECONDS_PER_SECOND / size:
            axes.axvline(boundary, color=FAINT, linewidth=1.0, linestyle=":")
        axes.set_xlim(0, times[-1])
        axes.set_ylim(0, window.limit / 1e12 * 1.12)
        axes.set_ylabel("TB/s")
        axes.set_xlabel(f"time, {unit}" if number == len(windows) - 1 else unit, labelpad=1)
        told = f"{format_seconds(length)}, on average {percent(series.mean / window.limit)} of HBM's bandwidth"
        axes.set_title(f"{readable(window.strategy)}: {told}", loc="left", fontsize=9)
        plain_axes(axes, "y")
    axes.plot([], [], color="black", linewidth=1.0, linestyle="--", label="bandwidth of the datasheet")
    axes.plot([], [], color=FAINT, linewidth=1.0, linestyle=":", label="end of a layer")
    picture.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, frameon=False)
    picture.tight_layout()
    return picture


def _description(windows: Sequence[Window]) -> str:
    told = ", ".join(
        f"{readable(window.strategy)} {percent(window.bandwidth.mean / window.limit)}" for window in windows
    )
    return f"HBM bandwidth over time, on average as a share of the datasheet's: {told}."
