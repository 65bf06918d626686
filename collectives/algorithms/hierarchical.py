"""Hierarchical: reduce inside every node, AllReduce between the nodes, gather inside."""

from __future__ import annotations

import numpy as np

from collectives.schedule import Messages, Phase, Schedule


def hierarchical(ranks: int, node_ranks: int) -> Schedule:
    """AllReduce by rings in nodes of ``node_ranks``, and rings between the ranks at one place in all nodes.

    2(g-1) steps of n/g bytes inside, 2(k-1) of n/(g k) between k nodes. Raises ValueError if nodes are not full.
    """
    if ranks % node_ranks:
        raise ValueError(f"{ranks} ranks do not fill nodes of {node_ranks}; a multiple of {node_ranks} would.")
    nodes = ranks // node_ranks
    rank = np.arange(ranks)
    node, place = np.divmod(rank, node_ranks)
    inside = node * node_ranks + (place + 1) % node_ranks
    between = (rank + node_ranks) % ranks
    own = (place + 1) % node_ranks * nodes

    def scatter(step: int) -> Messages:
        return Messages(rank, inside, (place - step) % node_ranks * nodes, nodes, reduce=True)

    def scatter_between(step: int) -> Messages:
        return Messages(rank, between, own + (node - step) % nodes, 1, reduce=True)

    def gather_between(step: int) -> Messages:
        return Messages(rank, between, own + (node + 1 - step) % nodes, 1, reduce=False)

    def gather(step: int) -> Messages:
        return Messages(rank, inside, (place + 1 - step) % node_ranks * nodes, nodes, reduce=False)

    phases = (
        Phase(node_ranks - 1, scatter),
        Phase(nodes - 1, scatter_between),
        Phase(nodes - 1, gather_between),
        Phase(node_ranks - 1, gather),
    )
    return Schedule("hierarchical", ranks, ranks, phases)
