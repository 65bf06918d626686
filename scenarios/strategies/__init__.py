"""How operators become kernels: strategies on the same operator list, for each kind of chip.

A strategy is one function ``(clock, group, step, launch) -> Time`` that issues a whole pass on the clock. Adding one
is adding a module to this folder with its functions under ``@strategy`` and their traits; every module here is found.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import walk_packages

from scenarios.strategies.registry import STRATEGIES, strategy_on
from scenarios.strategies.run import alike_passes, run_strategy

__all__ = ["STRATEGIES", "alike_passes", "run_strategy", "strategy_on"]

for _module in walk_packages(__path__, f"{__name__}."):
    import_module(_module.name)
