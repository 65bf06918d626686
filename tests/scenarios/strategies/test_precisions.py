"""Fewer bits, on the clock: what becomes shorter, what conversions cost and who hides them, who refuses and why."""

from __future__ import annotations

import re

import pytest

from chips.spec import load_gpu
from cluster import Cluster
from loopline import simulate
from results.words import PRECISIONS
from scenarios.assignment import assign
from scenarios.errors import ScenarioError
from scenarios.framework import frameworks
from scenarios.inputs import INPUTS
from scenarios.memory import needed_bytes
from scenarios.passes import passes_of
from scenarios.point import Point, make_point
from scenarios.strategies.gpu.kernel_prices import gpu_group
from scenarios.strategies.gpu.per_operator import kernels_of_step
from scenarios.strategies.gpu.persistent import waits_of_step
from scenarios.workload.operators import Conversion, MatrixProduct, Step
from scenarios.workload.quantization import FORMATS

MODEL = "llama-3.1-8b"
STRATEGIES = ("per_operator", "fused_decoder", "kernel_loop")


def step_of(point: Point) -> Step:
    return passes_of(assign(point))[0][0]


def kernels(framework: str, precision: str, launch: str = "graph") -> int:
    point = make_point(MODEL, "h100", 1, framework=framework, precision=precision, launch=launch)
    group = gpu_group(load_gpu("h100"), Cluster(load_gpu("h100"), 1), point.framework)
    return kernels_of_step(group, step_of(point), launch)


def test_the_words_of_an_option_are_those_of_the_formats() -> None:
    assert tuple(FORMATS) == PRECISIONS == tuple(next(row for row in INPUTS if row.name == "precision").choices)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("chip", ["h100", "b200", "l40s"])
def test_fewer_bits_are_never_slower_where_bytes_rule(chip: str, strategy: str) -> None:
    words, model = (("bf16", "fp8", "nvfp4"), "llama-3.1-70b") if chip == "b200" else (("bf16", "fp8", "int4"), MODEL)
    rows = [simulate(model, chip, strategy=strategy, precision=word).iloc[0] for word in words]
    assert [row["seconds"] for row in rows] == sorted((row["seconds"] for row in rows), reverse=True)
    assert [row["bound_s"] for row in rows] == sorted((row["bound_s"] for row in rows), reverse=True)


def test_the_bound_is_the_peak_of_the_precision_where_products_rule() -> None:
    """A prompt's products at twice the rate; attention and the head stay at that of bf16."""
    bounds = {
        word: simulate("llama-2-7b", "h100", phase="prefill", batch=8, context=512, precision=word).iloc[0]["bound_s"]
        for word in ("bf16", "fp8", "int8")
    }
    assert 0.5 * bounds["bf16"] < bounds["fp8"] < 0.53 * bounds["bf16"]
    assert bounds["int8"] == bounds["bf16"]


@pytest.mark.parametrize("precision", ["fp8", "fp8-block", "nvfp4", "int8", "int4"])
def test_the_products_of_decoders_are_quantized_and_the_head_is_not(precision: str) -> None:
    step = step_of(make_point(MODEL, "b200", 1, precision=precision))
    bits = {each.name: each.weight_bits for each in step.operators if isinstance(each, MatrixProduct)}
    assert bits.pop("language model head") == 16
    assert set(bits.values()) == {FORMATS[precision].weight_bits}  # type: ignore[index]
    converted = [each for each in step.operators if isinstance(each, Conversion) and not each.searches]
    assert len(converted) == (0 if precision in ("int8", "int4") else 4)


def test_a_conversion_is_a_kernel_or_part_of_the_one_before_as_the_framework_has_it() -> None:
    layers = 32
    assert kernels("sglang", "fp8") - kernels("sglang", "bf16") == 4 * layers
    assert kernels("trtllm", "fp8") - kernels("trtllm", "bf16") == 2 * layers  # attention and SiLU write FP8 themselves
    assert kernels("vllm", "fp8") - kernels("vllm", "bf16") == 8 * layers  # a scale found first, for each
    assert kernels("vllm", "fp8-block") - kernels("vllm", "bf16") == layers  # behind attention
    assert kernels("pytorch", "fp8", "eager") - kernels("pytorch", "bf16", "eager") == 4 * 5 * layers


def test_a_conversion_that_the_host_issues_takes_less_of_it_than_a_module() -> None:
    """A short prompt waits for the host. Its conversions, four a layer, are called by the modules of their products."""
    kind = {"phase": "prefill", "context": 16, "framework": "trtllm", "launch": "eager"}
    plain, converted = (
        simulate(MODEL, "h100", precision=word, **kind).iloc[0]["seconds"] for word in ("bf16", "fp8-block")
    )
    costs = load_gpu("h100").generation.launch
    assert converted - plain == pytest.approx(4 * 32 * costs.host_operator, rel=0.01)
    assert costs.host_operator < (frameworks()["trtllm"].host_operator_seconds or 0.0)


def test_a_persistent_kernel_waits_for_no_conversion_but_for_a_scale_of_all_tokens() -> None:
    chip = load_gpu("h100")
    waits = {}
    for framework, word in (("sglang", "bf16"), ("sglang", "fp8"), ("vllm", "fp8")):
        point = make_point(MODEL, "h100", 1, framework=framework, precision=word)
        group = gpu_group(chip, Cluster(chip, 1), point.framework)
        waits[framework, word] = waits_of_step(group, step_of(point))
    assert waits["sglang", "fp8"] == waits["sglang", "bf16"]
    assert waits["vllm", "fp8"] == waits["sglang", "bf16"] + 4 * 32


def test_looping_saves_what_conversions_cost_as_kernels() -> None:
    cost = {
        strategy: simulate("llama-3.2-1b", "h100", framework="vllm", strategy=strategy, precision="fp8-block").iloc[0]
        for strategy in ("per_operator", "kernel_loop")
    }
    converted = {strategy: row["other_s"] + row["launch_s"] + row["fill_drain_s"] for strategy, row in cost.items()}
    assert converted["kernel_loop"] < converted["per_operator"]


def test_keys_and_values_in_8_bits_take_half_the_memory_and_no_longer() -> None:
    plain, halved = (
        make_point(MODEL, "h100", 1, batch=16, context=32768, kv_precision=word) for word in ("bf16", "fp8")
    )
    weights = needed_bytes(assign(make_point(MODEL, "h100", 1, context=1))) - 131072
    assert (needed_bytes(assign(halved)) - weights) * 2 == needed_bytes(assign(plain)) - weights
    seconds = [
        simulate(MODEL, "h100", batch=16, context=32768, kv_precision=word).iloc[0]["attention_s"]
        for word in ("bf16", "fp8")
    ]
    assert seconds[1] < seconds[0]


def test_checkpoints_of_a_framework_decide_what_nobody_asked_for() -> None:
    assert make_point(MODEL, "h100", 1, framework="trtllm", precision="fp8").kv_precision == "fp8"
    assert make_point(MODEL, "h100", 1, framework="trtllm").kv_precision == "bf16"
    asked = make_point(MODEL, "h100", 1, framework="trtllm", precision="fp8", kv_precision="bf16")
    assert asked.kv_precision == "bf16"
    scales = {
        name: make_point(MODEL, "h100", 1, framework=name, precision="fp8").quantization.scales
        for name in ("vllm", "trtllm")
    }
    assert scales == {name: frameworks()[name].fp8_scales for name in scales}


@pytest.mark.parametrize(
    ("chip", "options", "told"),
    [
        ("a100", {"precision": "fp8"}, "a100 has no fp8 matrix unit.*multiply in bf16: --precision int8"),
        ("h100", {"precision": "nvfp4"}, "h100 has no nvfp4 matrix unit.*--precision int4"),
        ("sn40l", {"precision": "fp8"}, "sn40l has no fp8 matrix unit; it has bf16"),
        ("sn40l", {"precision": "int4"}, "sn40l has no kernels for weights in int4 alone; it multiplies bf16"),
        ("sn40l", {"kv_precision": "fp8"}, "sn40l keeps keys and values in bf16"),
    ],
)
def test_what_a_chip_does_not_compute_is_refused_with_what_it_does(
    chip: str, options: dict[str, str], told: str
) -> None:
    row = simulate(MODEL, chip, 8, **options).iloc[0]  # type: ignore[arg-type]
    assert not row["fits"]
    assert re.search(told, row["reason"]), row["reason"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"precision": "int4"}, "--precision int4 is no precision of a training step; expected bf16 or fp8"),
        ({"kv_precision": "fp8"}, "--kv-precision fp8: a training step keeps no KV cache"),
        ({"precision": "fp4"}, "--precision 'fp4' is unknown; .*did you mean"),
    ],
)
def test_a_precision_that_makes_no_sense_is_one_sentence(options: dict[str, str], told: str) -> None:
    with pytest.raises(ScenarioError, match=told):
        make_point(MODEL, "h100", 8, phase="train", **options)  # type: ignore[arg-type]
