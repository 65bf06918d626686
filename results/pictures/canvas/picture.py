"""A picture: a figure that is saved as .svg or .png, stands in a web page, and shows itself in a notebook.

Here: what all pictures share, colours and how they are written. What is drawn is in the modules of
``results.pictures``. matplotlib takes longer to import than a comparison takes to compute, so this module is imported
inside of functions.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from html import escape
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogFormatter, LogLocator, NullFormatter, ScalarFormatter

from results.atomic_file import written_beside
from results.pictures.canvas.palette import GRID
from results.pictures.kinds import check_plot_path

DOTS_PER_INCH = 150
Letters = Literal["path", "none"]


class Picture(Figure):
    """A matplotlib figure with ``description``, one sentence for whoever cannot see it."""

    def __init__(self, width: float, height: float, description: str) -> None:
        """``width`` and ``height`` in inches."""
        with _settings():
            super().__init__(figsize=(width, height))
        FigureCanvasAgg(self)
        self.description = description

    def save(self, path: str | Path) -> None:
        """Write the picture whole or not at all. Raises OutputError if ``path`` is no .png or .svg, or not writable."""
        path = Path(path)
        check_plot_path(path)
        with _settings():
            save_figure(self, path, DOTS_PER_INCH)

    def tight_layout(self, **settings: Any) -> None:
        """As in matplotlib, of texts as they are said."""
        _as_said(self)
        super().tight_layout(**settings)

    def inline_svg(self, name: str) -> str:
        """An <svg> element to stand in a page: its text is text, its ids begin with ``name``, and it is described."""
        text = self._svg(letters="none").decode()
        text = text[text.index("<svg ") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
        label = f'<svg role="img" aria-label="{escape(self.description, quote=True)}" '
        return text.replace("<svg ", label, 1)

    def _repr_svg_(self) -> str:
        """What a notebook shows."""
        return self._svg(letters="path").decode()

    def _svg(self, letters: Letters) -> bytes:
        with _settings(letters):
            return _drawn(self, "svg", DOTS_PER_INCH, tight=True)


def save_figure(figure: Figure, path: Path, dots_per_inch: int, *, tight: bool = True) -> None:
    """Write any figure whole or not at all, in the form that ``path`` ends in; ``tight``: without a margin.

    Equal results are equal bytes. Raises OutputError where ``path`` is not writable.
    """
    with written_beside(path) as beside:
        beside.write_bytes(_drawn(figure, path.suffix.lower().lstrip("."), dots_per_inch, tight=tight))


def _as_said(figure: Figure) -> None:
    """Let a dollar sign in somebody's name begin no formula; the numbers along an axis may be powers."""
    axes = [axis for each in figure.axes for axis in (each.xaxis, each.yaxis)]
    numbered = [axis for axis in axes if isinstance(axis.get_major_formatter(), LogFormatter | ScalarFormatter)]
    numbers = {id(text) for axis in numbered for text in axis.findobj(Text)}
    for text in figure.findobj(Text):
        if isinstance(text, Text) and id(text) not in numbers:
            text.set_parse_math(False)


def _drawn(figure: Figure, form: str, dots_per_inch: int, *, tight: bool) -> bytes:
    """Without a date, and with names that are no random numbers."""
    out = io.BytesIO()
    _as_said(figure)
    metadata = {"Date": None} if form == "svg" else None
    with matplotlib.rc_context({"svg.hashsalt": "loopline"}):
        figure.savefig(out, format=form, dpi=dots_per_inch, bbox_inches="tight" if tight else None, metadata=metadata)
    return out.getvalue()


def _settings(letters: Letters = "path") -> AbstractContextManager[None]:
    """``letters`` of an .svg: drawn, to look alike everywhere, or text (``none``)."""
    return matplotlib.rc_context({"svg.fonttype": letters, "font.size": 9})


def log_axis(axis: Axis, told: Callable[[float], str] = "{:,.4g}".format) -> None:
    """Numbers at 1, 2 and 5 of every power of ten along a logarithmic axis, as they are ``told``."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: told(value)))
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_formatter(NullFormatter())


def plain_axes(axes: Axes, grid: Literal["both", "x", "y"] = "both") -> None:
    """The style of all pictures: a light grid behind, and no frame but the axes."""
    axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
