"""Training that fits unless told otherwise, and refusals that name a layout which does."""

from __future__ import annotations

import re

import pytest

import loopline as ll
from scenarios.errors import DoesNotFit
from scenarios.memory import assign_fitting, with_fitting_micro_batch
from scenarios.point import make_point

STEP = {"phase": "train", "context": 4096}


def step(**asked):
    return with_fitting_micro_batch(make_point("llama-3.1-8b", "h100", 8, **STEP | asked))


def test_a_share_that_fits_is_computed_at_once():
    assert step(batch=1).parallel.micro_batch == 0


@pytest.mark.parametrize("batch", [64, 48, 60])
def test_else_the_largest_part_of_it_that_fits(batch):
    size = step(batch=batch).parallel.micro_batch
    assert batch % size == 0
    assign_fitting(step(batch=batch))
    larger = min(part for part in range(size + 1, batch + 1) if batch % part == 0)
    with pytest.raises(DoesNotFit):
        assign_fitting(step(batch=batch, parallel=f"micro-batch={larger}"))


def test_a_row_says_which_it_is_and_is_that_of_who_asks_for_it():
    asked = {"count": 8, "batch": 64, "strategy": "per_operator"} | STEP
    frame = ll.simulate("llama-3.1-8b", "h100", **asked)
    assert frame["fits"].iloc[0]
    parallel = frame["parallel"].iloc[0]
    assert parallel == f"micro-batch={step(batch=64).parallel.micro_batch}"
    assert ll.simulate("llama-3.1-8b", "h100", **asked, parallel=parallel).equals(frame)


def test_what_is_asked_for_is_not_changed():
    assert step(batch=64, parallel="micro-batch=64").parallel.micro_batch == 64
    assert step(batch=64, phase="decode").parallel.micro_batch == 0


@pytest.mark.parametrize(
    ("model", "chip", "count", "asked"),
    [
        ("llama-3.1-8b", "h100", 8, {"batch": 64, "parallel": "tensor=8,micro-batch=64"}),
        ("llama-3.1-70b", "h100", 8, {"batch": 64}),
        ("llama-3.1-70b", "sn40l", 64, {"batch": 64, "parallel": "tensor=1"}),
        ("llama-3.1-405b", "h100", 64, {"batch": 64, "parallel": "tensor=8,pipeline=8,micro-batch=8"}),
    ],
)
def test_a_refusal_names_a_layout_that_fits(model, chip, count, asked):
    with pytest.raises(DoesNotFit) as refused:
        assign_fitting(with_fitting_micro_batch(make_point(model, chip, count, **STEP, **asked)))
    told = re.search(r"; (?:--count (\d+) )?--parallel (\S+) would hold it", str(refused.value))
    assert told
    nearest = asked | {"parallel": told[2]}
    assign_fitting(make_point(model, chip, int(told[1] or count), **STEP, **nearest))
