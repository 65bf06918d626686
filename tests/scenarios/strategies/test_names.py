"""What operators are called decides nothing: with other names every strategy takes as long and moves as much."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from cluster import Cluster
from scenarios.anatomy.hbm_and_power import hbm_bandwidth, power
from scenarios.assignment import assign
from scenarios.errors import DoesNotFit
from scenarios.framework import frameworks
from scenarios.point import make_point
from scenarios.strategies import STRATEGIES, run_strategy
from scenarios.workload import training_step
from scenarios.workload.decoder import forward
from scenarios.workload.model import load_model, shard
from scenarios.workload.operators import Step

MODEL, RANKS = load_model("llama-3.2-1b").model_copy(update={"layers": 2}), 4
SHARD = shard(MODEL, RANKS)
FUSED, APART = {"fused_attention": True}, {"fused_attention": False, "fused_add": False, "fused_loss": False}


def renamed(step, numbers):
    """The same operators under names that say something else."""

    def other(segment):
        called = (
            replace(each, name=f"layer {next(numbers)}/norm to FP8 weight gradient") for each in segment.operators
        )
        return replace(segment, operators=tuple(called))

    return Step(tuple(map(other, step.segments)))


def trained(precision, **options):
    work = training_step.training_step(MODEL, SHARD, 2, 512, precision, training_step.Recipe(sequence=True, **options))
    return [work.forward, work.backward, work.optimizer]


@pytest.mark.parametrize("phase", ["decode", "prefill", "train"])
@pytest.mark.parametrize(
    ("chip", "options"),  # a dataflow chip has no framework that computes attention in several kernels
    [("h100", FUSED), ("h100", APART | {"recompute": "full"}), ("sn40l", FUSED)],
    ids=["h100", "h100-apart", "sn40l"],
)
def test_other_names_take_as_long_and_move_as_much(chip, phase, options, monkeypatch):
    numbers = count()
    if phase == "train":
        precision = "fp8" if chip == "h100" else "bf16"
        steps = trained(precision, **options)
        monkeypatch.setattr(training_step, "forward", lambda *given, **more: renamed(forward(*given, **more), numbers))
        others = [renamed(step, numbers) for step in trained(precision, **options)]
    else:
        tokens = 1 if phase == "decode" else 1024
        steps = [forward(MODEL, SHARD, 2, tokens, 1024, fused_attention=options["fused_attention"])]
        others = [renamed(step, numbers) for step in steps]
    point = make_point(MODEL, chip, RANKS)
    for strategy in STRATEGIES:
        own = replace(point, strategy=strategy)
        for step, other in zip(steps, others, strict=True):
            for framework in ("tensorrt-llm-2024", "nemo") if chip == "h100" else ("tensorrt-llm-2024",):
                assert ran(own, step, framework) == ran(own, other, framework)


def ran(point, step, framework):
    """When a pass ends, what of, and its HBM traffic and power; or why it does not fit."""
    clock = Cluster(point.chip, RANKS).start_clock(record=True)
    try:
        done = run_strategy(
            clock, Cluster(point.chip, RANKS), point.strategy, step, point.launch, frameworks()[framework]
        )
    except DoesNotFit as refusal:
        return str(refusal)
    assignment, passes = assign(point), [(step, clock.events)]
    series = [hbm_bandwidth(assignment, passes), power(assignment, passes)]
    drawn = [(each.times_ps.tolist(), each.values.tolist()) for each in series if each is not None]
    return np.max(done.ps), done.parts, drawn
