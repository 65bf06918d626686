"""Chips, their links and an executor. Imports ``collectives`` and ``chips``; knows nothing of models or strategies.

Belongs here: how many chips work together and how they differ (``cluster``, ``variation``), what a rank sees of the
others (``communicator``), where ranks run (``ranks``): as threads of this process, as MPI processes, as Ray actors; and
AllReduces between MPI ranks (``allreduce``).
"""

from cluster.cluster import Cluster
from cluster.communicator import Communicator
from cluster.errors import ClusterError
from cluster.ranks import LOCAL, Executor, run_ranks
from cluster.variation import Slow, Slowdown, Variation

__all__ = ["LOCAL", "Cluster", "ClusterError", "Communicator", "Executor", "Slow", "Slowdown", "Variation", "run_ranks"]
