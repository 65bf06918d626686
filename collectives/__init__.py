"""Chips together, without a workload: collectives as data, what they cost on a topology, what libraries make of them.

Belongs here: topologies, their names and the ways through them (``topology``, ``routing``), schedules (``schedule``,
``algorithms``, ``tuned`` for the links at hand), their price (``step_times``, ``price``), proof (``verify``,
``proof``) and execution between MPI ranks (``mpi``), the choices of real libraries (``libraries``), and AllReduces of
a chip's own kind (``links``, ``all_reduce``, ``crossovers``). Does not belong here: what one chip does by itself
(``chips``) and which collective a model needs (``scenarios``).
"""

from collectives.algorithms import ALGORITHMS, algorithm
from collectives.libraries.choice import price_collective
from collectives.price import price
from collectives.schedule import Schedule, once
from collectives.topology import Topology, fat_tree, fully_connected, switched, torus
from collectives.verify import execute, verify

__all__ = [
    "ALGORITHMS",
    "Schedule",
    "Topology",
    "algorithm",
    "execute",
    "fat_tree",
    "fully_connected",
    "once",
    "price",
    "price_collective",
    "switched",
    "torus",
    "verify",
]
