"""Chips that hold shares of what they train: bytes by hand, the stages of ZeRO, and gathers that are exposed or not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips.spec import load_gpu
from collectives.libraries.choice import price_collective
from scenarios.assignment import assign
from scenarios.errors import ScenarioError
from scenarios.memory import held_in_training
from scenarios.point import make_point
from scenarios.training.clock import WORK, Bucket, ByPass, Run, Stage, run_step
from scenarios.training.run import run_training, trace_training
from scenarios.training.stages import TrainingStages
from scenarios.workload.sharding import shares, state_bytes

MODEL = "llama-3.1-8b"
EVERY_PASS = ByPass(weights=True, gradients=True)


def trained(count=8, sharding="fsdp", framework="torchtitan", launch="compiled", **options):
    asked = {"batch": count, "context": 2048, "framework": framework, "launch": launch, "sharding": sharding}
    return make_point(MODEL, "h100", count, phase="train", **asked | options)


def run(point):
    return run_training(assign(point))


@pytest.mark.parametrize("sharding", ["fsdp", "hsdp", "zero1", "zero2", "zero3"])
def test_one_chip_has_nothing_to_gather(sharding):
    alone, plain = run(trained(1, sharding)), run(trained(1, "none"))
    assert alone.parts["allreduce"] == 0
    assert alone.ps == plain.ps


def test_what_the_network_moves_is_each_decoder_twice_and_its_gradients():
    """By hand: 16-bit weights forward and, but for the last decoder and what is around, again; fp32 gradients once."""
    assignment = assign(trained())
    model, chip = assignment.point.model, load_gpu("h100")
    decoder, around = model.decoder_parameters, model.around_parameters

    def seconds(operation, payload):
        return float(price_collective(chip, operation, 8, payload, library="nccl").seconds)

    by_hand = (2 * model.layers - 1) * seconds("all_gather", 2 * decoder) + seconds("all_gather", 2 * around)
    by_hand += model.layers * seconds("reduce_scatter", 4 * decoder) + seconds("reduce_scatter", 4 * around)
    moved = sum(event.finish_ps - event.start_ps for event in trace_training(assignment) if event.engine == "network 0")
    assert moved * 1e-12 == pytest.approx(by_hand, rel=1e-6)


def test_copies_of_shares_sum_over_the_network_what_a_domain_has_summed():
    assignment = assign(trained(32, "hsdp"))
    bucket = TrainingStages(assignment).stages[0].runs[0].buckets[0]
    link = load_gpu("h100").link.model_copy(update={"domain": 1})
    chip = load_gpu("h100").model_copy(update={"link": link})
    share = 4 * assignment.point.model.decoder_parameters / 8
    by_hand = float(price_collective(chip, "all_reduce", 4, share, library="nccl").seconds)
    assert bucket.across_ps * 1e-12 == pytest.approx(by_hand, rel=1e-6)
    within = TrainingStages(assign(trained(8, "fsdp"))).stages[0].runs[0].buckets[0]
    assert (bucket.gather_ps, bucket.sum_ps) == (within.gather_ps, within.sum_ps)


@pytest.mark.parametrize(
    ("sharding", "expected"),
    [
        ("none", lambda n: 2 + 4 + 12),
        ("zero1", lambda n: 2 + 4 + 12 / n),
        ("zero2", lambda n: 2 + (4 + 12) / n),
        ("zero3", lambda n: (2 + 4 + 12) / n),
        ("fsdp", lambda n: (4 + 12) / n),
    ],
)
def test_bytes_a_parameter_are_those_of_the_stages_of_zero(sharding, expected):
    """Rajbhandari et al. 2020, figure 1, with fp32 gradients; sharded weights of PyTorch are the fp32 ones."""
    link = load_gpu("h100").link
    assert all(state_bytes(sharding, shares(sharding, n, link, 1), 1) == expected(n) for n in (1, 8, 1024))


def test_each_stage_of_zero_holds_less_than_the_one_before():
    stages = ("none", "zero1", "zero2", "zero3", "fsdp")
    held = [held_in_training(assign(trained(64, each, parallel="tensor=1")))[0] for each in stages]
    assert held == sorted(held, reverse=True)
    assert held[0] > 4 * held[-1]


def in_turn(forward, backward, gather, again, scatter):
    """By hand: a layer ahead, one network in order. ``again``: which decoders are gathered again."""
    free = network = 0
    layers = len(forward)
    there = network = gather
    for layer in range(layers):
        start = max(free, there)
        if layer + 1 < layers:
            network = max(network, start) + gather
            there = network
        free = start + forward[layer]
    there = network
    there = network = max(network, free) + gather if again[layers - 1] else free if network < free else network
    there = there if again[layers - 1] else free
    for layer in reversed(range(layers)):
        start = max(free, there)
        if layer:
            there = start
            if again[layer - 1]:
                network = max(network, start) + gather
                there = network
        free = start + backward[layer]
        network = max(network, free) + scatter
    return max(free, network)


@given(layers=st.integers(1, 6), forward=st.integers(0, 30), gather=st.integers(1, 40), scatter=st.integers(1, 40))
def test_a_step_gathers_a_layer_ahead(layers, forward, gather, scatter):
    last, inner = Bucket(1, scatter, gather), Bucket(1, scatter, gather, gather)
    stage = Stage([Run({"f": forward * layers}, {"b": 2 * forward * layers}, [last, *[inner] * (layers - 1)])], {})
    clock = run_step([stage], 1, 1, 0, overlapped=True, by_pass=EVERY_PASS)
    again = [True] * (layers - 1) + [False]
    assert clock.now.ps == in_turn([forward] * layers, [2 * forward] * layers, gather, again, scatter)


def test_a_host_that_falls_behind_exposes_what_it_gathers():
    """Four decoders, each of 10 and 8 of gathering: a host that needs 14 for each issues the next gather too late."""
    buckets = [Bucket(1, 0, 8)] * 4
    quick, slow = (
        run_step(
            [Stage([Run({"f": 40}, {"b": 0}, buckets, issue=(host, 0))], {})],
            *(1, 1, 0),
            overlapped=True,
            by_pass=EVERY_PASS,
        ).now.ps
        for host in (4, 56)
    )
    assert quick == 8 + 40
    assert slow == 3 * 14 + 8 + 10  # the last is gathered when the host has issued what comes before it


def test_a_pass_beside_a_collective_is_slower_by_what_it_loses_there():
    buckets = [Bucket(1, 0, 0), Bucket(1, 0, 100)]
    stage = Stage([Run({"f": 1000}, {"b": 0}, buckets, lost=(0.2, 0.0))], {})
    clock = run_step([stage], 1, 1, 0, overlapped=True, record=True)
    forward = [event for event in clock.events if event.label == WORK and event.of.kind == "forward"]
    assert [event.finish_ps - event.start_ps for event in forward] == [500, 500]  # nothing is gathered any more
    buckets = [Bucket(1, 0, 100), Bucket(1, 0, 100)]
    stage = Stage([Run({"f": 1000}, {"b": 0}, buckets, lost=(0.2, 0.0))], {})
    clock = run_step([stage], 1, 1, 0, overlapped=True, record=True)
    forward = [event for event in clock.events if event.label == WORK and event.of.kind == "forward"]
    assert [event.finish_ps - event.start_ps for event in forward] == [520, 500]  # 100 of it at four fifths


def test_modules_that_are_compiled_are_faster_than_eager_and_slower_than_without_shares():
    eager, compiled = (run(trained(launch=launch)).ps for launch in ("eager", "compiled"))
    assert compiled < eager
    assert run(trained(sharding="none")).parts["allreduce"] > 0


def test_sharding_belongs_to_training_and_makes_replicas():
    with pytest.raises(ScenarioError, match="--sharding fsdp belongs to --phase train; the phase is decode"):
        make_point(MODEL, "h100", 8, sharding="fsdp")
    assert trained().parallel.tensor == 1
    assert trained(parallel="tensor=2", sharding=None).parallel.tensor == 2
