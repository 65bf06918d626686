"""Replicas that serve side by side: as fast as the slowest of them, whatever the number."""

from __future__ import annotations

import numpy as np
import pytest

from cluster import Cluster
from loopline import compare
from scenarios.assignment import assign
from scenarios.errors import DoesNotFit
from scenarios.point import make_point
from scenarios.pricing import price
from scenarios.strategies import run_strategy
from scenarios.workload.element_passes import optimizer_step

DIFFER = "clock=0.05,memory=0.02,seed=3,slow-link=0.5@2"


@pytest.mark.parametrize("chip", ["h100", "sn40l"])
@pytest.mark.parametrize("phase", ["decode", "prefill", "request"])
def test_alike_replicas_take_what_one_takes_for_its_share(chip, phase):
    options = {"phase": phase, "context": 64, "strategy": "kernel_loop"}
    many = price([make_point("llama-2-7b", chip, 4000, batch=3000, parallel="tensor=4", **options)]).outcome()
    one = price([make_point("llama-2-7b", chip, 4, batch=3, **options)]).outcome()
    assert many.spent == one.spent
    assert many.bound_seconds == one.bound_seconds


@pytest.mark.parametrize("chip", ["h100", "sn40l"])
@pytest.mark.parametrize("phase", ["decode", "prefill", "request"])
def test_of_replicas_that_differ_the_slowest_sets_the_time(chip, phase):
    """Each alone: the first as a group of its own; the second where a chip of the first has failed."""
    options = {"phase": phase, "context": 64}
    both = price(
        [make_point("llama-2-7b", chip, 8, batch=12, parallel="tensor=4", variation=DIFFER, **options)]
    ).outcome()
    first = price([make_point("llama-2-7b", chip, 4, batch=6, variation=DIFFER, **options)]).outcome()
    second = price(
        [make_point("llama-2-7b", chip, 8, batch=6, parallel="tensor=4", variation=f"{DIFFER},failed=0", **options)]
    ).outcome()
    assert both.ps == max(first.ps, second.ps)
    assert first.ps != second.ps


def test_groups_side_by_side_are_each_as_slow_as_alone():
    """On a pass that is nothing but memory and units: the clocks of many groups against one clock for each."""
    point = make_point("llama-2-7b", "h100", 64, parallel="tensor=2", batch=32, variation=DIFFER)
    chips, step = np.arange(64).reshape(32, 2), optimizer_step(1e9)

    def ran(cluster):
        clock = cluster.start_clock()
        return cluster.meet(clock, run_strategy(clock, cluster, "per_operator", step, "graph", point.framework)).ps

    clusters, places = assign(point).clusters_of_groups(chips, most=5)
    assert len(clusters) > 32 // 5
    together = np.concatenate([np.atleast_1d(ran(each))[:: each.lanes] for each in clusters])[places]
    alone = [int(ran(Cluster(point.chip, 2, point.variation.slowdown(own.tolist())))[0]) for own in chips]
    assert list(together) == alone


def test_a_replica_that_lost_a_chip_leaves_its_requests_to_the_others():
    frame = compare("llama-2-7b", "h100", 12, batch=12, parallel="tensor=4", variation="failed=9")
    whole = compare("llama-2-7b", "h100", 8, batch=12, parallel="tensor=4")
    assert list(frame["seconds"]) == list(whole["seconds"])
    assert set(frame["working"]) == {8}
    with pytest.raises(DoesNotFit, match="none of the 2 replicas"):
        price(
            [make_point("llama-2-7b", "h100", 8, batch=2, parallel="tensor=4", variation="failed=1,failed=7")]
        ).outcome()


def test_more_replicas_serve_more_requests_in_the_same_time():
    frame = compare("llama-3.1-8b", "h100", [8, 100_000], batch=100_000, parallel="tensor=8", strategy="kernel_loop")
    assert list(frame["fits"]) == [False, True]
    few = compare("llama-3.1-8b", "h100", 8, batch=8, strategy="kernel_loop").iloc[0]
    many = frame.iloc[1]
    assert many["seconds"] == few["seconds"]
    assert many["tokens_per_s"] == pytest.approx(12_500 * few["tokens_per_s"])
    assert many["mfu"] == pytest.approx(few["mfu"])


def test_a_split_is_needed_where_the_model_is_too_large_for_a_share():
    point = make_point("llama-3.1-70b", "h100", 64, batch=64, parallel="tensor=1")
    with pytest.raises(DoesNotFit, match=r"[248] chips would hold it"):
        price([point]).outcome()
