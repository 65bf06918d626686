"""Speed of the main job: the whole command cold, one point warm, and a hundred thousand chips with one straggler."""

from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np
import pytest

from chips import load_chip
from chips.clock.timeline import Timeline
from cluster import Cluster, Slowdown
from loopline import simulate
from scenarios.framework import default_framework
from scenarios.strategies import run_strategy
from scenarios.workload.decoder import forward
from scenarios.workload.model import load_model, shard

FRAMEWORK = default_framework("decode", eager=False)
COMPARE = ["compare", "llama-3.1-8b", "--chips", "h100", "sn40l", "--count", "1", "2", "4", "8", "16"]
COMPARE += ["--phase", "decode", "--batch", "1", "--context", "4096", "--json"]


def test_compare_command_from_a_cold_start(benchmark):
    """Expected under 2 s of wall clock, imports included."""
    command = [sys.executable, "-c", "from scenarios.commands.main import main; main()", *COMPARE]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=5)


@pytest.mark.parametrize("chip", ["h100", "sn40l"])
@pytest.mark.parametrize("strategy", ["per_operator", "fused_decoder", "kernel_loop"])
def test_one_point_warm(benchmark, chip, strategy):
    """Expected under 2 ms."""
    benchmark(simulate, "llama-3.1-8b", chip, 8, strategy=strategy)


def test_hundred_thousand_chips_with_one_straggler(benchmark):
    """A decode of 32 layers on 100,000 chips of which one is 10% slow, AllReduce over all: under 5 s and 2 GB."""
    chips = 100_000
    slowdown = np.ones(chips)
    slowdown[12_345] = 1.1
    model = load_model("llama-3.1-8b")
    cluster = Cluster(load_chip("h100"), chips, slowdown=Slowdown.whole_chips(slowdown))
    step = forward(model, shard(model, 8), 1, 1, 4096, "bf16")

    def decode():
        return run_strategy(Timeline(chips=chips), cluster, "per_operator", step, "graph", FRAMEWORK)

    finish = benchmark.pedantic(decode, rounds=3)
    assert finish.ps.shape == (chips,)
    benchmark.extra_info["peak_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
