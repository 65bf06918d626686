"""Chips together, without a workload: collectives as data, what they cost on a topology, what libraries make of them.

Belongs here: topologies and the ways through them (``topology``, ``routing``), schedules (``schedule``, ``algorithms``,
``tuned`` for the links at hand), their price (``step_times``, ``price``), proof (``verify``) and execution between MPI
ranks (``mpi``), and the choices of real libraries (``library``). Does not belong here: what one chip does by itself
(``chips``) and which collective a model needs (``scenarios``).
"""
