"""Steps of replicas that are alike: the plain integers against the clock, to the picosecond."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.assignment import assign
from scenarios.point import make_point
from scenarios.training.alike_clock import run_alike_step
from scenarios.training.clock import GRADIENTS, WORK, Bucket, Run, Stage, run_step
from scenarios.training.run import run_training
from scenarios.training.stages import TrainingStages

PS = st.integers(0, 40)


def told(time):
    return time.ps, time.parts.get(GRADIENTS, 0), time.parts.get(WORK, 0)


@st.composite
def steps(draw):
    """Stages and a number of micro-batches: all stages alike or not, with gradients to share or without."""
    count = draw(st.integers(1, 6))
    chunks = draw(st.integers(1, 3)) if count > 1 else 1
    micro_batches = draw(st.integers(1, 40)) if chunks == 1 else count * draw(st.integers(1, 7))
    least = draw(st.integers(0, 1))  # buckets of every run: all chips share their gradients, or none does
    buckets = st.lists(st.builds(Bucket, st.integers(1, 3), PS, PS), min_size=least, max_size=3 * least)
    lost = st.sampled_from([(0.0, 0.0), (0.25, 0.125), (0.0, 0.5)])
    run = st.builds(Run, st.fixed_dictionaries({"f": PS}), st.fixed_dictionaries({"b": PS, "s": PS}), buckets, lost)
    stage = st.builds(Stage, st.lists(run, min_size=chunks, max_size=chunks), st.fixed_dictionaries({"o": PS}))
    alike = draw(st.booleans())
    return [draw(stage)] * count if alike else [draw(stage) for _ in range(count)], micro_batches


@settings(max_examples=300)
@given(step=steps(), norm_ps=PS, overlapped=st.booleans())
def test_plain_integers_are_the_clock_to_the_picosecond(step, norm_ps, overlapped):
    stages, micro_batches = step
    clock = run_step(stages, micro_batches, 1, norm_ps, overlapped=overlapped)
    assert told(run_alike_step(stages, micro_batches, norm_ps, overlapped=overlapped)) == told(clock.now)


@pytest.mark.parametrize(
    ("model", "parallel", "batch", "framework"),
    [
        ("llama-3.1-8b", "tensor=2,pipeline=4,sequence", 128, "training"),
        ("llama-3.1-8b", "tensor=2,pipeline=4,interleaved=4,recompute=full", 64, "training"),
        ("gpt-22b", "tensor=8,pipeline=2,micro-batch=2", 256, "megatron-2022"),
        ("llama-3.1-8b", "tensor=4,context=2", 64, "training"),
    ],
)
def test_a_priced_step_is_that_of_the_clock(model, parallel, batch, framework):
    options = {"phase": "train", "batch": batch, "parallel": parallel, "framework": framework, "context": 2048}
    assignment = assign(make_point(model, "h100", 64, **options))
    step = TrainingStages(assignment)
    overlapped = step.point.framework.overlaps_gradients
    clock = run_step(step.stages, step.micro_batches, 1, step.norm_ps, overlapped=overlapped)
    assert run_training(assignment).ps == clock.now.ps


def test_a_step_a_thousand_times_as_long_is_as_many_micro_batches_more():
    """The steady state is leapt over: each further micro-batch takes what the slowest stage takes for it."""
    stages = [Stage([Run({"f": 3 + number}, {"b": 5}, ())], {}) for number in range(4)]
    short, long = (run_alike_step(stages, count, 0, overlapped=True).ps for count in (200, 2_000_000))
    assert long - short == (2_000_000 - 200) * (6 + 5)
