"""What a plan weighs: the speed of a chip against its memory, against chips, and against the speed of a user."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter

from results.analysis import pareto_front
from results.pictures.canvas.palette import FAINT, OTHER_STYLES, readable
from results.pictures.canvas.picture import Picture, log_axis, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPEED, USER = "tokens_per_s_chip", "tokens_per_s_user"
WIDTH, LEAST_WIDTH, HEIGHT = 4.2, 6.4, 3.9  # inches, of a panel and of the whole
WIDE = 4  # speeds that differ by more are on a logarithmic scale


class Against(NamedTuple):
    """A column that speed is held against: its axis, whether more of it is better, what it is divided by."""

    column: str
    axis: str
    more: bool = False
    unit: float = 1.0


PANELS = (
    Against("needed_bytes", "GB of memory on a chip", unit=1e9),
    Against("count", "chips"),
    Against(USER, "tokens/s of one user", more=True),
    Against("tokens_per_joule", "tokens a joule", more=True),
)


def plan(rows: pd.DataFrame, keep: int) -> Picture:
    """A point a row of ``scenarios.planning.plan.Plan``, a panel for each that its speed is weighed against.

    The ``keep`` best are filled and the first is named; a line joins the points that nothing beats in both.
    """
    trains = bool((rows["phase"] == "train").all())
    weighed = [each for each in PANELS if rows[each.column].nunique() > 1 and (each.column != USER or not trains)]
    weighed = weighed or [PANELS[0]]
    best = rows.iloc[0]
    name = best["parallel"] or f"{best['chip']} ×{best['count']}, {readable(best['strategy'])}, batch {best['batch']}"
    described = f"Tokens a second a chip of {len(rows):,} points; the best of them is {name}."
    picture = Picture(max(WIDTH * len(weighed), LEAST_WIDTH), HEIGHT, described)
    what = f"{best['model']}, {'a step' if trains else 'decode'} at {best['context']:,} tokens"
    picture.suptitle(f"{what}\nbest: {name}", x=0.01, ha="left", weight="bold")
    for number, against in enumerate(weighed):
        axes = picture.add_subplot(1, len(weighed), number + 1)
        _draw(axes, rows, keep, against)
        if number == 0:
            axes.set_ylabel("tokens/s a chip")
            handles, labels = axes.get_legend_handles_labels()
    # matplotlib's own type of labels is wider than what it gives
    texts = [str(label) for label in labels]
    picture.legend(handles, texts, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=6, frameon=False)
    picture.tight_layout()
    return picture


def _draw(axes: Axes, rows: pd.DataFrame, keep: int, against: Against) -> None:
    better, worse = ((SPEED, against.column), ()) if against.more else ((SPEED,), (against.column,))
    front = pareto_front(rows, maximize=better, minimize=worse).sort_values(against.column)
    axes.plot(
        front[against.column] / against.unit, front[SPEED], color=FAINT, linewidth=1.2, zorder=1, label="best of both"
    )
    kinds = rows[["chip", "precision"]].drop_duplicates().itertuples(index=False, name=None)
    best = np.arange(len(rows)) < keep
    for (chip, precision), (colour, marker) in zip(kinds, cycle(OTHER_STYLES), strict=False):
        own = ((rows["chip"] == chip) & (rows["precision"] == precision)).to_numpy()
        for chosen, face, label in ((own & ~best, "none", f"{chip} {precision}"), (own & best, colour, "")):
            axes.scatter(
                rows.loc[chosen, against.column] / against.unit,
                rows.loc[chosen, SPEED],
                s=18,
                marker=marker,
                facecolors=face,
                edgecolors=colour,
                linewidths=0.7,
                label=label or None,
                zorder=2 if label else 3,
            )
    axes.scatter([], [], s=18, color=FAINT, label=f"filled: the {min(keep, len(rows))} best")
    axes.set_xlabel(against.axis)
    if rows[SPEED].max() > WIDE * rows[SPEED].min():
        axes.set_yscale("log")
        log_axis(axes.yaxis)
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    if against.column == "count":
        axes.set_xscale("log", base=2)
        counts = np.unique(rows["count"])
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
    plain_axes(axes)
