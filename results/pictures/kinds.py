"""Pictures of a frame, by kind: ``plot(frame, "scaling")``. Each kind is a function of a module of its own.

matplotlib is imported inside the functions, because it takes longer to import than a comparison takes to compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from results.atomic_file import OutputError

if TYPE_CHECKING:
    from results.pictures.canvas.picture import Picture

SUFFIXES = (".png", ".svg")


class Kind(NamedTuple):
    """A picture of a frame: what it shows, and the function that draws it."""

    shows: str
    draw: Callable[..., Picture]


def _breakdown(results: pd.DataFrame, **options: Any) -> Picture:
    from results.pictures.breakdown import breakdown

    return breakdown(results, **options)


def _scaling(results: pd.DataFrame) -> Picture:
    from results.pictures.scaling import scaling

    return scaling(results)


def _heatmap(results: pd.DataFrame, **options: Any) -> Picture:
    from results.pictures.heatmap import heatmap

    return heatmap(results, **options)


def _pareto(results: pd.DataFrame, **options: Any) -> Picture:
    from results.pictures.pareto import pareto

    return pareto(results, **options)


KINDS = {
    "breakdown": Kind("stacked bars: where the time or energy of each point goes", _breakdown),
    "scaling": Kind("tokens a second against chips, with ideal lines", _scaling),
    "heatmap": Kind("speed-up of one strategy over another, or energy that it saves, over any two inputs", _heatmap),
    "pareto": Kind("tokens a second of a user against those of a chip or of a joule, and the best of both", _pareto),
}


def check_plot_path(path: Path, *suffixes: str) -> None:
    """Raise OutputError in one sentence unless ``path`` ends in one of ``suffixes`` and its folder exists."""
    known = suffixes or SUFFIXES
    if path.suffix.lower() not in known:
        raise OutputError(f"{path}: a picture is a {' or '.join(known)} file, not '{path.suffix or path.name}'.")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder '{path.parent}' does not exist.")


def plot(results: pd.DataFrame, kind: str = "breakdown", **options: Any) -> Picture:
    """A frame of ``results.schema`` as a picture of one of ``KINDS``; save it with ``.save(path)``.

    ``options`` are those of the kind's own function, in the module of its name. Raises SchemaError where a frame has
    too many rows for the kind, or names a column that it has not.
    """
    from results.errors import SchemaError

    if kind not in KINDS:
        raise SchemaError(f"there is no picture '{kind}'; there are {', '.join(KINDS)}.")
    return KINDS[kind].draw(results, **options)


def plot_breakdown(results: pd.DataFrame, path: Path) -> None:
    """Draw stacked bars of a frame into ``path``. Raises OutputError if it is no .png or .svg or cannot be written."""
    check_plot_path(path)
    plot(results, "breakdown").save(path)


def plot_sensitivity(records: Sequence[Mapping[str, Any]], results: pd.DataFrame, path: Path) -> None:
    """Draw how constants move the rows of a frame into ``path``: records of ``scenarios.anatomy.sensitivity``.

    Raises OutputError if it is no .png or .svg or cannot be written.
    """
    from results.pictures.sensitivity import sensitivity

    check_plot_path(path)
    first = results.iloc[0]
    setting = f"{first['phase']}, {first['precision']}, batch {first['batch']}, context {first['context']}"
    sensitivity(records, f"{first['model']}, {setting}: what moves the answer").save(path)
