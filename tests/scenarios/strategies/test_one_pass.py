"""Passes put together from their segments, against the whole pass on its clock."""

from __future__ import annotations

import pytest

from scenarios.assignment import assign
from scenarios.point import make_point
from scenarios.strategies.one_pass import pass_parts, run_pass
from scenarios.training.stages import training_work


@pytest.mark.parametrize("framework", ["training", "megatron-2022", "vllm", "sglang", "pytorch"])
@pytest.mark.parametrize(
    "how",
    [
        {"launch": "graph"},
        {"launch": "graph", "strategy": "kernel_loop"},
        {"launch": "graph", "collectives": "overlapped"},
        {"launch": "eager"},
    ],
    ids=str,
)
@pytest.mark.parametrize("parallel", ["tensor=2,sequence", "tensor=4,recompute=full", "tensor=1"])
def test_a_pass_of_segments_is_the_pass_on_its_clock(framework, how, parallel):
    asked = {"phase": "train", "batch": 64, "context": 2048, "parallel": parallel, "framework": framework, **how}
    point = make_point("llama-3.2-1b", "h100", 8, **asked)
    where = point.chip, point.parallel.tensor, point.strategy, point.launch, point.framework
    work = training_work(assign(point))
    middle = work.backward.part(3, 16, begins=False, ends=False)
    for step in (work.forward, work.backward, work.optimizer, work.forward.part(7, 16, begins=False), middle):
        found, clock = pass_parts(*where, step), run_pass(*where, step)
        assert {label: ps for label, ps in found.items() if ps} == {label: ps for label, ps in clock.items() if ps}
