"""Pictures of metapipelines: iterations against time, a colour a stage.

Takes plain arrays (stages by iterations), so that it knows nothing of what computed them. matplotlib is imported inside
the functions, because it takes long.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from results.pictures.kinds import check_plot_path
from results.units import seconds_unit

# Okabe and Ito's palette, told apart with any colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#999999")
HATCHES = ("", "//", "..", "xx")


def plot_pipeline(
    stages: Sequence[str],
    start: NDArray[np.floating],
    finish: NDArray[np.floating],
    path: Path,
    title: str,
    interval: float,
) -> None:
    """Draw ``start`` and ``finish`` (seconds, shape (stages, iterations)) into ``path``, .png or .svg.

    ``interval``: the initiation interval in seconds, marked between the last two iterations. Raises OutputError if
    ``path`` cannot be written.
    """
    check_plot_path(path)
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from results.pictures.canvas.picture import save_figure

    size, unit = seconds_unit(float(finish.max()))
    size, unit = (1e-9, "ns") if unit == "us" and finish.max() < 1e-6 else (size, unit)
    iterations = start.shape[1]
    # Stages of one iteration that overlap in time lie beside each other within its row.
    height = 0.8 / len(stages)
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(10, 1.4 + max(iterations * 0.14 * max(len(stages), 3), 1.6)))
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for place, name in enumerate(stages):
            rows = np.arange(iterations) - 0.4 + (place + 0.5) * height
            axes.barh(
                rows,
                (finish[place] - start[place]) / size,
                height * 0.94,
                left=start[place] / size,
                color=COLOURS[place % len(COLOURS)],
                hatch=HATCHES[place // len(COLOURS) % len(HATCHES)],
                label=name,
                linewidth=0,
            )
        last = int(np.argmax(finish[:, -1]))
        end = finish[last, -1] / size
        if iterations > 1 and interval > 0:
            axes.annotate(
                "",
                (end, iterations - 0.35),
                (end - interval / size, iterations - 0.35),
                arrowprops={"arrowstyle": "<->", "color": "black", "shrinkA": 0, "shrinkB": 0},
                annotation_clip=False,
            )
            axes.text(
                end - interval / size / 2, iterations - 0.28, "initiation interval", ha="center", va="top", fontsize=8
            )
        axes.set_yticks(range(iterations), [str(number) for number in range(iterations)])
        axes.set_ylim(iterations + 0.15, -0.6)
        axes.set_xlim(0, end * 1.02)
        axes.set_ylabel("iteration")
        axes.set_xlabel(f"time, {unit}")
        axes.set_title(title, loc="left", weight="bold")
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
        save_figure(figure, path, 150)
