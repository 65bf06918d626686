"""Pictures of accuracy: predicted against measured times, and the error by size of the kernel or run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from results.pictures.kinds import check_plot_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Times = tuple[Floats, Floats]  # measured and predicted seconds of the same rows
Panels = Mapping[str, Mapping[str, Times]]  # by family, then by series: a chip, or what is measured

# Okabe and Ito's palette, told apart with any colour vision, each with a marker of its own; by first appearance.
STYLES = (
    ("#0072B2", "o"),
    ("#D55E00", "^"),
    ("#009E73", "s"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#000000", "X"),
)
COLUMNS = 3
CROWD = 1000  # above so many points in a series they are drawn small and pale
SIZES_A_DECADE = 3
FEWEST = 5  # rows of a size, for its percentiles to be drawn


def plot_scatter(panels: Panels, path: Path) -> None:
    """Draw predicted against measured times, both axes logarithmic, one panel a family, into ``path``."""
    check_plot_path(path)
    figure, places = _figure(panels)
    styles = _styles(panels)
    for axes, (family, series) in zip(places, panels.items(), strict=True):
        for name, (measured, predicted) in series.items():
            colour, marker = styles[name]
            crowded = len(measured) > CROWD
            axes.plot(
                measured,
                predicted,
                marker,
                color=colour,
                label=name,
                markersize=1.2 if crowded else 3.5,
                alpha=0.25 if crowded else 0.7,
                markeredgewidth=0,
            )
        ends = np.array(axes.get_xlim())
        axes.plot(ends, ends, color="black", linewidth=0.9, label="equal")
        axes.fill_between(ends, ends / 1.2, ends * 1.2, color="#999999", alpha=0.25, linewidth=0, label="within 20%")
        axes.set(xscale="log", yscale="log", xlim=_spread(series), ylim=_spread(series), title=family)
        axes.set_aspect("equal")
        axes.set_xlabel("measured, s")
        axes.set_ylabel("predicted, s")
        _legend(axes)
    _save(figure, path)


def plot_error_by_size(panels: Panels, path: Path) -> None:
    """Draw predicted / measured against the measured time: the median, and the band that holds 80% of the rows."""
    check_plot_path(path)
    figure, places = _figure(panels)
    styles = _styles(panels)
    for axes, (family, series) in zip(places, panels.items(), strict=True):
        for name, (measured, predicted) in series.items():
            colour, marker = styles[name]
            sizes, low, middle, high = _percentiles(measured, predicted / measured)
            if not len(sizes):
                continue
            axes.fill_between(sizes, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.plot(sizes, middle, marker=marker, color=colour, label=name, markersize=4, linewidth=1.4)
        axes.axhline(1, color="black", linewidth=0.9)
        axes.set(xscale="log", title=family, xlabel="measured, s", ylabel="predicted / measured")
        axes.set_xlim(*_decades(series))
        low_end, high_end = axes.get_ylim()
        axes.set_ylim(min(low_end, 0.75), max(high_end, 1.25))
        _legend(axes)
    _save(figure, path)


def _percentiles(measured: Floats, ratio: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Sizes (geometric middle of a third of a decade), and the 10th, 50th and 90th percentile of the ratios there."""
    bins = np.floor(np.log10(measured) * SIZES_A_DECADE).astype(int)
    kept = [number for number in np.unique(bins) if np.count_nonzero(bins == number) >= FEWEST]
    percentiles = [np.quantile(ratio[bins == number], (0.1, 0.5, 0.9)) for number in kept]
    low, middle, high = np.array(percentiles, dtype=np.float64).reshape(-1, 3).T
    return 10 ** ((np.array(kept, dtype=np.float64) + 0.5) / SIZES_A_DECADE), low, middle, high


def _styles(panels: Panels) -> dict[str, tuple[str, str]]:
    """Colour and marker of every series, the same in all panels."""
    names = dict.fromkeys(name for series in panels.values() for name in series)
    return {name: STYLES[number % len(STYLES)] for number, name in enumerate(names)}


def _decades(series: Mapping[str, Times]) -> tuple[float, float]:
    """Whole powers of ten around all measured times."""
    powers = np.log10(np.concatenate([measured for measured, _ in series.values()]))
    return float(10 ** np.floor(powers.min())), float(10 ** np.ceil(powers.max()))


def _spread(series: Mapping[str, Times]) -> tuple[float, float]:
    """The same limits for both axes, a little beyond all points."""
    points = np.concatenate([np.concatenate(times) for times in series.values()])
    return float(points.min() / 1.3), float(points.max() * 1.3)


def _figure(panels: Panels) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = max(1, -(-len(panels) // COLUMNS))
    figure = Figure(figsize=(4.2 * COLUMNS, 4.0 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(rows, COLUMNS, number + 1) for number in range(len(panels))]


def _legend(axes: Axes) -> None:
    from matplotlib.lines import Line2D

    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    legend = axes.legend(frameon=False, fontsize=8, loc="best", handlelength=1.5)
    for handle in legend.legend_handles:
        if isinstance(handle, Line2D):
            handle.set_alpha(0.9)
            handle.set_markersize(5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    from results.pictures.canvas.picture import save_figure

    save_figure(figure, path, 110, tight=False)
