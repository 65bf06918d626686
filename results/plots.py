"""Pictures of results: stacked bars of where the time goes.

matplotlib is imported inside the functions, because it takes longer to import than a comparison takes to compute.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from results.atomic_file import OutputError, written_beside
from results.schema import PARTS
from results.units import seconds_unit, three_digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
# Okabe and Ito's palette, told apart with any colour vision; a part has the same colour in every picture.
PART_COLOURS = {
    "matmul_s": ("matrix products", "#0072B2"),
    "attention_s": ("attention", "#E69F00"),
    "other_s": ("other operators", "#56B4E9"),
    "allreduce_s": ("exposed AllReduce", "#D55E00"),
    "launch_s": ("launch and synchronization", "#CC79A7"),
    "fill_drain_s": ("pipeline fill and drain", "#999999"),
}
PER = {"decode": "token", "prefill": "prefill", "request": "request", "train": "training step"}
BAR_HEIGHT = 0.82
GROUP_GAP = 0.7
INCHES_PER_BAR = 0.21


def check_plot_path(path: Path) -> None:
    """Raise OutputError in one sentence unless ``path`` ends in .png or .svg and its folder exists."""
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path}: a plot is a .png or an .svg file, not '{path.suffix or path.name}'.")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder '{path.parent}' does not exist.")


def plot_breakdown(results: pd.DataFrame, path: Path) -> None:
    """Draw a frame of ``results.schema`` into ``path``: time by part, a group a chip and count, a bar a strategy.

    Raises OutputError if ``path`` is neither .png nor .svg or cannot be written.
    """
    check_plot_path(path)
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "loopline", "font.size": 9}):
        figure = breakdown_figure(results)
        form = path.suffix.lower().lstrip(".")
        # Without a date, the same results are the same bytes.
        metadata = {"Date": None} if form == "svg" else None
        with written_beside(path) as beside:
            figure.savefig(beside, format=form, dpi=150, bbox_inches="tight", metadata=metadata)


def breakdown_figure(results: pd.DataFrame) -> Figure:
    """The figure of ``plot_breakdown``: horizontal bars from top to bottom in the order of the rows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bars = results.reset_index(drop=True)
    places, groups = _places(bars)
    figure = Figure(figsize=(11, 1.6 + INCHES_PER_BAR * (places[-1] + 1)))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    size, unit = seconds_unit(float(bars["seconds"].max()) if bars["fits"].any() else 1.0)
    left = pd.Series(0.0, index=bars.index)
    for part in PARTS:
        title, colour = PART_COLOURS[part]
        widths = bars[part].fillna(0.0) / size
        axes.barh(places, widths, BAR_HEIGHT, left=left, color=colour, label=title, linewidth=0)
        left = left + widths
    _annotate(axes, bars, places)
    axes.set_yticks(places, [str(strategy).replace("_", " ") for strategy in bars["strategy"]])
    for name, first, last in groups:
        axes.text(
            -0.135,
            (first + last) / 2,
            name,
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            weight="bold",
        )
    _style(axes, bars, unit)
    axes.set_ylim(places[-1] + 0.8, -0.8)
    axes.set_xlim(0, max(left.max(), 1e-12) * 1.1)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return figure


def _places(bars: pd.DataFrame) -> tuple[list[float], list[tuple[str, float, float]]]:
    """Where each bar stands, and the name, first and last place of every group of chip and count."""
    places: list[float] = []
    groups: list[tuple[str, float, float]] = []
    for chip, count in zip(bars["chip"], bars["count"], strict=True):
        name = f"{chip} ×{count}"
        if groups and groups[-1][0] == name:
            places.append(places[-1] + 1)
            groups[-1] = (name, groups[-1][1], places[-1])
            continue
        start = places[-1] + 1 + GROUP_GAP if places else 0.0
        places.append(start)
        groups.append((name, start, start))
    return places, groups


def _annotate(axes: Axes, bars: pd.DataFrame, places: list[float]) -> None:
    """The total at the end of each bar, or that the point does not fit."""
    size, unit = seconds_unit(float(bars["seconds"].max()) if bars["fits"].any() else 1.0)
    for place, seconds, fits in zip(places, bars["seconds"], bars["fits"], strict=True):
        text = f"{three_digits(seconds / size)} {unit}" if fits else "does not fit"
        axes.annotate(
            text,
            (seconds / size if fits else 0.0, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color="black" if fits else "#777777",
            style="normal" if fits else "italic",
        )


def _style(axes: Axes, bars: pd.DataFrame, unit: str) -> None:
    first = bars.iloc[0]
    axes.set_xlabel(f"time per {PER.get(first['phase'], first['phase'])}, {unit}")
    axes.set_title(
        f"{first['model']}, {first['phase']}, {first['precision']}, batch {first['batch']}, context {first['context']}",
        loc="left",
        weight="bold",
    )
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
