"""How fast traces are written: a million slices, in both formats."""

from __future__ import annotations

from collections import namedtuple

import pytest

from results.trace.events import write_trace

Event = namedtuple("Event", "engine name label start_ps finish_ps")
EVENTS = 1_000_000


@pytest.fixture(scope="module")
def tasks():
    engines, names = ("HBM", "compute", "link", "host"), [f"layer {layer}/down projection" for layer in range(32)]
    return [
        Event(engines[n % 4], names[n % 32], ("matmul", "HBM"), 2_500_000 * n, 2_500_000 * n + 2_499_999)
        for n in range(EVENTS)
    ]


@pytest.mark.parametrize("suffix", [".json", ".pftrace"])
def test_a_million_slices(benchmark, tasks, tmp_path, suffix):
    benchmark.pedantic(write_trace, ({"chip": tasks}, tmp_path / f"trace{suffix}"), rounds=1)
