"""Training steps of many chips: pipelines against a closed form and a plain recurrence, replicas against another."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chips.spec import load_chip
from cluster import Cluster, Executor
from loopline import compare
from scenarios.assignment import assign
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.framework import frameworks
from scenarios.memory import assign_fitting, needed_bytes
from scenarios.point import make_point
from scenarios.pricing import price
from scenarios.strategies import run_strategy
from scenarios.training.clock import WORK, Bucket, Run, Stage, run_step
from scenarios.training.run import run_training, trace_training
from scenarios.training.stages import TrainingStages
from scenarios.workload.model import load_model, shard
from scenarios.workload.parallel import Parallel
from scenarios.workload.pipeline_schedule import decoders_of, in_turn, most_kept, needs, parameters_of
from scenarios.workload.recomputation import kept_activation_bytes

SMALL = "tensor=2,pipeline=4"


def trained(count=32, batch=32, parallel=SMALL, model="llama-2-7b", chip="h100", **options):
    return make_point(model, chip, count, phase="train", batch=batch, parallel=parallel, **options)


def run(point):
    return run_training(assign(point))


def plain_stages(durations, buckets=()):
    """Stages from forward and backward picoseconds by stage and chunk, with no optimizer."""
    return [Stage([Run({"f": f}, {"b": b}, buckets) for f, b in chunks], {"o": 0}) for chunks in durations]


@given(
    stages=st.integers(1, 6),
    chunks=st.integers(1, 3),
    groups=st.integers(1, 4),
    forward=st.integers(1, 50),
    backward=st.integers(1, 50),
)
def test_a_pipeline_of_equal_stages_is_its_closed_form(stages, chunks, groups, forward, backward):
    """Narayanan et al. 2021: a bubble of (stages - 1) / chunks of what a stage computes for a micro-batch."""
    chunks = 1 if stages == 1 else chunks
    micro_batches = groups * stages
    clock = run_step(plain_stages([[(forward, backward)] * chunks] * stages), micro_batches, 1, 0, overlapped=True)
    assert clock.now.ps == (forward + backward) * (chunks * micro_batches + stages - 1)


def recurrence(durations, micro_batches):
    """When a pipeline of one run a stage ends: each stage alternates once it has started as many as stages follow."""
    stages = len(durations)
    orders = []
    for stage in range(stages):
        warm = min(stages - 1 - stage, micro_batches)
        order = [("f", number) for number in range(warm)]
        for number in range(micro_batches):
            if warm + number < micro_batches:
                order.append(("f", warm + number))
            order.append(("b", number))
        orders.append(order)
    finish, free, place = {}, [0] * stages, [0] * stages
    while any(place[stage] < len(orders[stage]) for stage in range(stages)):
        for stage, order in enumerate(orders):
            while place[stage] < len(order):
                kind, number = order[place[stage]]
                before = ("f", stage - 1, number) if kind == "f" else ("b", stage + 1, number)
                if not 0 <= before[1] < stages:
                    ready = 0 if kind == "f" else finish["f", stage, number]
                elif before in finish:
                    ready = finish[before]
                else:
                    break
                free[stage] = max(free[stage], ready) + durations[stage][kind == "b"]
                finish[kind, stage, number] = free[stage]
                place[stage] += 1
    return max(free)


@given(
    durations=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=6),
    micro_batches=st.integers(1, 12),
)
def test_a_pipeline_of_unequal_stages_is_its_recurrence(durations, micro_batches):
    clock = run_step(plain_stages([[each] for each in durations]), micro_batches, 1, 0, overlapped=True)
    assert clock.now.ps == recurrence(durations, micro_batches)


@given(stages=st.integers(1, 5), chunks=st.integers(1, 3), groups=st.integers(1, 3))
def test_every_pass_is_run_once_and_after_what_it_needs(stages, chunks, groups):
    chunks = 1 if stages == 1 else chunks
    done = set()
    for item in in_turn(stages, chunks, groups * stages):
        needed = needs(stages, chunks, item)
        assert item not in done
        assert needed is None or needed in done
        done.add(item)
    assert len(done) == 2 * stages * chunks * groups * stages


@given(layers=st.integers(1, 130), runs=st.integers(1, 130))
def test_decoders_are_dealt_evenly_with_fewer_at_the_ends(layers, runs):
    held = decoders_of(layers, min(layers, runs))
    assert sum(held) == layers
    assert max(held) - min(held) <= 1
    assert held[-1] == min(held)


def test_llama_405b_is_dealt_as_it_was():
    """126 decoders in 16 stages of eight, less one in the first and in the last (Llama 3, arXiv 2407.21783)."""
    assert decoders_of(126, 16) == (7, *[8] * 14, 7)


@pytest.mark.parametrize("model", ["llama-2-7b", "llama-3.2-1b", "gpt-175b"])
def test_stages_hold_all_parameters_and_a_tied_embedding_twice(model):
    shape = load_model(model)
    assert sum(parameters_of(shape, 1)) == shape.parameters
    copy = shape.vocabulary * shape.hidden if shape.tied_embeddings else 0
    assert sum(parameters_of(shape, 4)) == shape.parameters + copy


@pytest.mark.parametrize("chip", ["h100", "sn40l"])
@pytest.mark.parametrize("strategy", ["per_operator", "fused_decoder", "kernel_loop"])
def test_one_group_at_once_takes_what_its_passes_take(chip, strategy):
    point = make_point("llama-2-7b", chip, 8, phase="train", batch=2, strategy=strategy)
    whole, alone = run(point), price([point]).outcome()
    assert whole.ps == alone.ps
    assert {label: ps for label, ps in whole.spent.items() if ps} == {
        label: ps for label, ps in alone.spent.items() if ps
    }
    assert whole.bound_seconds == alone.bound_seconds
    assert whole.stream_bytes == alone.stream_bytes


def test_replicas_that_share_nothing_in_time_are_as_fast_as_one():
    buckets = (Bucket(1, 0, 0),)
    durations = [[(3, 5)], [(2, 7)]]
    alone = run_step(plain_stages(durations), 4, 1, 0, overlapped=True)
    shared = run_step(plain_stages(durations, buckets), 4, 3, 0, overlapped=True)
    assert set(np.atleast_1d(shared.now.ps)) == {alone.now.ps}


@given(
    sums=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    gathers=st.integers(0, 20),
    forward=st.integers(4, 50),
    micro_batches=st.integers(1, 4),
)
def test_summing_gradients_beside_the_passes_is_never_slower_and_hides_at_most_the_passes(
    sums, gathers, forward, micro_batches
):
    buckets = [Bucket(1, each, gathers) for each in sums]
    stages = plain_stages([[(forward, 2 * forward)]] * 2, buckets)
    beside, after = (run_step(stages, micro_batches, 1, 0, overlapped=way).now.ps for way in (True, False))
    passes = run_step(plain_stages([[(forward, 2 * forward)]] * 2), micro_batches, 1, 0, overlapped=True).now.ps
    network = sum(sums) + gathers * len(sums)
    assert passes <= beside <= after
    assert after >= passes + sum(sums)
    assert beside >= max(passes + sums[-1], network)


def test_a_slow_replica_holds_up_all_others_only_where_they_meet():
    """One slow chip in one replica: the step takes what it takes when every replica has such a chip."""
    one, all_of_them = (
        run(trained(count=16, parallel="tensor=8", chip="a100", variation=text))
        for text in ("straggler=0.2@3", "straggler=0.2@3,straggler=0.2@11")
    )
    alike = run(trained(count=16, parallel="tensor=8", chip="a100"))
    assert alike.ps < one.ps
    assert one.ps == all_of_them.ps


def test_chips_that_all_differ_are_each_found():
    """A group is as slow among others as alone: each chip of a middle stage, found by its number."""
    point = trained(count=64, variation="clock=0.05,memory=0.05,seed=2")
    stages = TrainingStages(assign(point))
    ahead = stages.work.forward.part(8, 32, begins=False, ends=False)
    forward = stages.stages[1].runs[0].forward
    alone = []
    for chips in stages.chips[1].reshape(-1, 2):
        cluster = Cluster(point.chip, 2, point.variation.slowdown(chips.tolist()))
        clock = cluster.start_clock()
        finish = run_strategy(clock, cluster, point.strategy, ahead, point.launch, point.framework)
        alone.append(int(cluster.meet(clock, finish).ps[0]))
    send = sum(stages.send(1).values())
    assert list(sum(forward.values()) - send) == alone


def test_a_replica_that_lost_a_chip_is_left_out():
    """Its sequences are dealt to the others."""
    broken = run(trained(count=32, batch=96, parallel="tensor=8,micro-batch=8", variation="failed=9"))
    fewer = run(trained(count=24, batch=96, parallel="tensor=8,micro-batch=8"))
    assert broken.ps == fewer.ps
    with pytest.raises(DoesNotFit, match="none of the 2 replicas"):
        run(trained(count=16, parallel="tensor=8", variation="failed=1,failed=8"))


@pytest.mark.parametrize("chip", ["h100", "sn40l"])
def test_more_replicas_of_the_same_share_take_longer_only_by_what_they_exchange(chip):
    few, many = (run(trained(count=8 * n, batch=4 * n, parallel="tensor=8,micro-batch=2", chip=chip)) for n in (2, 32))
    parts, more = few.parts, many.parts
    for part in ("matmul", "attention", "launch"):
        assert more[part] == parts[part]
    assert more["other"] < parts["other"]  # each updates a smaller share of the parameters


def test_the_parts_sum_and_no_step_beats_its_bound():
    frame = compare(
        "llama-2-7b",
        ["h100", "sn40l", "b200"],
        64,
        phase="train",
        batch=64,
        parallel="tensor=4,pipeline=4,interleaved=2",
    )
    assert frame["fits"].all()
    assert (frame["seconds"] >= frame["bound_s"]).all()
    assert frame["mfu"].between(0.1, 1.0).all()
    assert (frame["parallel"] == "tensor=4,pipeline=4,interleaved=2").all()


def test_without_overlap_and_sharing_a_step_is_longer_and_holds_more():
    plain = frameworks()["training"].model_copy(update={"overlaps_gradients": False})
    whole = frameworks()["training"].model_copy(update={"sharding": "none"})
    point = trained(count=64, batch=64)
    assert run(replace(point, framework=plain)).ps > run(point).ps
    assert run(replace(point, framework=whole)).parts["other"] > run(point).parts["other"]
    more = needed_bytes(assign(replace(point, framework=whole))) - needed_bytes(assign(point))
    heaviest = max(parameters_of(point.model, 4)) / 2
    assert more == pytest.approx(heaviest * 12 * (1 - 1 / 8))


def test_a_gpt_keeps_the_activations_that_were_counted_for_it():
    """Korthikanti et al. 2022, table 2: s b h (10 + 24 / t), under sequence parallelism s b h 34 / t."""
    model, tokens = load_model("gpt-175b"), 2048
    split = shard(model, 8)
    plain, sequence = (
        kept_activation_bytes(model, split, 1, tokens, "selective", sequence=way, dropout=True) for way in (False, True)
    )
    assert plain == tokens * model.hidden * (10 + 24 / 8)
    assert sequence == tokens * model.hidden * 34 / 8


@given(stages=st.integers(1, 5), chunks=st.integers(1, 3), groups=st.integers(1, 4))
def test_a_stage_keeps_no_more_than_is_under_way(stages, chunks, groups):
    chunks = 1 if stages == 1 else chunks
    under_way, most = [0] * stages, [0] * stages
    for item in in_turn(stages, chunks, groups * stages):
        under_way[item.stage] += -1 if item.backward else 1
        most[item.stage] = max(most[item.stage], under_way[item.stage])
    assert most == [most_kept(stages, chunks, groups * stages, stage, [1] * stages * chunks) for stage in range(stages)]


def test_a_trace_shows_every_pass_of_every_stage_in_order():
    point = trained(count=16, batch=16, parallel="tensor=2,pipeline=4", variation="straggler=0.5@9")
    events = trace_training(assign(point))
    passes = [event for event in events if event.label == WORK and event.of.micro_batch is not None]
    assert {event.engine for event in passes} == {f"stage {number}" for number in range(4)}
    for stage in range(4):
        own = [event for event in events if event.engine == f"stage {stage}"]
        assert all(one.finish_ps <= other.start_ps for one, other in pairwise(own))
    assert max(event.finish_ps for event in events) == run(point).ps


@given(
    st.builds(
        Parallel,
        tensor=st.integers(0, 9),
        pipeline=st.integers(1, 9),
        context=st.integers(1, 3),
        micro_batch=st.integers(0, 5),
        interleaved=st.integers(1, 4),
        recompute=st.sampled_from(["none", "selective", "operators", "layers", "full"]),
        sequence=st.booleans(),
    )
)
def test_a_split_is_its_text(split):
    assert Parallel.parse(str(split)) == split


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parallel": "tensor=2,pipline=4"}, "'pipline=4' is not understood; expected items of tensor=CHIPS"),
        ({"parallel": "tensor=2,tensor=4"}, "says tensor twice"),
        ({"parallel": "tensor=0"}, "'tensor=0' is not understood"),
        ({"count": 63}, "--count 63 is none; 56 or 64 is one"),
        ({"batch": 30}, "--batch 30 cannot be dealt to 4 replicas in micro-batches of 1; 28 or 32 is one"),
        ({"parallel": "tensor=2,pipeline=16,interleaved=3"}, "48 runs of decoders; llama-2-7b has 32"),
        ({"parallel": "tensor=2,pipeline=4,interleaved=2", "batch": 24}, "in a multiple of their number"),
        ({"parallel": "tensor=2,interleaved=2"}, "here are 1 stages"),
        ({"parallel": "tensor=2,context=4", "context": 4094}, "--context 4094 cannot be shared by 4"),
    ],
)
def test_a_split_that_does_not_divide_is_refused_in_a_sentence(options, words):
    with pytest.raises(ScenarioError, match=words):
        trained(**({"count": 32, "batch": 32} | options))


def test_inference_shares_no_sequence_and_ranks_are_of_one_group():
    with pytest.raises(ScenarioError, match="it belongs to --phase train, not decode"):
        make_point("llama-2-7b", "h100", 8, parallel="tensor=2,context=2")
    with pytest.raises(ScenarioError, match="--executor mpi runs the ranks of one tensor-parallel group"):
        compare("llama-2-7b", "h100", 8, phase="train", batch=8, parallel="tensor=2", executor=Executor("mpi"))


def test_what_does_not_fit_says_what_needs_less():
    with pytest.raises(DoesNotFit, match=r"needs [\d.,]+ GB a chip on 16 x h100.*--count 128 --parallel tensor=8"):
        assign_fitting(trained(model="llama-3.1-405b", count=16, batch=16, parallel="tensor=8,pipeline=2"))


@settings(max_examples=20)
@given(
    tensor=st.sampled_from([1, 2, 4, 8]),
    pipeline=st.sampled_from([1, 2, 4]),
    replicas=st.sampled_from([1, 2, 16]),
    recompute=st.sampled_from(["none", "selective", "operators", "layers", "full"]),
    chip=st.sampled_from(["h100", "a100", "sn40l"]),
)
def test_a_step_is_never_below_the_flops_of_its_model(tensor, pipeline, replicas, recompute, chip):
    count = tensor * pipeline * replicas
    parallel = f"tensor={tensor},pipeline={pipeline},micro-batch=1,recompute={recompute}"
    point = trained(count=count, batch=4 * replicas, parallel=parallel, chip=chip)
    flops = 6 * point.model.parameters * 4 * replicas * point.context * 0.9
    assert run(point).seconds > flops / (count * load_chip(chip).peak_flops("bf16"))
