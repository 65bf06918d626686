"""Pictures of steps: every rank's time, step after step, at work or waiting for others. A panel a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from results.pictures.canvas.palette import FAINT, readable
from results.pictures.canvas.picture import Picture, plain_axes
from results.units import format_seconds, seconds_unit

REDUCES, COPIES, WAITS, LATE = "#0072B2", "#56B4E9", "#E8E8E8", "#D55E00"
NOT_READY, WAITING = "not ready yet", "waits for the wire or for others"
INCHES_PER_RANK, LEAST_INCHES = 0.17, 1.2
MOST_TICKS = 16


class Steps(NamedTuple):
    """One schedule between ranks. ``clocks``: seconds, shape (steps + 1, ranks), when each is done with each step.

    ``working``: for how long it is busy itself in each step, seconds, shape (steps, ranks); ``reduces``: whether
    anything is added in the step, shape (steps,). ``clocks[0]`` is when the ranks were ready.
    """

    title: str
    clocks: NDArray[np.float64]
    working: NDArray[np.float64]
    reduces: NDArray[np.bool_]


def steps_picture(schedules: Sequence[Steps]) -> Picture:
    """A row a rank, time to the right; all panels have one scale."""
    ranks = max(steps.clocks.shape[1] for steps in schedules)
    end = max(float(steps.clocks.max()) for steps in schedules)
    size, unit = seconds_unit(end)
    height = max(LEAST_INCHES, INCHES_PER_RANK * ranks)
    names = ", ".join(f"{steps.title}: {format_seconds(float(steps.clocks.max()))}" for steps in schedules)
    picture = Picture(8.2, (height + 0.55) * len(schedules) + 0.5, f"The steps of every rank. {names}.")
    panels = picture.subplots(len(schedules), 1, sharex=True, squeeze=False)[:, 0]
    for axes, steps in zip(panels, schedules, strict=True):
        _draw(axes, steps, size)
        axes.set_ylim(ranks - 0.4, -0.6)
    panels[-1].set_xlabel(f"time ({unit})")
    panels[-1].set_xlim(0, end / size * 1.08)
    found = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        if label != NOT_READY or any(steps.clocks[0].any() for steps in schedules)
    }
    picture.legend(
        found.values(),
        found.keys(),
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=4,
        columnspacing=1.0,
        handlelength=1.2,
        frameon=False,
    )
    picture.tight_layout()
    return picture


def _draw(axes: Axes, steps: Steps, size: float) -> None:
    """The bars of one schedule; ``size``: seconds of the axis' unit."""
    plain_axes(axes, grid="x")
    clocks, work = steps.clocks / size, steps.working / size
    rank = np.arange(clocks.shape[1])
    axes.barh(rank, clocks[0], 0.8, color=LATE, label=NOT_READY, linewidth=0)
    for before, after, busy, reduces in zip(clocks[:-1], clocks[1:], work, steps.reduces, strict=True):
        colour, label = (REDUCES, "sends and adds") if reduces else (COPIES, "sends and copies")
        axes.barh(rank, after - before, 0.8, left=before, color=WAITS, label=WAITING, linewidth=0)
        axes.barh(rank, np.minimum(busy, after - before), 0.8, left=before, color=colour, label=label, linewidth=0)
        axes.vlines(before, rank - 0.4, rank + 0.4, color="white", linewidth=0.6)
    axes.set_title(readable(steps.title), loc="left", weight="bold")
    axes.set_ylabel("rank")
    axes.set_yticks(rank if len(rank) <= MOST_TICKS else rank[:: len(rank) // MOST_TICKS + 1])
    last = int(clocks[-1].argmax())
    axes.annotate(
        format_seconds(float(steps.clocks[-1, last])),
        (float(clocks[-1, last]), last),
        (4, 0),
        textcoords="offset points",
        color=FAINT,
        va="center",
    )
