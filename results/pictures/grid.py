"""Pictures of a grid of elements over time: text, panels in one .png or .svg, or a moving .gif.

Knows nothing of what the elements are: a frame holds a title, a text for each element, and which of them are busy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from results.atomic_file import written_beside
from results.pictures.kinds import check_plot_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BUSY, IDLE = "#56B4E9", "#F0F0F0"
PANELS_ACROSS = 4
FRAME_MILLISECONDS = 900


@dataclass(frozen=True, slots=True)
class Frame:
    """One moment: ``cells`` (rows, columns) of text, a line or several each, and ``busy`` of the same shape."""

    title: str
    cells: list[list[str]]
    busy: NDArray[np.bool_]


def text(frames: Sequence[Frame]) -> str:
    """The frames one below the other; busy elements in brackets."""
    flat = [[[cell.replace("\n", " ") for cell in row] for row in frame.cells] for frame in frames]
    width = max(len(cell) for frame in flat for row in frame for cell in row)
    parts = []
    for frame, cells in zip(frames, flat, strict=True):
        parts.append(frame.title)
        for row, busy in zip(cells, frame.busy, strict=True):
            marked = (f"[{cell:^{width}}]" if on else f" {cell:^{width}} " for cell, on in zip(row, busy, strict=True))
            parts.append("  " + " ".join(marked).rstrip())
        parts.append("")
    return "\n".join(parts)


def plot_panels(frames: Sequence[Frame], path: Path, title: str) -> None:
    """Draw all frames side by side into a .png or .svg. Raises OutputError where ``path`` is neither."""
    check_plot_path(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from results.pictures.canvas.picture import save_figure

    across = min(PANELS_ACROSS, len(frames))
    down = ceil(len(frames) / across)
    rows, columns = frames[0].busy.shape
    figure = Figure(figsize=(0.72 * columns * across + 0.4, (0.62 * rows + 0.45) * down + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, frame in zip(panels, frames, strict=False):
        _draw(axes, frame)
    save_figure(figure, path, 110, tight=False)


def plot_moving(frames: Sequence[Frame], path: Path, title: str) -> None:
    """Draw the frames one after the other into a .gif. Raises OutputError where ``path`` is no .gif."""
    check_plot_path(path, ".gif")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    rows, columns = frames[0].busy.shape
    pictures = []
    for frame in frames:
        figure = Figure(figsize=(max(0.9 * columns, 4.5), 0.8 * rows + 0.9), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=10)
        _draw(figure.add_subplot(), frame)
        drawn = BytesIO()
        figure.savefig(drawn, format="png", dpi=90)
        pictures.append(Image.open(drawn).convert("P", palette=Image.Palette.ADAPTIVE))
    with written_beside(path) as beside:
        pictures[0].save(beside, save_all=True, append_images=pictures[1:], duration=FRAME_MILLISECONDS, loop=0)


def _draw(axes: Axes, frame: Frame) -> None:
    from matplotlib.patches import Rectangle

    rows, columns = frame.busy.shape
    axes.set(xlim=(-0.05, columns + 0.05), ylim=(rows + 0.05, -0.05), aspect="auto")
    axes.axis("off")
    axes.set_title(frame.title, fontsize=8)
    for i in range(rows):
        for j in range(columns):
            busy = bool(frame.busy[i, j])
            axes.add_patch(Rectangle((j, i), 1, 1, facecolor=BUSY if busy else IDLE, edgecolor="white", linewidth=1.5))
            axes.text(
                j + 0.5,
                i + 0.5,
                frame.cells[i][j],
                ha="center",
                va="center",
                fontsize=7,
                color="black" if busy else "0.45",
            )
