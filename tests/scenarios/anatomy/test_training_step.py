"""A training step from Python: its price is that of the point, its bars fill its stages."""

from __future__ import annotations

import pytest

from loopline import compare
from scenarios.anatomy.training_step import training_step
from scenarios.point import make_point


def test_bars_and_stages_of_a_step_tell_the_same():
    asked = {"phase": "train", "batch": 16, "parallel": "tensor=2,pipeline=4", "strategy": "per_operator"}
    step = training_step(make_point("llama-2-7b", "h100", 16, **asked))
    assert step.record["seconds"] == compare("llama-2-7b", "h100", 16, **asked).iloc[0]["seconds"]
    assert (step.record["pipeline_stages"], step.record["replicas"]) == (4, 2)
    assert max(bar.finish for bar in step.bars) == pytest.approx(step.record["seconds"])
    for stage, told in enumerate(step.stages):
        forward = sum(bar.finish - bar.start for bar in step.bars if bar.stage == stage and bar.kind == "forward")
        assert told["forward_s"] == pytest.approx(forward)
