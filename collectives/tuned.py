"""Algorithms set up for the links at hand, as a library's tuner does: which nodes and sides, how many pieces."""

from __future__ import annotations

from inspect import signature

from collectives.algorithms import COLLECTIVES
from collectives.collective_time import Operation
from collectives.price import price
from collectives.schedule import Schedule
from collectives.step_times import Costs
from collectives.topology import Topology

MOST_PIECES = 1024


def tuned(
    operation: Operation,
    name: str,
    ranks: int,
    topology: Topology,
    payload_bytes: int,
    costs: Costs = Costs(),  # noqa: B008 (a constant)
) -> Schedule:
    """The schedule of an algorithm: in nodes as large as the innermost level, on sides as they are, in as many pieces.

    An algorithm says what can be chosen by the names of its parameters: ``node_ranks``, ``sides`` (where all levels are
    rings or lines that it can use), ``pieces`` (the power of two with which ranks that are ready together end first).
    Raises KeyError for a name that is not known, ValueError where ``price`` does.
    """
    algorithm = COLLECTIVES[operation][name]
    parameters = signature(algorithm).parameters
    levels = len(topology.levels)
    if "node_ranks" in parameters and levels > 1 and ranks % topology.levels[0].size == 0:
        return algorithm(ranks, node_ranks=topology.levels[0].size)
    if "sides" in parameters and levels > 1 and topology.ranks == ranks:
        return _on_sides(operation, name, ranks, topology)
    if "pieces" in parameters:
        counts = [1 << power for power in range(MOST_PIECES.bit_length())]
        schedules = [algorithm(ranks, pieces=count) for count in counts if count <= max(payload_bytes, 1)]
        return min(schedules, key=lambda made: int(price(made, topology, payload_bytes, **costs._asdict()).max()))
    return algorithm(ranks)


def _on_sides(operation: Operation, name: str, ranks: int, topology: Topology) -> Schedule:
    """The torus as it is; where that is not one, or its sides do not suit the algorithm, the algorithm's choice."""
    algorithm = COLLECTIVES[operation][name]
    if all(level.shape in ("ring", "line") for level in topology.levels):
        try:
            return algorithm(ranks, sides=tuple(level.size for level in topology.levels))
        except ValueError:
            pass
    return algorithm(ranks)
