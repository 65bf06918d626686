"""A tornado: how far each uncertain constant moves the time of a row, the one that moves it most on top.

Takes records as ``scenarios.anatomy.sensitivity`` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from results.pictures.canvas.palette import readable, strategy_styles
from results.pictures.canvas.picture import Picture, plain_axes
from results.views.sensitivity import by_chips, effect, moving_most, strategies_of
from results.words import CONSTANT_FACTOR

BAR, ROOM, AROUND = 0.13, 0.12, 0.9  # inches a bar, between constants, around a panel


def sensitivity(records: Sequence[Mapping[str, Any]], title: str) -> Picture:
    """A panel for each chip and count; a bar a strategy from what less of a constant does to what more of it does."""
    panels = [(chips, rows, moving_most(rows)) for chips, rows in by_chips(records)]
    most = len({record["strategy"] for record in records})
    heights = [len(shown) * (BAR * most + ROOM) + ROOM for _, _, shown in panels]
    picture = Picture(10, 0.5 + sum(heights) + AROUND * len(heights), _description(panels))
    every = picture.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, (chips, rows, shown) in zip(every, panels, strict=True):
        of = {(row["constant"], row["strategy"], row["launch"]): effect(row) for row in rows}
        strategies = strategies_of(rows)
        colours = strategy_styles([strategy for strategy, _ in strategies])
        launches = {name: [launch for other, launch in strategies if other == name] for name, _ in strategies}
        thick = 0.8 / len(strategies)
        for number, (strategy, launch) in enumerate(strategies):
            moved = [of[constant, strategy, launch] for constant in shown]
            axes.barh(
                [place + (number - (len(strategies) - 1) / 2) * thick for place in range(len(shown))],
                [100 * (more - less) for less, more in moved],
                thick,
                left=[100 * less for less, _ in moved],
                color=colours[strategy][0],
                alpha=1.0 / (1 + launches[strategy].index(launch)),
                label=readable(f"{strategy} {launch}"),
            )
        axes.axvline(0.0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(shown)), shown)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_title(chips, loc="left", weight="bold")
        axes.set_xlabel(f"time of a row, %, with 1/{CONSTANT_FACTOR} and with {CONSTANT_FACTOR} of the constant")
        plain_axes(axes, "x")
        axes.tick_params(axis="y", length=0)
        axes.legend(loc="lower right", frameon=False)
    picture.suptitle(title, x=0.01, ha="left", weight="bold")
    picture.tight_layout()
    return picture


def _description(panels: Sequence[tuple[str, Sequence[Mapping[str, Any]], Sequence[str]]]) -> str:
    told = "; ".join(f"{chips}: {', '.join(shown[:3]) or 'none'}" for chips, _, shown in panels)
    return f"How far each uncertain constant moves the time of a row; most, by chips: {told}."
