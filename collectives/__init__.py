"""Chips together, without a workload: collectives as data, what they cost on a topology, what libraries make of them.

Belongs here: topologies (``topology``), schedules (``schedule``, ``algorithms``), their price (``price``) and proof
(``verify``), and the choices of real libraries (``library``). Does not belong here: what one chip does by itself
(``chips``) and which collective a model needs (``scenarios``).
"""
