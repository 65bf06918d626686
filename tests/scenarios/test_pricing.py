"""Whole points: what must hold whatever the coefficients are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chips.clock.timeline import Timeline
from chips.spec import load_chip
from cluster import Cluster, Slowdown
from loopline import compare, simulate
from results.words import PARTS
from scenarios.anatomy.trace import traced
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.framework import default_framework
from scenarios.point import make_point
from scenarios.pricing import price
from scenarios.strategies import run_strategy
from scenarios.workload.decoder import forward
from scenarios.workload.model import load_model, shard
from scenarios.workload.parallel import Parallel

FRAMEWORK = default_framework("decode", None)
CHIPS = ("h100", "a100", "sn40l")
PHASES = ("decode", "prefill", "request", "train")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("chip", CHIPS)
def test_parts_sum_to_the_whole_in_integer_picoseconds(chip, phase):
    frame = compare("llama-3.1-8b", [chip], [1, 4, 8], phase=phase, context=2048)
    fits = frame[frame["fits"]]
    assert len(fits) > 0
    parts = sum(np.rint(fits[f"{part}_s"] * 1e12).astype("int64") for part in PARTS)
    assert (parts == np.rint(fits["seconds"] * 1e12).astype("int64")).all()


@settings(max_examples=40)
@given(
    chip=st.sampled_from(CHIPS),
    model=st.sampled_from(["llama-3.2-1b", "llama-3.1-8b", "llama-2-7b", "qwen3-8b"]),
    count=st.sampled_from([1, 2, 4, 8]),
    strategy=st.sampled_from(["per_operator", "fused_decoder", "kernel_loop"]),
    phase=st.sampled_from(["decode", "prefill"]),
    batch=st.sampled_from([1, 3, 16, 64]),
    context=st.sampled_from([1, 100, 1024, 4096]),
    launch=st.sampled_from(["eager", "graph"]),
)
def test_no_result_beats_its_physical_bound(chip, model, count, strategy, phase, batch, context, launch):
    frame = simulate(model, chip, count, strategy=strategy, phase=phase, batch=batch, context=context, launch=launch)
    row = frame.iloc[0]
    if row["fits"]:
        assert row["seconds"] >= row["bound_s"] > 0
        assert 0 < row["roofline_fraction"] <= 1
    else:
        assert row["reason"]


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("phase", ["decode", "prefill", "train"])
def test_looping_is_never_slower_than_launching_each_decoder(chip, phase):
    frame = compare("llama-3.1-8b", [chip], [4, 8, 16], phase=phase, strategy=["fused_decoder", "kernel_loop"])
    fused, looped = (frame[frame["strategy"] == name].set_index("count") for name in ("fused_decoder", "kernel_loop"))
    assert (looped["seconds"] <= fused["seconds"]).all()


@pytest.mark.parametrize(("strategy", "starts"), [("kernel_loop", 1), ("fused_decoder", 18)])
def test_a_persistent_kernel_starts_once(strategy, starts, tmp_path):
    """A microsecond more for every start of a kernel: its operators do not pay it. Embedding and head start apart."""
    costs, slower = load_chip("h100").generation, tmp_path / "slower.toml"
    slower.write_text(
        'inherits = "h100"\nname = "slower"\ntitle = "H100, slow to start"\n'
        f"[generation.matmul]\nstartup_seconds = {costs.matmul.startup_seconds + 1e-6} # a test\n"
        f"[generation.attention]\nkernel_latency = {costs.attention.kernel_latency + 1e-6} # a test\n"
    )
    usual, later = (
        compare("llama-3.2-1b", chip, 1, strategy=strategy, context=100)["seconds"].item()
        for chip in ("h100", str(slower))
    )
    assert later - usual == pytest.approx(starts * 1e-6, abs=1e-10)


@pytest.mark.parametrize("chip", CHIPS)
def test_launches_by_the_device_are_never_slower_than_by_the_host(chip):
    host = compare("llama-3.1-8b", [chip], [1, 8], launch="eager")
    device = compare("llama-3.1-8b", [chip], [1, 8], launch="graph")
    assert (device["seconds"] <= host["seconds"]).all()


def test_adding_gpus_shrinks_products_and_grows_the_share_of_all_reduce():
    frame = compare("llama-3.1-8b", ["h100"], [1, 2, 4, 8], strategy=["per_operator"])
    assert frame["matmul_s"].is_monotonic_decreasing
    share = frame["allreduce_s"] / frame["seconds"]
    assert share.is_monotonic_increasing
    assert share.iloc[0] == 0


def test_a_longer_context_never_decodes_faster():
    seconds = [
        simulate("llama-3.1-8b", "h100", 8, context=context)["seconds"].iloc[0] for context in (128, 1024, 8192, 65536)
    ]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("chip", ["h100", "sn40l"])
@pytest.mark.parametrize("strategy", ["per_operator", "fused_decoder", "kernel_loop"])
@pytest.mark.parametrize("batch", [2, 200])
def test_a_request_is_its_prefill_and_every_output_token(chip, strategy, batch):
    options = {"strategy": strategy, "batch": batch}
    # At a batch of 200 the KV cache of a GPU's persistent kernel comes to need more tiles on the way.
    request = simulate("llama-3.2-1b", chip, 2, phase="request", context=160, output_tokens=30, **options)
    prefill = simulate("llama-3.2-1b", chip, 2, phase="prefill", context=130, **options)
    tokens = [
        simulate("llama-3.2-1b", chip, 2, phase="decode", context=context, **options)["seconds"].iloc[0]
        for context in range(131, 160)
    ]
    whole = prefill["seconds"].iloc[0] + sum(tokens)
    assert round(request["seconds"].iloc[0] * 1e12) == round(whole * 1e12)


@pytest.mark.parametrize("chip", ["h100", "sn40l"])
@pytest.mark.parametrize("strategy", ["per_operator", "fused_decoder", "kernel_loop"])
def test_alike_chips_side_by_side_take_what_one_of_them_takes(chip, strategy):
    point = make_point("llama-3.1-8b", chip, 4, strategy=strategy)
    step = forward(point.model, shard(point.model, 4), 1, 1, 4096)
    one = Cluster(point.chip, 4)
    four = Cluster(point.chip, 4, slowdown=Slowdown.whole_chips(np.ones(4)))
    alone = run_strategy(Timeline(), one, strategy, step, point.launch, FRAMEWORK)
    together = run_strategy(Timeline(chips=4), four, strategy, step, point.launch, FRAMEWORK)
    assert (np.asarray(together.ps) == alone.ps).all()


@pytest.mark.parametrize("chip", ["h100", "sn40l"])
@pytest.mark.parametrize("strategy", ["per_operator", "kernel_loop"])
def test_one_slow_chip_slows_the_whole_group(chip, strategy):
    point = make_point("llama-3.1-8b", chip, 4, strategy=strategy)
    step = forward(point.model, shard(point.model, 4), 1, 1, 4096)
    slowdown = np.ones(4)
    alone = run_strategy(Timeline(), Cluster(point.chip, 4), strategy, step, point.launch, FRAMEWORK)
    slowdown[2] = 1.1
    uneven = Cluster(point.chip, 4, slowdown=Slowdown.whole_chips(slowdown))
    group = run_strategy(Timeline(chips=4), uneven, strategy, step, point.launch, FRAMEWORK)
    assert (np.asarray(group.ps) > alone.ps).all()
    assert np.max(group.ps) <= 1.1 * alone.ps + 1


def test_what_does_not_fit_is_a_row_that_says_what_it_needs_and_has():
    frame = compare("llama-3.1-70b", ["h100"], [1, 8])
    small, large = frame[frame["count"] == 1], frame[frame["count"] == 8]
    assert not small["fits"].any()
    assert large["fits"].all()
    assert "142." in small["reason"].iloc[0]
    assert "85.5 GB" in small["reason"].iloc[0]


def test_a_precision_that_the_chip_lacks_is_a_row_that_says_so():
    row = simulate("llama-3.1-8b", "sn40l", 8, precision="fp8").iloc[0]
    assert not row["fits"]
    assert "fp8" in row["reason"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "--count is 0"),
        ({"count": 3}, "counts that divide"),
        ({"batch": -1}, "--batch is -1"),
        ({"context": 200_000}, "at most 131072"),
        ({"phase": "decoding"}, "did you mean decode"),
        ({"launch": "graphs"}, "did you mean graph"),
        ({"output_tokens": 3}, "belongs to --phase request"),
        ({"phase": "request", "context": 8, "output_tokens": 8}, "leaves no prompt"),
    ],
)
def test_a_wrong_request_is_refused_in_one_sentence(options, words):
    count = options.pop("count", 1)
    with pytest.raises(ScenarioError, match=words) as refusal:
        simulate("llama-3.1-8b", "h100", count, **options)
    assert "\n" not in str(refusal.value)


def test_the_same_point_gives_the_same_bits():
    point = make_point("llama-3.1-8b", "sn40l", 8, strategy="kernel_loop")
    assert price([point]).outcome().spent == price([point]).outcome().spent


def test_layers_cost_the_same_to_simulate_exactly_however_many():
    point = make_point("llama-3.1-8b", "sn40l", 8, strategy="kernel_loop")
    small = load_model("llama-3.1-8b")
    times = []
    for layers in (10, 20, 30):
        model = small.model_copy(update={"layers": layers})
        step = forward(model, shard(model, 8), 1, 1, 4096)
        cluster = Cluster(point.chip, 8)
        times.append(run_strategy(Timeline(), cluster, "kernel_loop", step, "hardware", FRAMEWORK).ps)
    assert times[1] - times[0] == times[2] - times[1]


@pytest.mark.parametrize("options", [{}, {"phase": "train", "batch": 16, "parallel": "tensor=2,pipeline=2"}])
def test_a_point_is_resolved_once_for_its_price_its_row_and_its_trace(options, monkeypatch):
    point = make_point("llama-3.2-1b", "h100", 8, context=512, **options)
    resolved = []
    real = Parallel.of
    monkeypatch.setattr(Parallel, "of", lambda *given, **named: resolved.append(given) or real(*given, **named))
    prices = price([point])
    assert prices.frame()["fits"].all()
    traced(prices.assignment())
    assert len(resolved) == 1


def test_prices_of_many_points_are_found_again_by_number():
    points = [make_point("llama-3.2-1b", "h100", 1, context=context) for context in range(100, 180)]
    points.insert(7, make_point("llama-3.2-1b", "h100", 1, batch=2**20))
    prices = price(points)
    assert [prices.outcome(number).ps for number in (3, 50)] == [
        price([points[number]]).outcome().ps for number in (3, 50)
    ]
    assert prices.assignment(50).point is points[50]
    with pytest.raises(DoesNotFit, match="needs"):
        prices.outcome(7)
    assert not prices.record(7)["fits"]
