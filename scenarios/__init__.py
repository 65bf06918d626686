"""What the chips run: models, phases, strategies, and the command line. Imports all the packages below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scenarios.pricing import compare, simulate

__all__ = ["compare", "simulate"]


def __getattr__(name: str) -> object:
    """``compare`` and ``simulate`` at first use, so that asking for help does not import the simulator."""
    if name in __all__:
        from scenarios import pricing

        return getattr(pricing, name)
    raise AttributeError(f"module 'scenarios' has no attribute '{name}'")
