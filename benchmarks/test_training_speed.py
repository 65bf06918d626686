"""Training steps of many chips: one of 98,304, alike and all different, the longest published pipeline, one layout.

Beside Calculon (Isaev et al. 2023, SC '23), which takes 3.0 ms for a step of GPT-175B on 512 chips (8 x 8 x 8, 64
micro-batches) and 2.3 ms a candidate of a search on the machine on which this took 62 ms before steps of replicas that
are alike had a clock of plain integers.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from scenarios.assignment import assign
from scenarios.planning.plan import plan
from scenarios.point import make_point
from scenarios.training.run import run_training

SPLIT = "tensor=8,pipeline=4,interleaved=2,sequence"


@pytest.mark.parametrize("variation", ["", "straggler=0.1@3", "clock=0.03"], ids=["alike", "one slow", "all differ"])
def test_98304_chips(benchmark: BenchmarkFixture, variation: str) -> None:
    point = make_point(
        "llama-3.1-70b", "h100", 98_304, phase="train", batch=49_152, parallel=SPLIT, variation=variation
    )
    benchmark.pedantic(run_training, (assign(point),), rounds=3, warmup_rounds=1)


def test_64_stages_of_512_micro_batches(benchmark: BenchmarkFixture) -> None:
    point = make_point(
        "gpt-1t", "a100", 512, phase="train", batch=512, context=2048, parallel="tensor=8,pipeline=64,sequence"
    )
    benchmark.pedantic(run_training, (assign(point),), rounds=3, warmup_rounds=1)


def test_gpt_175b_on_512_chips(benchmark: BenchmarkFixture) -> None:
    """Calculon: 3.0 ms. What kernels and collectives cost is remembered, as it is between the layouts of a search."""
    split = "tensor=8,pipeline=8,recompute=full"
    point = make_point("gpt-175b", "h100", 512, phase="train", batch=512, context=2048, parallel=split)
    benchmark(run_training, assign(point))


def test_the_best_layouts_of_llama_70b_on_512_chips(benchmark: BenchmarkFixture) -> None:
    """7,052 layouts, none remembered: the first of a process."""
    asked = {"global_batch": 1024, "context": 8192}
    benchmark.pedantic(plan, ("llama-3.1-70b", "h100", 512), asked, rounds=1)
