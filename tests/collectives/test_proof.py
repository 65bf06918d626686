"""Schedules on links of one's own, asked from Python: named topologies, proofs, stragglers, steps."""

from __future__ import annotations

import numpy as np
import pytest

from collectives.errors import CollectiveError
from collectives.proof import Question, algorithms_of, prove, step_clocks
from collectives.step_times import Costs
from collectives.topology import fat_tree, switched, torus
from collectives.topology_name import EXAMPLES, named_topology
from collectives.verify import ScheduleError
from scenarios.commands.machines.schedule import TOPOLOGIES


def question(ranks: int = 8, late_ps: int = 0, links=None) -> Question:
    ready = np.zeros(ranks, dtype=np.int64)
    ready[-1] = late_ps
    return Question(links or switched(ranks, 50e9, 1e-6), 2**20, Costs(), ready)


@pytest.mark.parametrize(
    ("name", "ranks", "made"),
    [
        ("switch", None, switched(8, 50e9, 1e-6)),
        ("ring", 5, torus((5,), 50e9, 1e-6)),
        ("torus:4x2", None, torus((4, 2), 50e9, 1e-6)),
        ("mesh:4x2", 8, torus((4, 2), 50e9, 1e-6, wraps=False)),
        ("fat_tree:8x4", 9, fat_tree((8, 4), 50e9, 1e-6)),
    ],
)
def test_a_name_gives_the_topology_of_the_constructor(name, ranks, made):
    assert named_topology(name, ranks) == made


def test_every_topology_that_the_help_names_can_be_made():
    assert TOPOLOGIES.replace(" |", ",") == EXAMPLES
    assert all(named_topology(name).ranks >= 8 for name in EXAMPLES.split(", "))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"text": "star"}, "--topology star: expected switch"),
        ({"text": "torus"}, "expected its sides, as in torus:4x4"),
        ({"text": "torus:2x2", "ranks": 5}, "torus:2x2 has 4 ranks"),
        ({"text": "ring", "bandwidth": 0.0}, "must be above 0"),
        ({"text": "fat_tree:2x2", "oversubscription": 0.5}, "at least 1"),
    ],
)
def test_a_topology_that_cannot_be_is_refused(asked, sentence):
    with pytest.raises(CollectiveError, match=sentence):
        named_topology(**asked)


def test_a_proof_counts_what_the_busiest_rank_sends_and_how_late_a_straggler_makes_it():
    _, on_time = prove("all_reduce", "ring", question())
    _, late = prove("all_reduce", "ring", question(late_ps=20_000_000))
    assert on_time.verified == "yes"
    assert on_time.sent_bytes == 2 * 7 * 2**20 // 8
    assert on_time.lateness_seconds == 0
    assert late.seconds == pytest.approx(on_time.seconds + late.lateness_seconds)


def test_what_cannot_run_says_why():
    with pytest.raises(CollectiveError, match="is for 9 ranks, the topology has 8"):
        prove("all_reduce", "double_binary_tree", question(9, links=switched(8, 50e9, 1e-6)))
    with pytest.raises(ScheduleError, match="no link from rank"):
        prove("all_reduce", "two_shot", question(links=named_topology("ring", 8, forwarding=False)))
    with pytest.raises(CollectiveError, match="'rung' is not known"):
        algorithms_of("all_reduce", ["rung"])


def test_the_last_step_ends_when_the_schedule_does():
    made, proof = prove("all_reduce", "ring", question(late_ps=20_000_000))
    steps = step_clocks(made, question(late_ps=20_000_000))
    assert steps.clocks.shape == (proof.steps + 1, 8)
    assert steps.clocks[0].max() == pytest.approx(20e-6)
    assert steps.clocks[-1].max() == pytest.approx(proof.seconds)
    assert steps.reduces.sum() == 7
