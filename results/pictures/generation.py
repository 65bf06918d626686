"""A picture of one generated text on several machines: how many of its tokens each has written by when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from results.pictures.kinds import check_plot_path
from results.units import seconds_unit, three_digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, in the order of the machines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINE_STYLES = ("-", "--", ":")


def plot_tokens(seconds: Mapping[str, Sequence[float]], title: str, path: Path) -> None:
    """Draw tokens written over simulated time into ``path``, a line a machine, its speed in the legend.

    ``seconds``: of each token, by the machine's name; the first is the prefill. Raises OutputError where ``path`` is
    neither .png nor .svg or cannot be written.
    """
    check_plot_path(path)
    import matplotlib

    from results.pictures.canvas.picture import save_figure

    with matplotlib.rc_context({"font.size": 9}):
        save_figure(_figure(seconds, title), path, 150)


def _figure(seconds: Mapping[str, Sequence[float]], title: str) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    size, unit = seconds_unit(max(sum(times) for times in seconds.values()))
    for number, (name, times) in enumerate(seconds.items()):
        written = [0.0, *(end / size for end in accumulate(times))]
        axes.step(
            written,
            range(len(written)),
            where="post",
            color=COLOURS[number % len(COLOURS)],
            linestyle=LINE_STYLES[number // len(COLOURS) % len(LINE_STYLES)],
            label=f"{name}: {three_digits(len(times) / sum(times))} tokens/s",
        )
    axes.set_xlabel(f"simulated time since the prompt, {unit}")
    axes.set_ylabel("tokens written")
    axes.set_title(title, loc="left", weight="bold")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return figure
