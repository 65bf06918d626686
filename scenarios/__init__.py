"""What the chips run: models, phases, strategies, sweeps, and the command line. Imports all the packages below it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scenarios.pricing import compare, simulate
    from scenarios.sweeps.sweep import sweep

__all__ = ["compare", "simulate", "sweep"]

_PLACES = {"compare": "scenarios.pricing", "simulate": "scenarios.pricing", "sweep": "scenarios.sweeps.sweep"}


def __getattr__(name: str) -> object:
    """The public functions at first use, so that asking for help does not import the simulator."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'scenarios' has no attribute '{name}'")
