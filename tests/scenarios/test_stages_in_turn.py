"""Inference in stages: against one group, closed forms and a plain recurrence; what fits, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips.clock.time import Time
from chips.clock.timeline import Timeline
from loopline import compare
from scenarios.anatomy.trace import write_points
from scenarios.assignment import assign
from scenarios.errors import ScenarioError
from scenarios.memory import needed_bytes
from scenarios.point import make_point
from scenarios.pricing import price
from scenarios.stages_in_turn import Round, next_tokens, run_stages

PHASES = ["decode", "prefill", "request"]
PS = st.integers(0, 40)


def steady(stages, links, micro_batches, tokens=60):
    """Picoseconds between the last two of so many tokens."""
    clock, ready = Timeline(), (Time.zero,) * micro_batches
    each = Round([{"work": ps} for ps in stages], [{"sent": ps} for ps in links])
    ends = []
    for _ in range(tokens):
        ready = next_tokens(clock, each, ready)
        ends.append([time.ps for time in ready])
    return ends


@pytest.mark.parametrize("chip", ["h100", "sn40l"])
@pytest.mark.parametrize("phase", PHASES)
def test_one_stage_with_all_sequences_is_the_group_itself(chip, phase):
    point = make_point("llama-3.2-1b", chip, 2, phase=phase, batch=4, context=48, strategy="kernel_loop")
    alone = price([point]).outcome()
    staged = run_stages(assign(point))
    assert {label: ps for label, ps in staged.spent.items() if ps} == {
        label: ps for label, ps in alone.spent.items() if ps
    }
    assert staged.bound_seconds == pytest.approx(alone.bound_seconds)
    assert staged.stream_bytes == pytest.approx(alone.stream_bytes)


@given(
    stages=st.lists(PS, min_size=1, max_size=5),
    links=st.lists(PS, min_size=5, max_size=5),
    micro_batches=st.integers(1, 6),
)
def test_stages_in_turn_are_their_recurrence(stages, links, micro_batches):
    links = links[: len(stages)]
    free, wire = [0] * len(stages), [0] * len(stages)
    ready = [0] * micro_batches
    for ends in steady(stages, links, micro_batches, tokens=8):
        for number in range(micro_batches):
            for stage, (work, sent) in enumerate(zip(stages, links, strict=True)):
                free[stage] = max(free[stage], ready[number]) + work
                wire[stage] = max(wire[stage], free[stage]) + sent
                ready[number] = wire[stage]
        assert ends == ready


@given(stages=st.integers(1, 6), work=st.integers(1, 50), sent=st.integers(0, 50), micro_batches=st.integers(1, 12))
def test_a_token_waits_for_all_stages_or_for_its_turn(stages, work, sent, micro_batches):
    """The slowest of what a sequence passes through, all stages and links, and of what one engine does for all."""
    ends = steady([work] * stages, [sent] * stages, micro_batches)
    period = max(stages * (work + sent), micro_batches * max(work, sent))
    assert [after - before for before, after in zip(*ends[-2:], strict=True)] == [period] * micro_batches


@pytest.mark.parametrize("strategy", ["per_operator", "kernel_loop"])
def test_more_micro_batches_give_more_tokens_until_stages_are_full(strategy):
    """Of small batches, whose stages take as long whatever the batch: one more under way is as much more given."""
    told = {}
    for batch in (1, 2, 4, 8):
        options = {
            "batch": batch,
            "context": 512,
            "strategy": strategy,
            "parallel": "tensor=2,pipeline=4,micro-batch=1",
        }
        told[batch] = compare("llama-3.1-8b", "h100", 8, **options).iloc[0]
    assert told[2]["seconds"] == pytest.approx(told[1]["seconds"], rel=1e-3)
    assert told[2]["tokens_per_s"] == pytest.approx(2 * told[1]["tokens_per_s"], rel=1e-3)
    assert told[8]["seconds"] > 1.5 * told[4]["seconds"]


def test_replicas_of_stages_are_as_fast_as_one():
    options = {"phase": "decode", "context": 512, "parallel": "tensor=1,pipeline=2,micro-batch=2"}
    one = price([make_point("llama-3.2-1b", "h100", 2, batch=4, **options)])
    four = price([make_point("llama-3.2-1b", "h100", 8, batch=16, **options)])
    assert four.outcome().spent == one.outcome().spent
    assert four.record()["tokens_per_s"] == pytest.approx(4 * one.record()["tokens_per_s"])
    assert four.record()["joules"] == pytest.approx(4 * one.record()["joules"], rel=1e-6)


@pytest.mark.parametrize("phase", PHASES)
def test_a_prompt_goes_through_stages_while_the_next_one_begins(phase):
    """In stages of one chip each, prompts take less than one after the other, and at least what one stage does."""
    options = {"phase": phase, "batch": 4, "context": 256, "strategy": "per_operator"}
    alone = compare("llama-3.1-8b", "h100", 1, **options | {"batch": 1}).iloc[0]
    staged = compare("llama-3.1-8b", "h100", 4, **options, parallel="pipeline=4,micro-batch=1").iloc[0]
    assert alone["seconds"] < staged["seconds"] < 4 * alone["seconds"]


def test_stages_hold_a_model_that_no_group_of_them_does():
    asked = {"batch": 8, "context": 4096}
    assert not compare("llama-3.1-70b", "h100", 1, **asked, strategy="per_operator")["fits"].any()
    point = make_point("llama-3.1-70b", "h100", 4, **asked, parallel="pipeline=4")
    whole = make_point("llama-3.1-70b", "h100", 4, **asked)
    assert needed_bytes(assign(point)) == pytest.approx(needed_bytes(assign(whole)), rel=0.06)
    assert price([point]).record()["fits"]


def test_a_trace_shows_stages_and_the_links_between_them(tmp_path):
    prices = price([make_point("llama-3.2-1b", "h100", 4, batch=4, context=64, parallel="pipeline=4,micro-batch=1")])
    write_points(prices, tmp_path / "stages.json")
    text = (tmp_path / "stages.json").read_text()
    assert json.loads(text)
    for name in ("stage 0", "stage 3", "link 0 to 1", "link 3 to 0", "micro-batch 3"):
        assert name in text


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"parallel": "pipeline=2,context=2"}, "pipeline=STAGES and micro-batch=SEQUENCES it belongs to --phase train"),
        ({"parallel": "pipeline=2,interleaved=2"}, "it belongs to --phase train"),
        ({"parallel": "pipeline=40"}, "takes a multiple of 40 chips"),
        ({"parallel": "pipeline=8,micro-batch=3"}, "in micro-batches of 3"),
        ({"parallel": "pipeline=2", "variation": "straggler=0.1@1"}, "in inference stages are alike"),
    ],
)
def test_what_stages_of_inference_are_not_is_refused(asked, sentence):
    with pytest.raises(ScenarioError) as refused:
        make_point("llama-3.2-1b", "h100", 8, **{"batch": 8} | asked)
    assert sentence in str(refused.value)
