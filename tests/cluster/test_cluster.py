"""Clusters: what is refused, and that differing chips meet where they communicate."""

from __future__ import annotations

import numpy as np
import pytest

from chips import load_chip
from cluster import Cluster, start_clock


@pytest.mark.parametrize(
    ("count", "slowdown", "words"),
    [(0, None, "0 chips"), (2, np.ones(3), r"\(3,\)"), (2, np.array([1.0, 0.5]), "0.5 is faster")],
)
def test_an_impossible_cluster_is_refused(count, slowdown, words):
    with pytest.raises(ValueError, match=words):
        Cluster(load_chip("h100"), count, slowdown=slowdown)


def test_alike_chips_collapse_to_one_lane():
    assert start_clock(Cluster(load_chip("h100"), 1000)).chips == 1
    assert start_clock(Cluster(load_chip("h100"), 3, slowdown=np.ones(3))).chips == 3


def test_a_slow_chip_holds_up_the_others_only_where_they_meet():
    cluster = Cluster(load_chip("h100"), 3, slowdown=np.array([1.0, 1.5, 1.0]))
    clock = start_clock(cluster)
    done = clock.task(clock.engine("compute"), cluster.stretch(1000), label="work")
    assert list(done.ps) == [1000, 1500, 1000]
    assert list(cluster.meet(clock, done).ps) == [1500, 1500, 1500]
