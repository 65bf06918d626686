"""An assignment: a point resolved, once, into the chips that work, their layout, the shard of each, their cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cluster import Cluster, Communicator, Slowdown
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.point import WHOLE, Point
from scenarios.workload.model import Shard, shard
from scenarios.workload.parallel import Parallel

MOST_SIDE_BY_SIDE = 2**14  # groups on one clock


@dataclass(frozen=True)
class Assignment:
    """The work of a point dealt to its chips; made by ``assign``.

    ``layout``: how they share it, every number known. ``working``: the numbers of the chips that hold a shard: all, or
    after failures the first that make a group the model fits; of several replicas, those of whole ones. ``shard``: what
    each of a tensor-parallel group holds.
    """

    point: Point
    layout: Parallel
    working: Sequence[int]
    shard: Shard

    @property
    def one_group(self) -> bool:
        """Whether all chips are one tensor-parallel group that computes the whole batch at once."""
        return _one_group(self.point, self.layout)

    @property
    def without_stages(self) -> bool:
        """Whether each replica computes its whole share of the batch at once."""
        replicas = self.layout.replicas(self.point.count)
        return self.layout.pipeline == 1 and self.layout.micro_batch * replicas == self.point.batch

    @property
    def replica(self) -> Point:
        """One tensor-parallel group with what it computes at a time, of the replicas that serve beside each other.

        Of replicas without stages those that work have a share each of the whole batch.
        """
        share = -(-self.point.batch // len(self.chips_of_stages[0]))
        batch = share if self.without_stages else self.layout.micro_batch
        return replace(self.point, count=self.layout.tensor, batch=batch, parallel=WHOLE)

    @cached_property
    def chips_of_stages(self) -> list[NDArray[np.int64]]:
        """The numbers of the chips of each stage: arrays of (replicas that work, context groups, tensor ranks)."""
        return _chips_of_stages(self.point, self.layout)

    def cluster(self, communicator: Communicator | None = None) -> Cluster:
        """The cluster of the working chips; with a ``communicator``, as its rank sees it."""
        point = self.point
        slowdown = point.variation.slowdown(self.working)
        return Cluster(point.chip, len(self.working), slowdown, communicator=communicator)

    def clusters_of_groups(
        self, chips: NDArray[np.int64], most: int = MOST_SIDE_BY_SIDE
    ) -> tuple[list[Cluster], NDArray[np.intp]]:
        """Clusters for the groups of ``chips`` (groups, ranks), and which of all their passes each group is.

        Groups that are slowed alike are one. A cluster has up to ``most`` groups with the same slowest link side by
        side, each as a pass.
        """
        chip, (groups, ranks) = self.point.chip, chips.shape
        slowdown = self.point.variation.slowdown(chips.ravel().tolist())
        if slowdown is None:
            return [Cluster(chip, ranks)], np.zeros(groups, np.intp)
        factors = np.stack([slowdown.link, slowdown.clock, slowdown.memory]).reshape(3, groups, ranks)
        slowest = factors[0].max(axis=1)
        # Sorted by the slowest link first, so that groups that share one lie together.
        keys = np.column_stack([slowest, factors.transpose(1, 0, 2).reshape(groups, -1)])
        _, first, places = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        clusters = []
        for own_groups in _alike(slowest[first], most):
            own = factors[:, first[own_groups], :].reshape(3, -1)
            clusters.append(Cluster(chip, ranks, Slowdown(own[1], own[2], own[0]), passes=own_groups.size))
        return clusters, places.ravel()


def assign(point: Point) -> Assignment:
    """Resolve a point. Raises DoesNotFit where too few chips are left, ScenarioError where the model does not split."""
    trains = point.phase == "train"
    layout = point.parallel.of(point.count, point.batch, point.context, point.model, trains=trains)
    if not _one_group(point, layout):
        working: Sequence[int] = range(point.count)
        if point.variation.failed:
            working = sorted(int(chip) for stage in _chips_of_stages(point, layout) for chip in stage.flat)
        return Assignment(point, layout, working, shard(point.model, layout.tensor))
    working = _largest_group(point) if point.variation.failed else range(point.count)
    return Assignment(point, layout, working, shard(point.model, len(working)))


def _one_group(point: Point, layout: Parallel) -> bool:
    return point.parallel == WHOLE or layout.at_once(point.count, point.batch)


def _largest_group(point: Point) -> Sequence[int]:
    """A tensor-parallel group cannot run without one of its chips: the model is split anew over those that are left."""
    failed = set(point.variation.failed)
    left = [chip for chip in range(point.count) if chip not in failed]
    for ranks in range(len(left), 0, -1):
        try:
            shard(point.model, ranks)
        except ScenarioError:
            continue
        return left[:ranks]
    raise DoesNotFit(f"all of the {point.count} chips have failed")


def _chips_of_stages(point: Point, layout: Parallel) -> list[NDArray[np.int64]]:
    shape = (layout.pipeline, layout.replicas(point.count), layout.context, layout.tensor)
    chips = np.arange(point.count).reshape(shape)
    whole = ~np.isin(chips, point.variation.failed).any(axis=(0, 2, 3))
    if not whole.any():
        raise DoesNotFit(f"none of the {shape[1]} replicas on {point.count} chips has all of its chips left")
    return list(chips[:, whole])


def _alike(links: NDArray[np.float64], most: int) -> Iterator[NDArray[np.intp]]:
    """The places of equal values that follow each other, at most so many at a time."""
    for link in np.unique(links):
        alike = np.flatnonzero(links == link)
        for begin in range(0, alike.size, most):
            yield alike[begin : begin + most]
