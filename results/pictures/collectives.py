"""Pictures of collectives: time against payload, a curve an algorithm, with the bound that none can beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from results.pictures.canvas.palette import FAINT
from results.pictures.canvas.picture import Picture, log_axis, plain_axes
from results.units import seconds_unit

# Okabe and Ito's palette, told apart with any colour vision; when it is used up, dashes tell curves apart.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))
MARKERS = ("o", "s", "^")
SAME = 1e-3  # curves that differ by less are one in a picture
Pairs = Sequence[tuple[float, float]]


class Curve(NamedTuple):
    """(bytes, seconds) along a line, and of single marks on or beside it."""

    title: str
    line: Pairs
    marks: Pairs
    is_bound: bool = False


def collectives_picture(curves: Sequence[Curve], title: str, borders: Sequence[float] = ()) -> Picture:
    """Both axes logarithmic; ``borders``: bytes at which another curve becomes the lowest."""
    picture = Picture(8.2, 4.8, f"{title}: time against bytes of {', '.join(curve.title for curve in curves)}.")
    axes = picture.add_subplot()
    plain_axes(axes)
    _draw(axes, curves)
    for border in borders:
        axes.axvline(border, color=FAINT, linewidth=0.8, linestyle=":", zorder=0)
    _label(axes, title)
    return picture


def predictions_picture(marks: Mapping[str, Pairs], title: str) -> Picture:
    """(predicted, measured) seconds of each algorithm; a diagonal where they are equal, dotted at twice and half."""
    picture = Picture(6.2, 4.8, f"{title}: measured against predicted time of {', '.join(marks)}.")
    axes = picture.add_subplot()
    plain_axes(axes)
    for number, (name, pairs) in enumerate(marks.items()):
        colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number // len(PALETTE) % len(MARKERS)]
        axes.plot(*zip(*pairs, strict=True), color=colour, marker=marker, markersize=5, linestyle="none", label=name)
    times = [seconds for pairs in marks.values() for pair in pairs for seconds in pair]
    ends = [min(times) / 1.3, max(times) * 1.3]
    for factor, dash in ((1.0, "-"), (2.0, ":"), (0.5, ":")):
        axes.plot(ends, [factor * end for end in ends], color=FAINT, linewidth=0.8, linestyle=dash, zorder=0)
    axes.set(xscale="log", yscale="log", xlabel="predicted", ylabel="measured", xlim=ends, ylim=ends, aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        log_axis(axis, _short_seconds)
    axes.set_title(title, loc="left", weight="bold")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return picture


def _draw(axes: Axes, curves: Sequence[Curve]) -> None:
    number = 0
    for curve in _merged(curves):
        # A logarithm has no place for nothing.
        line, marks = ([pair for pair in pairs if min(pair) > 0] for pairs in (curve.line, curve.marks))
        if curve.is_bound:
            axes.plot(*zip(*line, strict=True), color="#999999", linewidth=3, alpha=0.6, label=curve.title, zorder=1)
            continue
        colour, dash = PALETTE[number % len(PALETTE)], DASHES[number // len(PALETTE) % len(DASHES)]
        number += 1
        if line:
            axes.plot(*zip(*line, strict=True), color=colour, linestyle=dash, linewidth=1.4, label=curve.title)
        if marks:
            axes.plot(*zip(*marks, strict=True), color=colour, linestyle="none", marker="o", markersize=4)


def _merged(curves: Sequence[Curve]) -> list[Curve]:
    """Curves that lie on each other become one with all their names: the last would hide the others."""
    merged: list[Curve] = []
    for curve in curves:
        twin = next((i for i, other in enumerate(merged) if _alike(curve, other)), None)
        if twin is None:
            merged.append(curve)
        else:
            merged[twin] = merged[twin]._replace(title=f"{merged[twin].title},\n{curve.title}")
    return merged


def _alike(one: Curve, other: Curve) -> bool:
    return one.is_bound == other.is_bound and all(
        len(left) == len(right)
        and all(a[0] == b[0] and abs(a[1] - b[1]) <= SAME * b[1] for a, b in zip(left, right, strict=True))
        for left, right in ((one.line, other.line), (one.marks, other.marks))
    )


def _label(axes: Axes, title: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short_bytes(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short_seconds(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("bytes of a rank's buffer")
    axes.set_ylabel("time of an AllReduce")
    axes.set_title(title, loc="left", weight="bold")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)


def _short_seconds(value: float) -> str:
    size, name = seconds_unit(value)
    return f"{value / size:g} {name}"


def _short_bytes(value: float) -> str:
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= unit:
            return f"{value / unit:g} {name}"
    return f"{value:g} B"
