"""The chips of a point that work together: those left after failures, and by how much each is slower."""

from __future__ import annotations

from collections.abc import Sequence

from cluster import Cluster, Communicator
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.model import shard
from scenarios.point import Point


def working_chips(point: Point) -> Sequence[int]:
    """The numbers of the chips that hold a shard: all, or after failures the first that make a group the model fits.

    A tensor-parallel group cannot run without one of its chips: the model is split anew over the largest count that
    divides it. Raises DoesNotFit where no chip is left.
    """
    failed = set(point.variation.failed)
    if not failed:
        return range(point.count)
    left = [chip for chip in range(point.count) if chip not in failed]
    for ranks in range(len(left), 0, -1):
        try:
            shard(point.model, ranks)
        except ScenarioError:
            continue
        return left[:ranks]
    raise DoesNotFit(f"all of the {point.count} chips have failed")


def cluster_of(point: Point, communicator: Communicator | None = None) -> Cluster:
    """The cluster of a point's working chips; with a ``communicator``, as its rank sees it."""
    working = working_chips(point)
    return Cluster(point.chip, len(working), point.variation.slowdown(working), communicator=communicator)
