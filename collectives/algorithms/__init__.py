"""AllReduce algorithms: each is one function from a number of ranks to its schedule.

Adding one is adding a function and its name to ``ALGORITHMS``.
"""

from collectives.algorithms.direct import one_shot, two_shot
from collectives.algorithms.doubling import recursive_doubling
from collectives.algorithms.hierarchical import hierarchical
from collectives.algorithms.ring import ring
from collectives.algorithms.switch import in_switch

ALGORITHMS = {
    "ring": ring,
    "one_shot": one_shot,
    "two_shot": two_shot,
    "in_switch": in_switch,
    "recursive_doubling": recursive_doubling,
}

__all__ = ["ALGORITHMS", "hierarchical", "in_switch", "one_shot", "recursive_doubling", "ring", "two_shot"]
