"""What a chip does over time: bytes and joules that add up, and never more than the chip can."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import run
from hypothesis import given
from hypothesis import strategies as st

from results.step_series import step_series
from scenarios.anatomy.hbm_and_power import hbm_bandwidth, power
from scenarios.anatomy.rooflines import operator_rooflines
from scenarios.assignment import assign
from scenarios.commands import main as cli
from scenarios.point import make_point
from scenarios.pricing import price
from scenarios.running import trace_passes
from scenarios.strategies import STRATEGIES

stretch = st.tuples(st.integers(0, 10**6), st.integers(0, 10**5), st.integers(1, 10**6))


@given(st.lists(stretch, max_size=30))
def test_a_series_holds_what_its_stretches_carry(stretches):
    start, length, rate = (np.array([each[field] for each in stretches], np.int64) for field in range(3))
    series = step_series("x", "1/s", start, start + length, rate.astype(float), 2 * 10**6, base=3.0)
    assert series.total == pytest.approx(float(np.sum(length * rate)) / 1e12 + 3.0 * 2e-6)
    assert series.values.min() >= 3.0
    half = series.between(0, 10**6).total + series.between(10**6, 2 * 10**6).total
    assert half == pytest.approx(series.total)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("chip", "count"), [("h100", 1), ("h100", 8), ("sn40l", 8)])
def test_decode_reads_its_weights_and_cache_once_and_no_faster_than_memory(chip, count, strategy):
    point = make_point("llama-3.1-8b", chip, count, strategy=strategy)
    series = hbm_bandwidth(assign(point), trace_passes(assign(point)))
    outcome = price([point]).outcome()
    # Operators that are kernels of their own on a dataflow chip also spill a little beside the stream.
    assert series.total == pytest.approx(outcome.stream_bytes, rel=0.005 if strategy == "per_operator" else 1e-6)
    assert series.values.max() <= point.chip.memory.bandwidth
    assert series.times_ps[-1] == outcome.ps


def test_looping_keeps_memory_busier_than_boundaries_do():
    points = [make_point("llama-3.1-8b", "sn40l", 8, strategy=name) for name in STRATEGIES]
    means = {point.strategy: hbm_bandwidth(assign(point), trace_passes(assign(point))).mean for point in points}
    assert means["per_operator"] < means["fused_decoder"] < means["kernel_loop"]


@pytest.mark.parametrize("phase", ["decode", "prefill"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_power_lies_between_the_static_share_and_the_limit(phase, strategy):
    point = make_point("llama-3.1-8b", "h100", 1, strategy=strategy, phase=phase, context=2048)
    watts = power(assign(point), trace_passes(assign(point)))
    static = point.chip.events.static_watts
    assert static == pytest.approx(watts.values.min())
    assert static < watts.mean <= point.chip.power_watts
    assert watts.values.max() <= point.chip.power_watts


def test_a_slower_memory_carries_the_same_bytes_at_a_lower_rate():
    alike = make_point("llama-3.1-8b", "sn40l", 2, strategy="kernel_loop")
    slow = make_point("llama-3.1-8b", "sn40l", 2, strategy="kernel_loop", variation="straggler=0.5@1")
    fast, straggling = (hbm_bandwidth(assign(slow), trace_passes(assign(slow)), chip) for chip in (0, 1))
    expected = hbm_bandwidth(assign(alike), trace_passes(assign(alike))).total
    assert fast.total == pytest.approx(expected, rel=1e-6)
    assert straggling.total == pytest.approx(expected, rel=1e-6)
    assert straggling.values.max() <= fast.values.max()


@pytest.mark.parametrize("chip", ["h100", "a100", "sn40l"])
@pytest.mark.parametrize(("phase", "batch"), [("decode", 1), ("decode", 64), ("prefill", 1), ("train", 1)])
def test_no_operator_is_above_its_roof_and_all_of_the_pass_is_there(chip, phase, batch):
    point = make_point("llama-3.1-8b", chip, 8, phase=phase, batch=batch, context=2048)
    records = operator_rooflines(point)
    assert all(0 < record["roof_fraction"] <= 1 for record in records)
    products = sum(record["calls"] * record["flop"] for record in records if record["part"] == "matmul_s")
    tokens = 1 if phase == "decode" else 2048
    passes = 3 if phase == "train" else 1
    # Two operations a weight and token; the embedding is looked up; the head sees a prompt's last token alone.
    weights = 6.98e9 if phase == "prefill" else 7.5e9
    assert products == pytest.approx(2 * passes * weights / 8 * tokens * batch, rel=0.01)


def test_bandwidth_prints_and_draws(capsys, tmp_path):
    picture = tmp_path / "bandwidth.svg"
    printed = run(
        capsys, "bandwidth", "llama-3.1-8b", "--chip", "sn40l", "--count", "8", "--plot", str(picture), "--json"
    )
    assert not printed.code
    records = json.loads(printed.out)
    assert [record["strategy"] for record in records] == list(STRATEGIES)
    assert picture.read_text().startswith("<?xml")


def test_roofline_prints_and_draws(capsys, tmp_path):
    picture = tmp_path / "roofline.png"
    printed = run(capsys, "roofline", "llama-3.1-8b", "--chips", "h100", "sn40l", "--plot", str(picture), "--json")
    assert not printed.code
    assert {record["chip"] for record in json.loads(printed.out)} == {"h100", "sn40l"}
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bandwidth", "llama-3.1-8b", "--chip", "sn40l", "--layers", "40"), "1 to 32"),
        (("bandwidth", "llama-3.1-405b", "--chip", "h100"), "813.8 GB"),
        (("bandwidth", "llama-3.1-8b", "--chip", "tpu-v1"), "tpu-v1"),
        (("roofline", "llama-3.1-8b", "--chips", "tpu-v1"), "tpu-v1"),
        (("roofline", "llama-3.1-8b", "--chips", "h100", "--plot", "picture.pdf"), "pdf"),
        (("plot", "nowhere.csv", "-o", "picture.svg"), "nowhere.csv"),
        (("plot", "nowhere.csv", "-o", "picture.svg", "--rows", "batch"), "--rows"),
        (("plot", "nowhere.csv", "-o", "picture.svg", "--where", "batch"), "COLUMN=VALUE"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(capsys, arguments, words):
    printed = run(capsys, *arguments)
    assert printed.code == 2
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out


def test_plot_draws_what_compare_printed(capsys, tmp_path):
    with pytest.raises(SystemExit):
        cli.main(["compare", "llama-3.1-8b", "--chips", "h100", "sn40l", "--count", "1", "8", "--csv"])
    (tmp_path / "decode.csv").write_text(capsys.readouterr().out)
    for kind in ("breakdown", "scaling", "heatmap", "pareto"):
        picture = tmp_path / f"{kind}.svg"
        ended = run(
            capsys,
            "plot",
            str(tmp_path / "decode.csv"),
            "--kind",
            kind,
            "-o",
            str(picture),
            "--where",
            "count=1,8",
            "chip=sn40l",
        )
        assert not ended.code
        assert picture.stat().st_size > 1000
