"""The chips of a point that work together: those left after failures, and by how much each is slower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cluster import Cluster, Communicator, Slowdown
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.point import Point
from scenarios.workload.model import shard

MOST_SIDE_BY_SIDE = 2**14  # groups on one clock


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
    layout = point.layout
    shape = (layout.pipeline, layout.replicas(point.count), layout.context, layout.tensor)
    chips = np.arange(point.count).reshape(shape)
    whole = ~np.isin(chips, point.variation.failed).any(axis=(0, 2, 3))
    if not whole.any():
        raise DoesNotFit(f"none of the {shape[1]} replicas on {point.count} chips has all of its chips left")
    return list(chips[:, whole])


def cluster_of(point: Point, communicator: Communicator | None = None) -> Cluster:
    """The cluster of a point's working chips; with a ``communicator``, as its rank sees it."""
    working = working_chips(point)
    return Cluster(point.chip, len(working), point.variation.slowdown(working), communicator=communicator)


def clusters_of_groups(
    point: Point, chips: NDArray[np.int64], most: int = MOST_SIDE_BY_SIDE
) -> tuple[list[Cluster], NDArray[np.intp]]:
    """Clusters for the groups of ``chips`` (groups, ranks), and which of all their passes each group is.

    Groups that are slowed alike are one. A cluster has up to ``most`` groups with the same slowest link side by side,
    each as a pass.
    """
    groups, ranks = chips.shape
    slowdown = point.variation.slowdown(chips.ravel().tolist())
    if slowdown is None:
        return [Cluster(point.chip, ranks)], np.zeros(groups, np.intp)
    factors = np.stack([slowdown.link, slowdown.clock, slowdown.memory]).reshape(3, groups, ranks)
    slowest = factors[0].max(axis=1)
    # Sorted by the slowest link first, so that groups that share one lie together.
    keys = np.column_stack([slowest, factors.transpose(1, 0, 2).reshape(groups, -1)])
    _, first, places = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    clusters = []
    for own_groups in _alike(slowest[first], most):
        own = factors[:, first[own_groups], :].reshape(3, -1)
        clusters.append(Cluster(point.chip, ranks, Slowdown(own[1], own[2], own[0]), passes=own_groups.size))
    return clusters, places.ravel()


def _alike(links: NDArray[np.float64], most: int) -> Iterator[NDArray[np.intp]]:
    """The places of equal values that follow each other, at most so many at a time."""
    for link in np.unique(links):
        alike = np.flatnonzero(links == link)
        for begin in range(0, alike.size, most):
            yield alike[begin : begin + most]
