"""The main job's figures. A change that moves one shows old and new here, and says why in its commit message.

To accept new figures:
``loopline compare llama-3.1-8b --chips h100 sn40l --count 1 2 4 8 16 --csv > tests/golden/main_job.csv``
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from loopline import compare
from results.schema import PART_COLUMNS

GOLDEN = Path(__file__).parent.parent / "golden" / "main_job.csv"
KEYS = ["chip", "count", "strategy"]


def test_the_main_job_gives_its_golden_figures():
    golden = pd.read_csv(GOLDEN, keep_default_na=False).set_index(KEYS)
    now = compare("llama-3.1-8b", ["h100", "sn40l"], [1, 2, 4, 8, 16], batch=1, context=4096).set_index(KEYS)
    assert list(now.index) == list(golden.index)
    for column in ["seconds", *PART_COLUMNS, "bound_s", "roofline_fraction"]:
        pd.testing.assert_series_equal(now[column], golden[column].astype(float), rtol=1e-6, atol=1e-12)


@pytest.mark.xfail(strict=True, reason="254.9 tokens/s, 15.04% below a figure that is read as 300")
def test_the_default_stack_on_8_h100s_is_within_15_percent_of_the_published_figure():
    now = pd.read_csv(GOLDEN, keep_default_na=False).set_index(KEYS)["seconds"]
    assert 0.85 * 300 < 1 / now["h100", 8, "per_operator"] < 1.15 * 300


def test_the_published_anchors_hold():
    """8 H100s, looped SN40L on 8 and 16, and what looping gains, each within 15%.

    The serving stack of the published 300 tokens/s on H100s is not named: of three, the one with NCCL's AllReduce lies
    below, the one with the newest kernels above, vLLM within 15%.
    """
    now = pd.read_csv(GOLDEN, keep_default_na=False).set_index(KEYS)["seconds"]
    with_nccl, vllm, newest = (
        1 / compare("llama-3.1-8b", "h100", 8, strategy="per_operator", framework=name)["seconds"].item()
        for name in ("tensorrt-llm-2024", "vllm", "trtllm")
    )
    assert with_nccl < 300 < newest
    assert 0.85 * 300 < vllm < 1.15 * 300
    assert with_nccl == pytest.approx(1 / now["h100", 8, "per_operator"])
    assert 0.85 * 600 < 1 / now["sn40l", 8, "kernel_loop"] < 1.15 * 646
    assert 0.85 * 1042 < 1 / now["sn40l", 16, "kernel_loop"] < 1.15 * 1110
    gains = now[:, :, "fused_decoder"] / now[:, :, "kernel_loop"]
    assert all(0.85 * 1.6 < gains["sn40l", count] < 1.15 * 2.2 for count in (8, 16))
