"""The chips of a point that work together: those left after failures, and by how much each is slower."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cluster import Cluster, Communicator
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.model import shard
from scenarios.point import Point


def working_chips(point: Point) -> Sequence[int]:
    """The numbers of the chips that hold a shard: all, or after failures the first that make a group the model fits.

    A tensor-parallel group cannot run without one of its chips: the model is split anew over the largest count that
    divides it. Of several replicas, one that has lost a chip is left out. Raises DoesNotFit where no chip is left.
    """
    failed = set(point.variation.failed)
    if not failed:
        return range(point.count)
    if not point.one_group:
        return sorted(int(chip) for stage in chips_of_stages(point) for chip in stage.flat)
    left = [chip for chip in range(point.count) if chip not in failed]
    for ranks in range(len(left), 0, -1):
        try:
            shard(point.model, ranks)
        except ScenarioError:
            continue
        return left[:ranks]
    raise DoesNotFit(f"all of the {point.count} chips have failed")


def chips_of_stages(point: Point) -> list[NDArray[np.int64]]:
    """The numbers of the chips of each stage: arrays of (replicas that work, context groups, tensor ranks).

    Raises DoesNotFit where no replica has all of its chips.
    """
    split = point.split
    shape = (split.pipeline, split.replicas(point.count), split.context, split.tensor)
    chips = np.arange(point.count).reshape(shape)
    whole = ~np.isin(chips, point.variation.failed).any(axis=(0, 2, 3))
    if not whole.any():
        raise DoesNotFit(f"none of the {shape[1]} replicas on {point.count} chips has all of its chips left")
    return list(chips[:, whole])


def cluster_of(point: Point, communicator: Communicator | None = None) -> Cluster:
    """The cluster of a point's working chips; with a ``communicator``, as its rank sees it."""
    working = working_chips(point)
    return Cluster(point.chip, len(working), point.variation.slowdown(working), communicator=communicator)
