"""A server's queue over time: requests that decode, and those that wait. A panel a server, on one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from results.pictures.canvas.palette import readable
from results.pictures.canvas.picture import Picture, plain_axes
from results.units import format_seconds, seconds_unit

DECODES, WAITS = "#0072B2", "#D55E00"
MOST_STEPS = 2000  # of a line: more are not to be told apart


class Queue(NamedTuple):
    """One server: ``ends`` of its iterations, seconds, and requests that decode and that wait in each."""

    title: str
    ends: NDArray[np.float64]
    decoding: NDArray[np.int64]
    waiting: NDArray[np.int64]


def queue(servers: Sequence[Queue]) -> Picture:
    """A panel a server, one below the other."""
    end = max(float(each.ends[-1]) for each in servers)
    size, unit = seconds_unit(end)
    told = "; ".join(f"{readable(each.title)}: at most {each.waiting.max()} wait" for each in servers)
    picture = Picture(8.2, 1.7 * len(servers) + 0.9, f"Requests over {format_seconds(end)}. {told}.")
    panels = picture.subplots(len(servers), 1, sharex=True, squeeze=False)[:, 0]
    for axes, each in zip(panels, servers, strict=True):
        shown = slice(None, None, max(1, each.ends.size // MOST_STEPS))
        times = each.ends[shown] / size
        axes.fill_between(
            times, each.decoding[shown], step="pre", color=DECODES, alpha=0.5, linewidth=0, label="decode"
        )
        axes.step(times, each.waiting[shown], where="pre", color=WAITS, linewidth=1.0, label="wait")
        axes.set_title(readable(each.title), loc="left", fontsize=9)
        axes.set_ylabel("requests")
        axes.set_ylim(bottom=0)
        plain_axes(axes, "y")
    panels[-1].set_xlim(0, end / size)
    panels[-1].set_xlabel(f"time, {unit}")
    handles, labels = panels[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, frameon=False)
    picture.tight_layout()
    return picture
