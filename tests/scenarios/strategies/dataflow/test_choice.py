"""A dataflow chip takes the best plan that it holds, so that nothing that is better makes anything slower."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chips.spec import Dataflow
from cluster import Cluster
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.point import Point, make_point
from scenarios.running import run_alone
from scenarios.strategies.dataflow import choice
from scenarios.strategies.dataflow.stages import DataflowGroup
from scenarios.strategies.dataflow.token_stream import TILE_ROWS, tile_rows, turn_rows
from scenarios.workload.decoder import forward
from scenarios.workload.model import load_model, shard, tensor_parallel_counts

MODELS = ["llama-3.2-1b", "qwen2.5-7b", "llama-3.1-8b", "llama-2-13b", "llama-3.3-70b"]
MORE = [
    "compute.units",
    "compute.clock_hz",
    "compute.matrix_flop_per_clock",
    "compute.special_functions_per_clock",
    "memory.bandwidth",
    "memory.capacity_bytes",
    "link.bandwidth",
    "on_chip.memory_units",
    "on_chip.unit_bytes",
    "on_chip.port_bytes_per_clock",
    "on_chip.stream_buffer_bytes",
    "on_chip.link_bytes_per_clock",
    "timing.memory_efficiency",
    "timing.matrix_efficiency",
    "timing.unit_share",
]
LESS = [
    "timing.memory_latency",
    "timing.stage_latency",
    "timing.hop_latency",
    "timing.program_load",
    "timing.argument_load",
    "timing.execute",
    "timing.software_dispatch",
]


@st.composite
def points(draw: st.DrawFn) -> Point:
    phase = draw(st.sampled_from(["decode", "prefill", "train", "request"]))
    model = draw(st.sampled_from(MODELS))
    batch = draw(st.one_of(st.integers(1, 9), st.integers(1, 600)))
    context = draw(st.one_of(st.integers(2, 150), st.integers(2, 3000)))
    if phase == "request":
        context = min(max(context, 3), 200)  # a prompt of one token is a decode step, which reads its key from memory
    try:
        return make_point(
            model,
            draw(st.sampled_from(["sn40l", "sn10"])),
            draw(st.sampled_from([count for count in tensor_parallel_counts(load_model(model)) if count <= 16])),
            phase=phase,
            strategy=draw(st.sampled_from(["per_operator", "fused_decoder", "kernel_loop"])),
            launch=draw(st.sampled_from(["graph", "eager"])),
            batch=batch,
            context=context,
        )
    except ScenarioError:
        assume(False)
        raise


def price(point: Point) -> int:
    try:
        return int(np.max(run_alone(point).outcome.ps))
    except DoesNotFit:
        assume(False)
        raise


def scaled(chip: Dataflow, field: str, factor: float) -> Dataflow:
    """``chip`` with more of one thing; efficiencies and shares end at 1."""
    section, name = field.split(".")
    part = getattr(chip, section)
    now = getattr(part, name)
    if isinstance(now, dict):
        new: object = {key: int(value * factor) for key, value in now.items()}
    elif section == "timing" and field in MORE:
        new = min(1.0, now * factor)
    else:
        new = type(now)(now * factor)
    return chip.model_copy(update={section: part.model_copy(update={name: new})})


@settings(max_examples=25)
@given(point=points(), field=st.sampled_from(MORE + LESS), factor=st.floats(1.01, 4.0))
def test_more_of_any_resource_makes_nothing_slower(point: Point, field: str, factor: float) -> None:
    assert isinstance(point.chip, Dataflow)
    before = price(point)
    better = scaled(point.chip, field, factor if field in MORE else 1 / factor)
    assert price(replace(point, chip=better)) <= before


@settings(max_examples=15)
@given(points())
def test_fused_is_never_slower_than_a_kernel_an_operator_nor_the_loop_than_fused(point: Point) -> None:
    by_operator, fused, looped = (
        price(replace(point, strategy=name)) for name in ("per_operator", "fused_decoder", "kernel_loop")
    )
    assert looped <= fused <= by_operator


@settings(max_examples=15)
@given(points(), st.sampled_from(["batch", "context"]))
def test_one_more_sequence_or_token_makes_nothing_faster(point: Point, field: str) -> None:
    more = replace(point, **{field: getattr(point, field) + 1})
    assert price(point) <= price(more)


@settings(max_examples=15)
@given(
    st.sampled_from(MODELS),
    st.sampled_from(["sn40l", "sn10"]),
    st.integers(1, 300),
    st.sampled_from([1, 130, 700]),
    st.booleans(),
)
def test_every_plan_takes_what_it_says_on_the_clock(
    model: str, chip: str, batch: int, tokens: int, looped: bool
) -> None:
    """What is left out without being run would not have been the fastest."""
    spec = load_model(model)
    point = make_point(model, chip, 1)
    group = DataflowGroup(point.chip, Cluster(point.chip, 1))
    for segment in forward(spec, shard(spec, 1), batch, tokens, 700).segments:
        plans = choice._streams(group, segment, point.launch, looped)
        plans += choice._others(group, segment, point.launch, looped, plans)
        took = [choice._clocked(group, segment, point.launch, plan) for plan in plans]
        for plan, ps in zip(plans, took, strict=True):
            assert plan.least <= ps <= plan.most, plan.form
        taken = choice._chosen(point.chip, 1, segment, point.launch, looped)
        assert choice._clocked(group, segment, point.launch, taken) == min(took)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_tile_size_is_left_out_only_for_one_that_costs_no_more(tokens: int, other: int) -> None:
    chip = make_point("llama-3.2-1b", "sn40l", 1).chip
    assert isinstance(chip, Dataflow)
    kept = tile_rows(chip, tokens)
    for rows in TILE_ROWS:
        tiles = -(-tokens // rows)
        assert any(
            own <= rows
            and -(-tokens // own) * own <= tiles * rows
            and -(-tokens // own) * turn_rows(chip, own) <= tiles * turn_rows(chip, rows)
            for own in kept
        )


def test_larger_memory_units_make_prefill_no_slower() -> None:
    point = make_point("llama-2-7b", "sn40l", 4, phase="prefill", context=4096, strategy="kernel_loop")
    assert isinstance(point.chip, Dataflow)
    factors = [kibibytes / 512 for kibibytes in (128, 192, 256, 320, 384, 512, 1024)]
    prices = [price(replace(point, chip=scaled(point.chip, "on_chip.unit_bytes", factor))) for factor in factors]
    assert prices == sorted(prices, reverse=True)
    assert prices[-1] < prices[0]
