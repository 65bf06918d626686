"""A training step over time: a row a stage, its passes by micro-batch, below them what its network sums and gathers.

Takes plain bars, so that it knows nothing of what computed them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from results.errors import SchemaError
from results.pictures.canvas.palette import PART_COLOURS
from results.pictures.canvas.picture import Picture, plain_axes
from results.units import seconds_unit

Kind = Literal["forward", "backward", "optimizer", "network"]
# Passes are mostly matrix products: their blue, and a darker one on the way back.
COLOURS: dict[Kind, tuple[str, str]] = {
    "forward": ("forward, by micro-batch", PART_COLOURS["matmul_s"][1]),
    "backward": ("backward", "#00304F"),
    "optimizer": ("optimizer", PART_COLOURS["other_s"][1]),
    "network": ("gradients and parameters on the network", PART_COLOURS["allreduce_s"][1]),
}
WAITING = "#E8E8E8"
MOST_BARS = 20_000
LETTER = 0.011  # of the picture's width: what a digit takes


@dataclass(frozen=True)
class Bar:
    """What a stage or its network does from ``start`` to ``finish`` (seconds); ``text``: what it is called."""

    stage: int
    kind: Kind
    start: float
    finish: float
    text: str = ""


def training(bars: Sequence[Bar], title: str) -> Picture:
    """The bars of one step. Raises SchemaError for more than ``MOST_BARS``."""
    if len(bars) > MOST_BARS:
        raise SchemaError(
            f"the picture would have {len(bars):,} bars; at most {MOST_BARS:,}: ask for fewer micro-batches or stages."
        )
    stages = 1 + max(bar.stage for bar in bars)
    end = max(bar.finish for bar in bars)
    size, unit = seconds_unit(end)
    picture = Picture(10, 1.3 + 0.42 * stages, _description(bars, stages, end))
    axes = picture.add_subplot()
    axes.barh(range(stages), end / size, 0.62, color=WAITING, label="waiting", linewidth=0)
    for kind, (name, colour) in COLOURS.items():
        own = [bar for bar in bars if bar.kind == kind]
        if not own:
            continue
        below = kind == "network"
        axes.barh(
            [bar.stage + (0.41 if below else 0.0) for bar in own],
            [(bar.finish - bar.start) / size for bar in own],
            0.16 if below else 0.62,
            left=[bar.start / size for bar in own],
            color=colour,
            edgecolor="white",
            linewidth=0.3,
            label=name,
        )
        for bar in own:
            if (bar.finish - bar.start) / end > LETTER * len(bar.text):
                middle = (bar.start + bar.finish) / 2 / size
                axes.text(middle, bar.stage, bar.text, ha="center", va="center", color="white", fontsize=7)
    axes.set_yticks(range(stages), [f"stage {number}" for number in range(stages)])
    axes.set_ylim(stages - 0.4, -0.5)
    axes.set_xlim(0, end / size)
    axes.set_xlabel(f"time, {unit}")
    axes.set_title(title, loc="left", weight="bold")
    plain_axes(axes, "x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.5 / (0.42 * stages + 0.3)), ncols=5, frameon=False)
    return picture


def _description(bars: Sequence[Bar], stages: int, end: float) -> str:
    size, unit = seconds_unit(end)
    busy = sum(bar.finish - bar.start for bar in bars if bar.kind != "network") / (stages * end)
    return f"A training step of {end / size:.3g} {unit} on {stages} stages, which compute {busy:.0%} of it."
