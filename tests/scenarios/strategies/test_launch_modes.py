"""Launch modes: which edges lie between two kernels, held against closed forms and against each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips.clock.time import PICOSECONDS_PER_SECOND, seconds_to_ps
from chips.clock.timeline import Timeline
from chips.spec import Gpu, load_chip, load_gpu
from cluster import Cluster
from scenarios.assignment import assign
from scenarios.framework import frameworks
from scenarios.passes import passes_of
from scenarios.point import make_point
from scenarios.pricing import compare, price
from scenarios.running import trace_passes
from scenarios.strategies import run_strategy
from scenarios.strategies.gpu.kernel_prices import gpu_group
from scenarios.strategies.gpu.per_operator import kernels_of_step
from scenarios.strategies.label import LAUNCH
from scenarios.workload.operators import Elementwise

MODELS = ("llama-3.2-1b", "llama-3.1-8b")


def seconds(model: str, chip: str, count: int, **options: object) -> float:
    return price([make_point(model, chip, count, **options)]).outcome().seconds  # type: ignore[arg-type]


@pytest.mark.parametrize("framework", ["sglang", "vllm", "pytorch", "hand-written"])
@pytest.mark.parametrize("count", [1, 4])
def test_a_graph_takes_its_kernels_and_their_gaps(framework: str, count: int) -> None:
    point = make_point("llama-3.2-1b", "h100", count, framework=framework, launch="graph", collectives="kernel")
    (step, _), group = (
        passes_of(assign(point))[0],
        gpu_group(load_gpu("h100"), Cluster(load_chip("h100"), count), point.framework),
    )
    rides = point.framework.fusion == "products"
    expected = 0
    for segment in step.segments:
        for operator in segment.operators:
            whole = group.price(operator)
            if rides and isinstance(operator, Elementwise) and (segment.times > 1 or operator.role == "norm"):
                expected += segment.times * whole.steady
                continue
            kernels = group.kernels_of(operator)
            gap = seconds_to_ps(load_gpu("h100").generation.launch.graph_gap)
            expected += segment.times * (whole.steady + kernels * (gap + whole.fill_drain))
    host = seconds_to_ps(point.framework.host_step_seconds)
    if not point.framework.overlapped:
        host += seconds_to_ps(load_gpu("h100").generation.launch.graph_launch)
    assert price([point]).outcome().ps == host + expected


@given(
    model=st.sampled_from(MODELS),
    chip=st.sampled_from(["h100", "h200", "b200", "gh200"]),
    count=st.sampled_from([1, 2, 8]),
    batch=st.sampled_from([1, 3, 32, 256]),
    phase=st.sampled_from(["decode", "prefill"]),
    framework=st.sampled_from(["sglang", "vllm", "hand-written"]),
)
def test_each_way_that_removes_more_of_a_boundary_takes_no_longer(
    model: str, chip: str, count: int, batch: int, phase: str, framework: str
) -> None:
    context = 256 if phase == "prefill" else 1024
    setting = {"batch": batch, "phase": phase, "context": context, "framework": framework}
    eager, compiled, graph, pdl = (
        seconds(model, chip, count, launch=word, **setting) for word in ("eager", "compiled", "graph", "pdl")
    )
    assert pdl <= graph <= compiled <= eager * (1 + 1e-9)
    compiled_loop, hand = (
        seconds(model, chip, count, strategy="kernel_loop", launch="graph", synchronization=word, **setting)
        for word in ("compiled", "hand")
    )
    assert hand <= compiled_loop


def test_kernels_are_counted_as_a_trace_shows_them() -> None:
    for framework, launch in (("sglang", "graph"), ("sglang", "pdl"), ("vllm", "graph")):
        point = make_point("llama-3.2-1b", "h100", 2, framework=framework, launch=launch)
        (step, events), *_ = trace_passes(assign(point))
        group = gpu_group(load_gpu("h100"), Cluster(load_chip("h100"), 2), point.framework)
        launched = {(event.name, event.iterations) for event in events if event.label == LAUNCH}
        assert len(launched) == kernels_of_step(group, step, launch)


def test_a_dependent_launch_hides_gap_and_start_and_never_more_than_the_ramp() -> None:
    chip = load_gpu("h100")
    for batch in (1, 16, 64):
        point = make_point("llama-3.1-8b", "h100", 1, batch=batch, framework="hand-written", launch="graph")
        (step, _), group = passes_of(assign(point))[0], gpu_group(chip, Cluster(chip, 1), point.framework)
        graph, pdl = (
            seconds("llama-3.1-8b", "h100", 1, batch=batch, framework="hand-written", launch=word)
            for word in ("graph", "pdl")
        )
        kernels = kernels_of_step(group, step, "graph")
        costs = chip.generation.launch
        most = kernels * (costs.graph_gap + costs.kernel_start + chip.generation.matmul.startup_seconds + 0.5e-6)
        assert 0.5 * kernels * costs.graph_gap < graph - pdl < most


@pytest.mark.parametrize("count", [2, 8])
def test_a_fused_all_reduce_saves_the_kernels_of_the_normalisations_behind_it(count: int) -> None:
    kernel, fused = (
        seconds("llama-3.1-8b", "h100", count, launch="graph", collectives=word) for word in ("kernel", "fused")
    )
    point = make_point("llama-3.1-8b", "h100", count, launch="graph")
    group = gpu_group(load_gpu("h100"), Cluster(load_chip("h100"), count), point.framework)
    norms = [operator for operator in passes_of(assign(point))[0][0].segments[1].operators if operator.role == "norm"]
    gap = seconds_to_ps(load_gpu("h100").generation.launch.graph_gap)
    saved = (2 * 32 + 1) * (gap + group.price(norms[0]).fill_drain) / PICOSECONDS_PER_SECOND
    assert kernel - fused == pytest.approx(saved, abs=1e-12)


def test_cutting_products_hides_collectives_of_a_prefill_and_not_of_decode() -> None:
    for phase, pays in (("prefill", True), ("decode", False)):
        whole, cut = (
            seconds("llama-3.1-70b", "h100", 8, phase=phase, launch="graph", collectives=word)
            for word in ("kernel", "overlapped")
        )
        assert (cut < whole) == pays


def test_chips_without_dependent_launches_say_so_and_run_a_graph_by_default() -> None:
    rows = compare("llama-3.2-1b", ["a100", "h100"], launch="pdl", strategy="per_operator")
    assert list(rows["fits"]) == [False, True]
    assert "programmatic dependent launch begins with SM 90" in rows["reason"].iloc[0]
    assert list(compare("llama-3.2-1b", ["a100", "h100"], strategy="per_operator")["launch"]) == ["graph", "pdl"]


def test_every_word_means_something_on_every_kind_of_chip() -> None:
    rows = compare(
        "llama-3.2-1b", ["h100", "sn40l"], launch=["eager", "graph", "hardware", "batched"], strategy="fused_decoder"
    )
    assert list(zip(rows["chip"], rows["launch"], strict=True)) == [
        ("h100", "eager"),
        ("h100", "graph"),
        ("h100", "pdl"),
        ("sn40l", "software"),
        ("sn40l", "hardware"),
        ("sn40l", "batched"),
    ]
    sn40l = rows["seconds"].to_numpy()[3:]
    assert np.all(np.diff(sn40l) < 0)


def test_a_free_part_of_a_boundary_saves_what_it_takes_where_nothing_hides_it() -> None:
    chip, framework = load_chip("h100"), frameworks()["bare"]
    assert isinstance(chip, Gpu)
    step = passes_of(assign(make_point("llama-3.2-1b", "h100", 1)))[0][0]
    cluster = Cluster(chip, 1)
    whole = run_strategy(Timeline(), cluster, "per_operator", step, "graph", framework)
    free = run_strategy(Timeline(), cluster, "per_operator", step, "graph", framework, frozenset({LAUNCH}))
    assert whole.ps - free.ps == whole.parts[LAUNCH]


def test_a_kernel_that_starts_in_no_time_has_no_ramp_below_zero() -> None:
    chip = load_gpu("h100")
    matmul = chip.generation.matmul.model_copy(update={"startup_seconds": 0.0})
    instant = chip.model_copy(update={"generation": chip.generation.model_copy(update={"matmul": matmul})})
    step = passes_of(assign(make_point("llama-3.2-1b", "h100", 1)))[0][0]
    for strategy in ("per_operator", "fused_decoder", "kernel_loop"):
        usual, faster = (
            run_strategy(Timeline(), Cluster(each, 1), strategy, step, "graph", frameworks()["sglang"]).ps
            for each in (chip, instant)
        )
        assert 0 < int(faster) <= int(usual)
