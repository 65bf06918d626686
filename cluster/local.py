"""The local executor: every chip of a cluster in this process, on one vectorised clock."""

from __future__ import annotations

from chips.timeline import Timeline
from cluster.cluster import Cluster


def start_clock(cluster: Cluster, *, record: bool = False) -> Timeline:
    """A clock for ``cluster``: one lane a chip, or a single lane for all of them when all are alike.

    Alike chips that start together stay together, so that one stands for all, exactly.
    """
    alike = cluster.slowdown is None
    return Timeline(chips=1 if alike else cluster.count, record=record)
