"""Published runs as points, and what of them has no model."""

from __future__ import annotations

import csv

import pytest

from scenarios.errors import Unpredictable
from scenarios.evidence.published.runs import predict_training, price_inference
from scenarios.evidence.validation import DATA
from scenarios.workload.model import load_model, shard
from scenarios.workload.operators import Elementwise
from scenarios.workload.training_step import Recipe, training_step

PUBLISHED = DATA / "published" / "inference.csv"


def published(**wanted):
    rows = csv.DictReader(PUBLISHED.open())
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def predicted(row):
    return sum(outcome.seconds for outcome in price_inference(row).outcomes)


@pytest.mark.parametrize("launch", ["eager", "graph", "loop"])
def test_the_three_ways_to_launch_qwen_on_eight_h800s_are_within_a_fifth(launch):
    (row,) = published(model="qwen3-8b", launch=launch, chip="h800")
    assert predicted(row) == pytest.approx(float(row["seconds"]), rel=0.2)


def test_looped_sn40l_runs_are_within_their_published_uncertainty():
    rows = published(chip="sn40l")
    assert len(rows) == 3
    for row in rows:
        assert predicted(row) == pytest.approx(float(row["seconds"]), rel=0.1)


def test_a_batch_too_large_for_the_memory_runs_in_waves():
    row = {"chip": "a100-40gb", "n_chips": 1, "tp": 1, "model": "llama-2-7b", "launch": "graph", "phase": "request"}
    row |= {"input_tokens": 1024, "output_tokens": 1024, "framework": "TensorRT-LLM"}
    one, four = (predicted(row | {"batch": batch}) for batch in (16, 64))
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
    (row,) = published(model="qwen3-8b", launch="graph", chip="h800")
    with pytest.raises(Unpredictable, match=words):
        predicted(row | changes)


def test_two_context_parallel_groups_halve_a_decoder_of_products():
    row = {"chip": "h100", "tp": 4, "pp": 1, "cp": 1, "dp": 1, "model": "llama-3.1-8b", "precision": "bf16"}
    row |= {"seq_len": 8192, "global_batch": 1, "micro_batch": 1, "recompute": "none", "what": "layer_forward"}
    alone, shared = (predict_training(row | {"cp": groups, "source": ""}) for groups in (1, 2))
    assert 0.45 * alone < shared < 0.6 * alone


def test_every_micro_batch_waits_for_the_stage_with_the_logits():
    """More micro-batches add what the slowest stage takes for each, not what the mean stage takes."""
    row = {"chip": "a100", "tp": 8, "pp": 4, "cp": 1, "dp": 1, "model": "gpt-175b", "precision": "bf16"}
    row |= {"seq_len": 2048, "micro_batch": 1, "recompute": "none", "what": "step", "source": ""}
    few, many = (predict_training(row | {"global_batch": number}) for number in (16, 20))
    decoder = predict_training(row | {"global_batch": 1, "what": "layer_fwd_bwd"})
    logits = 6 * 2048 * 12288 * 51200 / 8 / 312e12
    assert (many - few) / 4 > 96 / 4 * decoder + logits


def test_an_add_that_is_apart_moves_what_the_fused_one_kept_and_the_mask_of_dropout():
    model = load_model("gpt-22b")
    fused, apart, dropped = (
        training_step(model, shard(model, 8), 4, 2048, "bf16", Recipe(fused_add=add, fused_attention=attention))
        for add, attention in ((True, True), (False, True), (False, False))
    )
    hidden = 4 * 2048 * model.hidden * 2  # bytes of the hidden state of all tokens

    def moved(step):
        return sum(
            operator.bytes_read + operator.bytes_written
            for operator in step.forward.decoders[0].operators
            if isinstance(operator, Elementwise) and "normalisation" in operator.name
        )

    assert moved(fused) == 2 * 4 * hidden
    assert moved(apart) == 2 * 5 * hidden
    assert moved(dropped) == 2 * 5.5 * hidden
    assert apart.backward == fused.backward


def test_a_loss_in_passes_moves_52_bytes_a_logit():
    """Cast 6, maximum 4, subtraction 8, exponential 8, sum 4, division 8; backward a product 8 and a cast 6."""
    model = load_model("llama-3-8b")
    fused, apart = (
        training_step(model, shard(model, 2), 1, 4096, "bf16", Recipe(fused_loss=fused)) for fused in (True, False)
    )

    def moved(step):
        return sum(
            operator.bytes_read + operator.bytes_written
            for operator in (*step.forward.operators, *step.backward.operators)
            if operator.name.startswith("loss")
        )

    assert moved(apart) == pytest.approx(52 * 4096 * model.vocabulary / 2, rel=1e-3)
    assert moved(fused) < moved(apart) / 5
    assert apart.forward.decoders[0].operators == fused.forward.decoders[0].operators
