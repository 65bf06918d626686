"""Points a second of one core: decode over many contexts, over many batches, over few of both; a roofline in pandas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from chips.spec import load_chip
from scenarios.sweeps.parts import price_part
from scenarios.sweeps.scenario_file import points_of, scenario_from
from scenarios.sweeps.sweep import sweep
from scenarios.workload.model import load_model

SAME = {"question": "How fast?", "model": "llama-3.1-8b", "chips": ["h100", "sn40l"]}
DENSE = SAME | {"count": [1, 8], "batch": [1, 16], "context": {"from": 16, "to": 8192, "step": 16}}
BATCHES = SAME | {
    "count": [1, 8],
    "batch": {"from": 1, "to": 64, "step": 1},
    "context": {"from": 512, "to": 8192, "step": 512},
}
COARSE = SAME | {"count": [1, 2, 4, 8], "batch": {"from": 1, "to": 64, "times": 2}, "context": [1024, 4096, 16384]}


@pytest.mark.parametrize("grid", [DENSE, BATCHES, COARSE], ids=["dense contexts", "batches", "coarse"])
def test_points(benchmark: BenchmarkFixture, grid: dict[str, object]) -> None:
    requests = list(points_of(scenario_from(grid)))
    price_part(requests[:64], "warm")
    rows = benchmark.pedantic(price_part, (requests, "any"), rounds=3)
    benchmark.extra_info["points_per_s"] = len(rows) / benchmark.stats.stats.min


def test_roofline_in_pandas(benchmark: BenchmarkFixture) -> None:
    """The floor: bytes over bandwidth for each point of the dense grid, which knows no launch and no kernel."""
    frame = pd.DataFrame(list(points_of(scenario_from(DENSE))))
    model = load_model("llama-3.1-8b")
    bandwidth = {name: load_chip(name).memory.bandwidth for name in frame["chip"].unique()}

    def roofline() -> pd.Series:
        moved = model.weight_bytes() + frame["batch"] * frame["context"] * model.kv_bytes_per_token
        return moved / frame["count"] / frame["chip"].map(bandwidth)

    seconds = benchmark(roofline)
    benchmark.extra_info["points_per_s"] = len(seconds) / benchmark.stats.stats.min


def test_first_row(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """A small sweep whole: workers started, one part priced and written."""
    folders = iter(range(100))
    few = SAME | {"context": [1024, 2048]}
    benchmark.pedantic(lambda: sweep(few, tmp_path / str(next(folders)), workers=1), rounds=3)
