"""What comes out: frames in one documented schema, questions asked of them, tables, pictures, reports, traces.

Imports none of the other packages, which ask it for what all share: the root of errors and the words. What is shown
here are plain records, frames and events. pandas in, pandas out:

    import results

    frame = results.load("sweep/")
    results.speedups(frame, baseline={"strategy": "per_operator"})
    results.plot(frame, "scaling").save("scaling.svg")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from results.analysis import crossovers, pareto_front, pivot, scaling, select, speedups
    from results.notebook import show
    from results.pictures.kinds import plot
    from results.store import load, save

__all__ = [
    "crossovers",
    "load",
    "pareto_front",
    "pivot",
    "plot",
    "save",
    "scaling",
    "select",
    "show",
    "speedups",
]

_ELSEWHERE = {
    "load": "results.store",
    "plot": "results.pictures.kinds",
    "save": "results.store",
    "show": "results.notebook",
}
_PLACES = {name: _ELSEWHERE.get(name, "results.analysis") for name in __all__}


def __getattr__(name: str) -> object:
    """The public functions at first use, so that asking for help does not import pandas."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'results' has no attribute '{name}'")
