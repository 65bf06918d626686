"""Heat maps of a speed-up over two inputs: where a strategy pays, how much, and where it stops paying."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from results.analysis import pivot, speedups
from results.errors import SchemaError
from results.pictures.canvas.palette import FAINT, readable
from results.pictures.canvas.panels import check_panels, panels, side_by_side
from results.pictures.canvas.picture import Picture
from results.pictures.quantities import quantity
from results.schema import INPUTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

# The title of a panel, its speed-ups, and which of them a row is about (NaN where none is).
Cells = tuple[str, pd.DataFrame, pd.DataFrame]
# Purple is faster, orange slower, white equal: told apart with any colour vision.
COLOURS = "PuOr"
DARK = 0.62  # of the way from white to an end of the scale, from where white text reads better


def heatmap(
    results: pd.DataFrame,
    *,
    rows: str | None = None,
    columns: str = "count",
    fast: str = "kernel_loop",
    slow: str = "per_operator",
    of: str = "seconds",
) -> Picture:
    """How many times as fast ``fast`` is as ``slow``, in cells over ``rows`` and ``columns`` (both inputs).

    ``of`` joules: how many times as much energy ``slow`` takes.

    ``rows``: by default the first of batch, context and chip that varies. Cells that do not fit say so; those of which
    there is no row are empty. Raises SchemaError where either strategy is missing.
    """
    drawn = quantity(of)
    results = results.assign(seconds=results[of])
    for strategy in (fast, slow):
        if strategy not in results["strategy"].unique():
            raise SchemaError(f"there is no strategy '{strategy}', only {', '.join(results['strategy'].unique())}.")
    down = rows or next((name for name in ("batch", "context") if results[name].nunique() > 1), "chip")
    for name in (down, columns):
        if name not in INPUTS:
            raise SchemaError(f"'{name}' is no input; a heat map lies over two of {', '.join(INPUTS)}.")
    shown = ("strategy", down, columns)
    check_panels(results.loc[results["strategy"] == fast], shown)
    faster = speedups(results, {"strategy": slow})
    faster = faster.loc[faster["strategy"] == fast]
    common, parted = panels(faster, shown)
    cells: list[Cells] = []
    for title, part in parted:
        values, asked = (_sorted(pivot(part.assign(asked=1.0), down, columns, value)) for value in ("speedup", "asked"))
        cells.append((title, values, asked))
    reach = float(np.nanmax(np.abs(np.log2(faster["speedup"])))) if faster["speedup"].notna().any() else 0.0
    what = f"{readable(fast)} over {readable(slow)}{'' if of == 'seconds' else f', {drawn.word}'}"
    return _draw(cells, common, what, max(reach, 0.1), down, columns, drawn.ratio)


def _sorted(cells: pd.DataFrame) -> pd.DataFrame:
    """Numbers grow to the right and upwards; names stay in the frame's order."""
    cells = cells.sort_index(axis=1) if cells.columns.dtype != "str" else cells
    return cells.sort_index(ascending=False) if cells.index.dtype != "str" else cells


def _draw(cells: list[Cells], common: str, what: str, reach: float, down: str, columns: str, scale: str) -> Picture:
    across = side_by_side(len(cells))
    lines = -(-len(cells) // across)
    height, width = cells[0][1].shape
    size = (max((0.72 * width + 1.2) * across + 0.9, 5), (0.36 * height + 0.9) * lines + 0.8)
    picture = Picture(*size, _description(cells, what))
    picture.set_layout_engine("constrained")
    picture.suptitle(f"{what}\n{common}", x=0.01, ha="left", weight="bold")
    places = [picture.add_subplot(lines, across, number + 1) for number in range(len(cells))]
    image: AxesImage | None = None
    for number, (axes, (title, values, asked)) in enumerate(zip(places, cells, strict=True)):
        image = _panel(axes, values, asked, reach)
        axes.set_title(title, loc="left")
        axes.set_xlabel(readable(columns) if number >= len(cells) - across else "")
        axes.set_ylabel(readable(down) if number % across == 0 else "")
    assert image is not None
    ticks = np.arange(-int(reach), int(reach) + 1) if reach >= 1 else np.round(np.linspace(-reach, reach, 3), 3)
    bar = picture.colorbar(image, ax=places, label=scale, shrink=0.9, ticks=ticks)
    bar.ax.set_yticklabels([_times(2.0**tick) for tick in ticks])
    return picture


def _panel(axes: Axes, values: pd.DataFrame, asked: pd.DataFrame, reach: float) -> AxesImage:
    logs, stated = np.log2(values.to_numpy(np.float64)), asked.to_numpy(np.float64)
    axes.set_facecolor("#F4F4F4")
    image = axes.imshow(logs, cmap=COLOURS, vmin=-reach, vmax=reach, aspect="auto")
    for (row, column), log in np.ndenumerate(logs):
        if np.isnan(log):
            if np.isnan(stated[row, column]):
                continue  # no row is about this cell
            axes.text(column, row, "does not\nfit", ha="center", va="center", fontsize=7, color=FAINT)
            continue
        colour = "white" if abs(log) > DARK * reach else "black"
        axes.text(column, row, _times(2.0**log), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(values.shape[1]), [_label(value) for value in values.columns])
    axes.set_yticks(range(values.shape[0]), [_label(value) for value in values.index])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def _label(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)


def _times(ratio: float) -> str:
    return f"{ratio:.2f}×" if ratio < 9.995 else f"{ratio:.1f}×"


def _description(cells: list[Cells], what: str) -> str:
    values = np.concatenate([table.to_numpy(np.float64).ravel() for _, table, _ in cells])
    if np.isnan(values).all():
        return f"Heat map of the speed-up of {what}; nothing fits."
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return f"Heat map of the speed-up of {what}: from {_times(low)} to {_times(high)}."
