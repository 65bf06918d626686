"""Published runs as points, and the closed form of a training pipeline against its schedule, event by event."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips.spec import load_chip
from scenarios.errors import Unpredictable
from scenarios.model import load_model, shard
from scenarios.operators import Elementwise
from scenarios.predict import pipeline_seconds, predict_inference, predict_training, send_seconds
from scenarios.training import training_step

PUBLISHED = Path(__file__).parent.parent / "reference" / "published" / "inference.csv"


def published(**wanted):
    rows = csv.DictReader(PUBLISHED.open())
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


@pytest.mark.parametrize("launch", ["eager", "graph", "loop"])
def test_the_three_ways_to_launch_qwen_on_eight_h800s_are_within_a_fifth(launch):
    (row,) = published(model="qwen3-8b", launch=launch)
    assert predict_inference(row) == pytest.approx(float(row["seconds"]), rel=0.2)


def test_looped_sn40l_runs_are_within_their_published_uncertainty():
    rows = published(chip="sn40l")
    assert len(rows) == 3
    for row in rows:
        assert predict_inference(row) == pytest.approx(float(row["seconds"]), rel=0.1)


def test_a_batch_too_large_for_the_memory_runs_in_waves():
    row = {"chip": "a100-40gb", "n_chips": 1, "tp": 1, "model": "llama-2-7b", "launch": "graph", "phase": "request"}
    row |= {"input_tokens": 1024, "output_tokens": 1024, "framework": "TensorRT-LLM"}
    one, four = (predict_inference(row | {"batch": batch}) for batch in (16, 64))
    assert 2 * one < four < 4.5 * one


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_chips": 16}, "groups of 8"),
        ({"launch": "magic"}, "magic"),
        ({"phase": "rest"}, "rest"),
        ({"chip": "h900"}, "unknown chip"),
        ({"tp": 3, "n_chips": 3}, "counts that divide"),
    ],
)
def test_a_row_without_a_model_says_why(changes, words):
    (row,) = published(model="qwen3-8b", launch="graph")
    with pytest.raises(Unpredictable, match=words):
        predict_inference(row | changes)


def test_two_context_parallel_groups_halve_a_decoder_of_products():
    row = {"chip": "h100", "tp": 4, "pp": 1, "cp": 1, "dp": 1, "model": "llama-3.1-8b", "precision": "bf16"}
    row |= {"seq_len": 8192, "global_batch": 1, "micro_batch": 1, "recompute": "none", "what": "layer_forward"}
    alone, shared = (predict_training(row | {"cp": groups, "source": ""}) for groups in (1, 2))
    assert 0.45 * alone < shared < 0.6 * alone


def test_stages_on_different_nodes_send_over_the_network():
    chip, payload = load_chip("a100"), 2048 * 12288 * 2 / 8
    inside, between = send_seconds(chip, 4, payload), send_seconds(chip, 8, payload)
    assert inside == payload / chip.link.bandwidth
    assert between == chip.link.network_latency + payload / chip.link.network_bandwidth > inside


def test_every_micro_batch_waits_for_the_stage_with_the_logits():
    """One more micro-batch adds what the slowest stage takes, not what the mean stage takes."""
    row = {"chip": "a100", "tp": 8, "pp": 4, "cp": 1, "dp": 1, "model": "gpt-175b", "precision": "bf16"}
    row |= {"seq_len": 2048, "micro_batch": 1, "recompute": "none", "what": "step", "source": ""}
    few, many = (predict_training(row | {"global_batch": number}) for number in (16, 17))
    decoder = predict_training(row | {"global_batch": 1, "what": "layer_fwd_bwd"})
    logits = 6 * 2048 * 12288 * 51200 / 8 / 312e12
    assert many - few > 96 / 4 * decoder + logits


def interleaved_schedule(stages, chunks, micro_batches, forward, backward):
    """When the last backward pass of the interleaved 1F1B schedule ends, by its task order on every stage."""
    total = micro_batches * chunks

    def task(number, reverse):
        group, inside = divmod(number, stages * chunks)
        chunk = inside // stages
        return (chunks - 1 - chunk if reverse else chunk), group * stages + inside % stages

    orders = []
    for stage in range(stages):
        warm = min(total, (stages - stage - 1) * 2 + (chunks - 1) * stages) if chunks > 1 else stages - stage - 1
        order = [("f", *task(number, False)) for number in range(min(warm, total))]
        for number in range(total - warm):
            order += [("f", *task(warm + number, False)), ("b", *task(number, True))]
        order += [("b", *task(number, True)) for number in range(total - warm, total)]
        orders.append(order)

    def inputs(kind, stage, chunk, batch):
        if kind == "f":
            if stage:
                return (kind, stage - 1, chunk, batch)
            return (kind, stages - 1, chunk - 1, batch) if chunk else None
        if stage < stages - 1:
            return (kind, stage + 1, chunk, batch)
        return (kind, 0, chunk + 1, batch) if chunk < chunks - 1 else ("f", stage, chunk, batch)

    done, free, position = {None: 0}, [0] * stages, [0] * stages
    while any(position[stage] < len(orders[stage]) for stage in range(stages)):
        for stage in range(stages):
            while position[stage] < len(orders[stage]):
                kind, chunk, batch = orders[stage][position[stage]]
                ready = done.get(inputs(kind, stage, chunk, batch))
                if ready is None:
                    break
                free[stage] = max(free[stage], ready) + (forward if kind == "f" else backward)
                done[kind, stage, chunk, batch] = free[stage]
                position[stage] += 1
    return max(free)


@given(
    stages=st.integers(1, 5),
    chunks=st.integers(1, 3),
    groups=st.integers(1, 4),
    forward=st.integers(1, 50),
)
def test_the_pipelines_closed_form_is_its_schedule(stages, chunks, groups, forward):
    if stages == 1:
        chunks = 1
    micro_batches, backward = groups * stages, 2 * forward
    busy = chunks * (forward + backward)
    expected = interleaved_schedule(stages, chunks, micro_batches, forward, backward)
    assert pipeline_seconds(busy, micro_batches, stages, chunks) == pytest.approx(expected)


def test_an_add_that_is_apart_moves_what_the_fused_one_kept_and_the_mask_of_dropout():
    model = load_model("gpt-22b")
    fused, apart, dropped = (
        training_step(model, shard(model, 8), 4, 2048, "bf16", fused_add=add, fused_attention=attention)
        for add, attention in ((True, True), (False, True), (False, False))
    )
    hidden = 4 * 2048 * model.hidden * 2  # bytes of the hidden state of all tokens

    def moved(step):
        return sum(
            operator.bytes_read + operator.bytes_written
            for operator in step.forward.decoder
            if isinstance(operator, Elementwise) and "normalisation" in operator.name
        )

    assert moved(fused) == 2 * 4 * hidden
    assert moved(apart) == 2 * 5 * hidden
    assert moved(dropped) == 2 * 5.5 * hidden
    assert apart.backward == fused.backward
