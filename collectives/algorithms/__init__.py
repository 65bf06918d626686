"""Algorithms: each is one function from a number of ranks to its schedule.

Adding one is a function under ``@algorithm(operation)`` in a module of this folder; every module here is found.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from collectives.algorithms.direct import one_shot, two_shot
from collectives.algorithms.doubling import halving_doubling, recursive_doubling
from collectives.algorithms.registry import COLLECTIVES, Algorithm, algorithm
from collectives.algorithms.ring import bidirectional_ring, ring
from collectives.algorithms.switch import in_switch
from collectives.algorithms.torus import hierarchical
from collectives.algorithms.trees import binomial_tree, double_binary_tree

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)

ALGORITHMS: dict[str, Algorithm] = COLLECTIVES["all_reduce"]

__all__ = [
    "ALGORITHMS",
    "COLLECTIVES",
    "Algorithm",
    "algorithm",
    "bidirectional_ring",
    "binomial_tree",
    "double_binary_tree",
    "halving_doubling",
    "hierarchical",
    "in_switch",
    "one_shot",
    "recursive_doubling",
    "ring",
    "two_shot",
]
