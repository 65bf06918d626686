"""Chips, their links and an executor. Imports ``collectives`` and ``chips``; knows nothing of models or strategies.

Belongs here: how many chips work together, how they differ from one another, and where their clocks run. The local
executor keeps all chips in this process; chips that are all alike collapse to one.
"""

from cluster.cluster import Cluster
from cluster.communicator import Communicator
from cluster.errors import ClusterError
from cluster.ranks import LOCAL, Executor, run_ranks
from cluster.variation import Slow, Slowdown, Variation

__all__ = ["LOCAL", "Cluster", "ClusterError", "Communicator", "Executor", "Slow", "Slowdown", "Variation", "run_ranks"]
