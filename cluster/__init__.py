"""Chips, their links and an executor. Imports ``collectives`` and ``chips``; knows nothing of models or strategies.

Belongs here: how many chips work together, how they differ from one another, and where their clocks run. The local
executor keeps all chips in this process; chips that are all alike collapse to one.
"""

from cluster.cluster import Cluster
from cluster.communicator import Communicator
from cluster.errors import ClusterError
from cluster.local import start_clock
from cluster.ranks import Executor, run_ranks

__all__ = ["Cluster", "ClusterError", "Communicator", "Executor", "run_ranks", "start_clock"]
