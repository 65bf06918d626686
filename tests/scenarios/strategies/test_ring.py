"""Attention of groups that share a sequence: keys pass round a ring, beside the rounds and on the clock."""

from __future__ import annotations

import pytest

from chips.spec import load_gpu
from cluster import Cluster
from collectives.libraries.choice import price_collective
from scenarios.framework import frameworks
from scenarios.strategies.gpu.kernel_prices import gpu_group
from scenarios.strategies.one_pass import run_pass
from scenarios.workload.model import load_model, shard
from scenarios.workload.operators import Attention, Elementwise, Segment, Step
from scenarios.workload.training_step import Recipe, training_step

MODEL, GROUPS, TOKENS = load_model("llama-3.1-8b"), 4, 16384
CHIP, FRAMEWORK = load_gpu("h100"), frameworks()["nemo"]


def attention(groups=GROUPS, way="forward"):
    step = getattr(training_step(MODEL, shard(MODEL, 1), 1, TOKENS, "bf16", Recipe(), context_parallel=groups), way)
    return next(each for each in step.decoders[0].operators if isinstance(each, Attention))


def seconds_of(chip, operator):
    return sum(run_pass(chip, 1, "per_operator", "graph", FRAMEWORK, Step((Segment((operator,)),))).values()) * 1e-12


@pytest.mark.parametrize("way", ["forward", "backward"])
def test_rounds_compute_what_the_whole_computes(way):
    """Every group: its own triangle and half of each other block; without a ring the same FLOPs a token."""
    whole = attention(way=way)
    assert GROUPS * whole.round.flops == pytest.approx(whole.flops, rel=1e-3)
    assert GROUPS * whole.flops == pytest.approx(attention(1, way).flops, rel=1e-3)


def test_a_group_passes_on_its_keys_and_values_and_with_them_their_gradients():
    own = 2 * (TOKENS // GROUPS) * MODEL.kv_heads * MODEL.head_dim * 2
    assert attention().passed_bytes == own
    assert attention(way="backward").passed_bytes == 2 * own


@pytest.mark.parametrize("slower", [1.0, 100.0])
def test_a_ring_is_its_recurrence(slower):
    """Each round starts when its keys are there and the round before is done: hidden on fast links, exposed on slow."""
    link = CHIP.link.model_copy(update={"bandwidth": CHIP.link.bandwidth / slower})
    chip, ring = CHIP.model_copy(update={"link": link}), attention()
    group = gpu_group(chip, Cluster(chip, 1), FRAMEWORK)
    sent = float(price_collective(chip, "send_receive", GROUPS, ring.passed_bytes, library="nccl").seconds)
    assert group.ring_ps(ring) * 1e-12 == pytest.approx(sent, rel=1e-6)
    elements = ring.batch * ring.tokens * ring.heads * ring.head_dim
    join = Elementwise("join", 6.0 * elements, 4.0 * elements, 2.0 * elements, part="attention")
    nothing = seconds_of(chip, Elementwise("nothing", 0.0, 0.0, 0.0))
    begin = nothing - seconds_of_kernel(group, Elementwise("nothing", 0.0, 0.0, 0.0))
    part, joined = (seconds_of_kernel(group, each) for each in (ring.round, join))
    arrived, done = begin, begin + part
    for _ in range(GROUPS - 1):
        arrived += sent
        done = max(done, arrived) + part + joined
    assert seconds_of(chip, ring) == pytest.approx(done, rel=1e-3)
    hidden = begin + GROUPS * part + (GROUPS - 1) * joined
    assert (done > 1.1 * hidden) == (slower > 1)


def seconds_of_kernel(group, operator):
    """A kernel with the gap before it."""
    return group.price(operator).whole * 1e-12 + group.chip.generation.launch.graph_gap
