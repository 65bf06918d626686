"""Decoders placed: shares near what is published, agreement with the strategies, limits that move the right way."""

from __future__ import annotations

import json

import pytest
from command_line import run

from chips.placement import fits, kernel_count
from chips.spec import Dataflow, load_chip
from cluster import Cluster
from loopline import simulate
from scenarios.anatomy.placed_kernels import place_points
from scenarios.anatomy.placement import kernels_needed, largest_hidden, limits, place_decoder
from scenarios.assignment import assign
from scenarios.errors import ScenarioError
from scenarios.point import make_point
from scenarios.strategies.dataflow.fused_program import token_stream, weight_stream
from scenarios.strategies.dataflow.stages import DataflowGroup, activation_bytes, fused_bytes, stream_tile_bytes
from scenarios.training.stages import training_work
from scenarios.workload.decoder import forward
from scenarios.workload.model import load_model, shard
from scenarios.workload.operators import Decoder, MatrixProduct


def group(name: str, count: int = 1) -> DataflowGroup:
    chip = load_chip(name)
    assert isinstance(chip, Dataflow)
    return DataflowGroup(chip, Cluster(chip, count))


def decoder(model: str, count: int, phase: str, batch: int, context: int) -> Decoder:
    loaded = load_model(model)
    step = forward(loaded, shard(loaded, count), batch, 1 if phase == "decode" else context, context)
    return step.decoders[0]


@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_a_fused_llama_2_7b_uses_about_nine_tenths_of_both_kinds_of_unit(phase: str) -> None:
    """arXiv 2405.07518, section VI-C: one kernel a decoder, about 90% of PCUs and PMUs."""
    found = place_decoder(make_point("llama-2-7b", "sn40l", 8, phase=phase))
    assert found.fits
    kernel = found.sections[0]
    assert kernel.compute_share == pytest.approx(0.9, abs=0.1)
    assert kernel.memory_share == pytest.approx(0.9, abs=0.1)


def test_a_program_has_all_the_decoders_work_and_weights() -> None:
    decode = decoder("llama-2-7b", 8, "decode", 1, 4096)
    weights = sum(o.stream_bytes for o in decode.operators if isinstance(o, MatrixProduct))
    cache = sum(float(o.stream_bytes) for o in decode.operators) - weights
    program = weight_stream(group("sn40l", 8), decode)
    assert sum(s.operand.streamed_bytes for s in program.stages if s.operand) == pytest.approx(weights + cache)
    prefill = decoder("llama-2-7b", 8, "prefill", 1, 4096)
    program = token_stream(group("sn40l", 8), prefill)
    chip = group("sn40l").chip
    rate = chip.peak_flops("bf16") / chip.compute.units * chip.timing.matrix_efficiency
    flops = sum(float(o.flops) for o in prefill.operators if o.part in ("matmul", "attention"))
    work = program.passes * sum(stage.unit_seconds for stage in program.stages if stage.operand) * rate
    assert 1 <= work / flops < 1.1  # 64 rows are 11 turns of 6, keys come in lanes
    assert sum(s.operand.loaded_bytes for s in program.stages if s.operand) == pytest.approx(weights)


def test_the_decode_of_a_layer_takes_what_the_strategy_says() -> None:
    """Two ways to one number: the clock's tile by tile, and placement's by stages in turn."""
    for count in (1, 8):
        found = place_decoder(make_point("llama-2-7b", "sn40l", count))
        row = simulate("llama-2-7b", "sn40l", count, strategy="fused_decoder").iloc[0]
        layer = float(row["seconds"]) / load_model("llama-2-7b").layers
        assert found.seconds == pytest.approx(layer, rel=0.15)


@pytest.mark.parametrize(("model", "count"), [("llama-2-7b", 1), ("llama-2-7b", 8), ("llama-3.1-70b", 16)])
def test_the_prefill_of_a_layer_takes_what_the_strategy_says_for_the_mesh_holds_nothing_up(
    model: str, count: int
) -> None:
    """With routes of their own for the flows over its busiest links, no link takes much longer than the units."""
    found = place_decoder(make_point(model, "sn40l", count, phase="prefill"))
    (kernel,) = found.sections
    assert kernel.limits["mesh link"] < 1.08 * kernel.limits["compute units"]
    row = simulate(model, "sn40l", count, phase="prefill", strategy="fused_decoder").iloc[0]
    layer = float(row["seconds"]) / load_model(model).layers
    assert found.seconds == pytest.approx(layer, rel=0.15 if count > 1 else 0.3)


CASES = [("decode", batch, 4096) for batch in (1, 64, 1024, 4096)] + [
    ("prefill", 1, 512), ("prefill", 1, 4096), ("prefill", 1, 32768), ("prefill", 16, 4096),
]  # fmt: skip


@pytest.mark.parametrize("chip", ["sn40l", "sn10"])
@pytest.mark.parametrize("model", ["llama-3.2-1b", "llama-2-7b", "llama-2-70b", "llama-3.1-405b"])
def test_what_a_strategy_holds_as_a_weight_stream_placement_holds(chip: str, model: str) -> None:
    for count in (1, 4, 8):
        on = group(chip, count)
        for case in CASES:
            work = decoder(model, count, *case)
            if activation_bytes(work) + 2 * stream_tile_bytes(on.chip) <= fused_bytes(on.chip):
                assert fits(weight_stream(on, work), on.chip), case


def test_fewer_kernels_on_a_larger_chip_and_on_more_chips() -> None:
    prefill = [decoder("llama-2-70b", count, "prefill", 1, 4096) for count in (1, 2, 4, 8)]
    on_sn40l, on_sn10 = (
        [
            kernel_count(token_stream(group(chip, count), work), group(chip).chip)
            for count, work in zip((1, 2, 4, 8), prefill, strict=True)
        ]
        for chip in ("sn40l", "sn10")
    )
    assert on_sn40l == sorted(on_sn40l, reverse=True)
    assert on_sn10 == sorted(on_sn10, reverse=True)
    assert all(large <= small for large, small in zip(on_sn40l, on_sn10, strict=True))
    assert on_sn40l[-1] == 1


def test_the_largest_hidden_size_is_the_last_that_fits() -> None:
    on = group("sn10")
    largest = largest_hidden(on, token_stream, "prefill", 1, 4096)
    record = limits([on.chip], 1, [largest, largest + 128], [("prefill", 1, 4096)])[0]
    assert record["token_stream"] == largest
    assert record[f"kernels_at_{largest}"] == 1
    assert largest_hidden(on, token_stream, "prefill", 1, 8192) <= largest
    assert largest_hidden(group("sn40l"), token_stream, "prefill", 1, 4096) >= largest


def test_sections_take_longer_than_one_kernel_would() -> None:
    """Same work on the same chip, in two kernels instead of one: the drawback of what does not fit."""
    one = place_decoder(make_point("llama-2-7b", "sn40l", 1, phase="prefill"))
    two = place_decoder(make_point("llama-2-7b", "sn10", 1, phase="prefill"))
    assert (len(one.sections), len(two.sections)) == (1, 2)
    assert (
        kernels_needed(group("sn10"), decoder("llama-2-7b", 1, "prefill", 1, 4096)) == 1
    )  # slower, as a weight stream
    assert two.seconds > 2 * one.seconds


def test_a_gpu_lays_nothing_out_in_space() -> None:
    with pytest.raises(ScenarioError, match="h100 lays no kernels out in space"):
        place_decoder(make_point("llama-2-7b", "h100", 1))


def test_the_command_prints_kernels_with_their_stages(capsys: pytest.CaptureFixture[str], tmp_path) -> None:  # type: ignore[no-untyped-def]
    picture = tmp_path / "mesh.png"
    code, out, err = run(
        capsys, "fit", "llama-2-7b", "--chips", "sn40l", "--count", "8", "--json", "--plot", str(picture)
    )
    (record,) = json.loads(out)
    assert code == 0
    assert record["kernel"] == "1 of 1"
    assert sum(stage["pcus"] for stage in record["stage_records"]) == record["pcus"]
    assert picture.stat().st_size > 10_000
    assert err == f"wrote {picture}\n"


def test_the_command_prints_limits_and_clusters(capsys: pytest.CaptureFixture[str], tmp_path) -> None:  # type: ignore[no-untyped-def]
    picture = tmp_path / "limits.svg"
    code, out, _ = run(
        capsys, "fit", "--chips", "sn10", "--context", "4096", "--hidden", "4096", "--json", "--plot", str(picture)
    )
    assert code == 0
    assert {record["phase"] for record in json.loads(out)} == {"decode", "prefill"}
    assert picture.exists()
    code, out, _ = run(capsys, "fit", "llama-2-7b", "--chips", "h100", "--phase", "prefill", "--json")
    assert code == 0
    assert {record["tokens"] for record in json.loads(out)} == {16, 32, 64, 128}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--chips", "h100"], "h100 lays no kernels out in space"),
        (["--hidden", "1000", "--context", "4096"], "--hidden 1000 is not heads of 128; choose a multiple of 128"),
        (["--hidden", "0", "--context", "4096"], "--hidden 0 is not heads of 128; choose a multiple of 128"),
        (["--phase", "train"], "--phase train: without a model it is decode or prefill"),
        (["llama-2-7b", "--chips", "a100"], "a100 has no thread block clusters"),
        (["llama-2-7b", "--chips", "sn40l", "--precision", "fp8"], "sn40l has no fp8 matrix unit"),
        (["llama-2-7b", "--plot", "mesh.pdf"], "a picture is a .png or .svg file"),
        (["llama-2-7b", "--count", "3"], "cannot be split over 3 chips"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    code, out, err = run(capsys, "fit", *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_a_backward_pass_is_placed_with_the_sums_of_all_weight_gradients_on_chip():
    """By hand: of each parameter of a chip its 16-bit weight and a sum in fp32."""
    point = make_point("llama-2-7b", "sn40l", 8, phase="train", batch=2, context=2048)
    assignment = assign(point)
    decoder = training_work(assignment).backward.decoders[0]
    program = token_stream(DataflowGroup(point.chip, assignment.cluster()), decoder, 32)
    products = {stage.name: stage for stage in program.stages if stage.operand is not None}
    gradients = [stage for name, stage in products.items() if name.endswith("weight gradient")]
    parameters = 4 * 4096 * 4096 / 8 + 3 * 4096 * 11008 / 8
    assert sum(stage.operand.resident_bytes for stage in gradients) == pytest.approx(4 * parameters, rel=1e-3)
    inputs = [stage for name, stage in products.items() if name.endswith("input gradient")]
    assert sum(stage.operand.resident_bytes for stage in inputs) == pytest.approx(2 * parameters, rel=1e-3)
    assert len(gradients) == len(inputs) == 4
    assert sum(name.startswith("attention backward") for name in products) == 5
    rate = point.chip.peak_flops("bf16") / point.chip.compute.units * point.chip.timing.matrix_efficiency
    flops = sum(float(o.flops) for o in decoder.operators if o.part in ("matmul", "attention"))
    work = program.passes * sum(stage.unit_seconds for stage in products.values()) * rate
    assert 1 <= work / flops < 1.2
    forward, backward = place_decoder(point), place_decoder(point, backward=True)
    assert backward.fits
    assert backward.seconds > 2 * forward.seconds


def test_a_training_step_has_both_passes_placed():
    placed = place_points([make_point("llama-2-7b", "sn40l", 8, phase="train", batch=2, context=2048)])
    assert [record["direction"] for record in placed.records] == ["forward", "backward"]
    assert [name.split()[1] for name, _ in placed.placements] == ["train", "backward"]
