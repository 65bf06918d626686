"""Pictures of a frame, by kind: ``plot(frame, "scaling")``. Each kind is a function of a module of its own.

matplotlib is imported inside the functions, because it takes longer to import than a comparison takes to compute.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from results.atomic_file import OutputError

if TYPE_CHECKING:
    from results.picture import Picture

SUFFIXES = (".png", ".svg")
KINDS = {
    "breakdown": "stacked bars: where the time of each point goes",
    "scaling": "tokens a second against chips, with ideal lines",
    "heatmap": "speed-up of one strategy over another, over any two inputs",
    "pareto": "tokens a second of a user against those of a chip, and the best of both",
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

    ``options`` are those of the kind's own function (``breakdown``, ``scaling``, ``heatmap``, ``pareto`` in
    ``breakdown_plot``, ``scaling_plot``, ``heatmap_plot``, ``pareto_plot``). Raises SchemaError where a frame has too
    many rows for the kind, or names a column that it has not.
    """
    from importlib import import_module

    from results.errors import SchemaError

    if kind not in KINDS:
        raise SchemaError(f"there is no picture '{kind}'; there are {', '.join(KINDS)}.")
    picture: Picture = getattr(import_module(f"results.{kind}_plot"), kind)(results, **options)
    return picture


def plot_breakdown(results: pd.DataFrame, path: Path) -> None:
    """Draw stacked bars of a frame into ``path``. Raises OutputError if it is no .png or .svg or cannot be written."""
    check_plot_path(path)
    plot(results, "breakdown").save(path)
