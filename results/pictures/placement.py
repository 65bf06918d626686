"""Pictures of placements: units on the mesh coloured by stage, links by load; and how large a decoder one kernel holds.

Takes plain arrays and names, so that it knows nothing of what placed them. matplotlib is imported inside the functions,
because it takes long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from results.pictures.kinds import check_plot_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette and shades between, in an order that sets neighbours apart.
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#8C564B",
    "#004C78", "#A06A00", "#00664A", "#8E3C00", "#A8D8F5", "#E5B8D0",
)  # fmt: skip
UNUSED = "#EEEEEE"


@dataclass(frozen=True)
class MeshPicture:
    """One kernel on its mesh. ``compute`` and ``memory``: for each of ``stages``, shape (n, 2), the rows and columns of
    the compute units it has and of the memory units that hold its operand and its result. ``is_compute``: shape (rows,
    columns). ``link_use``: shape (4, rows, columns + 2), share of its bandwidth on each link to the east, west, south
    and north, with a column of gateways at either end.
    """

    title: str
    stages: Sequence[str]
    compute: Sequence[NDArray[np.int64]]
    memory: Sequence[NDArray[np.int64]]
    is_compute: NDArray[np.bool_]
    link_use: NDArray[np.float64]


def plot_mesh(kernels: Sequence[MeshPicture], path: Path) -> None:
    """Draw each kernel as a row of two meshes, who sits where and what the links carry, into a .png or .svg.

    Raises OutputError where ``path`` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = kernels[0].is_compute.shape
    figure = Figure(figsize=(15, 0.3 + len(kernels) * (1.7 + 6.2 * rows / columns)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(kernels), 2, squeeze=False)
    for (left, right), kernel in zip(panels, kernels, strict=True):
        _draw_units(left, kernel)
        _draw_links(right, kernel, figure)
    _save(figure, path)


def _draw_units(axes: Axes, kernel: MeshPicture) -> None:
    """Compute units are squares, memory units small discs, in the colour of the stage that has them."""
    rows, columns = kernel.is_compute.shape
    size = 330.0 / columns
    for kind, marker, area in ((True, "s", size**2), (False, "o", 0.42 * size**2)):
        at = np.argwhere(kernel.is_compute == kind)
        axes.scatter(at[:, 1], at[:, 0], marker=marker, s=area, color=UNUSED, linewidths=0)
    for number, (name, compute, memory) in enumerate(zip(kernel.stages, kernel.compute, kernel.memory, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        label = f"{name}: {len(compute)} + {len(memory)}"
        axes.scatter(compute[:, 1] - 1, compute[:, 0], marker="s", s=size**2, color=colour, linewidths=0, label=label)
        axes.scatter(memory[:, 1] - 1, memory[:, 0], marker="o", s=0.42 * size**2, color=colour, linewidths=0)
    axes.set(xlim=(-1, columns), ylim=(rows, -1), aspect="equal", xticks=[], yticks=[])
    axes.set_title(kernel.title, loc="left", fontsize=10, weight="bold")
    axes.legend(
        title="stage: compute units (squares) + memory units (discs)", loc="upper center", bbox_to_anchor=(0.5, -0.01),
        ncols=3, frameon=False, fontsize=7.5, title_fontsize=8, markerscale=1.3, handletextpad=0.2,
    )  # fmt: skip
    for side in axes.spines.values():
        side.set_color("#BBBBBB")


def _draw_links(axes: Axes, kernel: MeshPicture, figure: Figure) -> None:
    """Every link as a short line, darker and thicker the more of its bandwidth is used; both ways in one."""
    from matplotlib.collections import LineCollection

    rows, columns = kernel.is_compute.shape
    east, west, south, north = kernel.link_use
    lines, use = [], []
    for row in range(rows):
        for column in range(columns + 1):
            lines.append([(column - 1, row), (column, row)])
            use.append(max(east[row, column], west[row, column + 1]))
    for row in range(rows - 1):
        for column in range(1, columns + 1):
            lines.append([(column - 1, row), (column - 1, row + 1)])
            use.append(max(south[row, column], north[row + 1, column]))
    order = np.argsort(use)
    values = np.asarray(use)[order]
    drawn = LineCollection(
        [lines[index] for index in order], array=values, cmap="YlOrRd", clim=(0, 1), linewidths=0.4 + 2.6 * values
    )
    axes.add_collection(drawn)
    axes.set(xlim=(-1.6, columns + 0.6), ylim=(rows, -1), aspect="equal", xticks=[], yticks=[])
    axes.set_title("load of the links, the busier way of each", loc="left", fontsize=10)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.75, pad=0.01)
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1.0], labels=["0%", "25%", "50%", "75%", "100%"])
    bar.set_label("of a link's bandwidth")
    for side in axes.spines.values():
        side.set_color("#BBBBBB")


def plot_limits(panels: Mapping[str, Mapping[str, Sequence[tuple[int, int]]]], path: Path, title: str) -> None:
    """Draw the largest hidden size that fits one kernel: a panel an axis, two lines a chip, into a .png or .svg.

    ``panels``: by the axis' name, by the line's name, the points (value on the axis, largest hidden size); lines that
    follow each other in pairs have one colour. Raises OutputError where ``path`` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(panels) + 2.2, 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")
    drawn = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (name, lines) in zip(drawn, panels.items(), strict=True):
        for number, (line, points) in enumerate(lines.items()):
            across, up = zip(*points, strict=True)
            look = {"marker": "os"[number % 2], "linestyle": ("--", "-")[number % 2]}
            axes.plot(across, up, color=COLOURS[number // 2 % len(COLOURS)], label=line, **look)
        values = sorted({value for points in lines.values() for value, _ in points})
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(values, [f"{value:,}" for value in values], fontsize=8)
        axes.minorticks_off()
        axes.set_xlabel(name)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.grid(color="#DDDDDD", linewidth=0.8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    drawn[0].set_ylabel("largest hidden size in one kernel")
    drawn[-1].legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    from results.pictures.canvas.picture import save_figure

    check_plot_path(path)
    save_figure(figure, path, 110)
