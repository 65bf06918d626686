"""Operators: shapes after partitioning, counted a second way."""

from __future__ import annotations

import pytest

from scenarios.workload.decoder import forward
from scenarios.workload.model import load_model, shard
from scenarios.workload.operators import Attention, Collective, MatrixProduct
from scenarios.workload.training_step import Recipe, training_step

MODELS = ("llama-3.2-1b", "llama-3.1-8b", "llama-2-70b", "qwen3-8b", "gpt-22b")


def matrix_flops(step):
    return step.total(lambda operator: operator.flops if isinstance(operator, MatrixProduct) else 0.0)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ranks", [1, 2, 8])
def test_products_of_all_chips_are_two_flops_a_parameter_and_token(name, ranks):
    model = load_model(name)
    step = forward(model, shard(model, ranks), 3, 16, 16, every_logit=True)
    embedded = model.vocabulary * model.hidden * (0 if model.tied_embeddings else 1)
    positions = 0 if model.rotary else model.max_context * model.hidden
    expected = 2.0 * (model.parameters - embedded - positions) * 3 * 16
    # Vocabulary is padded and key-value heads are replicated; biases and gains are no products.
    assert ranks * matrix_flops(step) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("name", MODELS)
def test_weights_of_all_chips_are_the_models(name):
    model = load_model(name)
    step = forward(model, shard(model, 4), 1, 1, 64)
    streamed = step.total(lambda operator: operator.stream_bytes if isinstance(operator, MatrixProduct) else 0.0)
    read = model.layers * model.decoder_parameters + model.vocabulary * model.hidden
    assert 4 * streamed == pytest.approx(2.0 * read, rel=0.01)


def test_kv_cache_read_by_a_decode_step_is_the_whole_cache():
    model = load_model("llama-3.1-8b")
    step = forward(model, shard(model, 8), 5, 1, 1000)
    read = step.total(lambda operator: operator.stream_bytes if isinstance(operator, Attention) else 0.0)
    assert 8 * read == 5 * 1000 * model.kv_bytes_per_token


@pytest.mark.parametrize(("phase", "expected"), [("forward", 2), ("backward", 2)])
def test_a_training_decoder_meets_the_other_chips_twice_each_way(phase, expected):
    model = load_model("gpt-22b")
    work = training_step(model, shard(model, 8), 4, 2048, "bf16")
    step = getattr(work, phase)
    met = [operator for operator in step.decoders[0].operators if isinstance(operator, Collective)]
    assert len(met) == expected
    assert all(operator.payload_bytes == 4 * 2048 * model.hidden * 2 for operator in met)


@pytest.mark.parametrize(("recompute", "forwards"), [("none", 3.0), ("full", 4.0)])
def test_a_training_step_has_three_forward_products_and_recomputation_a_fourth(recompute, forwards):
    model = load_model("gpt-22b")
    split = shard(model, 8)
    work = training_step(model, split, 4, 2048, "bf16", Recipe(recompute=recompute))
    ahead = sum(o.flops for o in work.forward.decoders[0].operators if isinstance(o, MatrixProduct))
    back = sum(o.flops for o in work.backward.decoders[0].operators if isinstance(o, MatrixProduct))
    assert ahead + back == pytest.approx(forwards * ahead)


def test_sequence_parallelism_replaces_each_all_reduce_by_a_pair_of_half_its_volume():
    model = load_model("gpt-22b")
    split = shard(model, 8)
    plain = training_step(model, split, 4, 2048, "bf16").forward.decoders[0].operators
    sequence = training_step(model, split, 4, 2048, "bf16", Recipe(sequence=True)).forward.decoders[0].operators
    kinds = [operator.operation for operator in sequence if isinstance(operator, Collective)]
    assert kinds == ["all_gather", "reduce_scatter"] * 2
    assert sum(isinstance(operator, Collective) for operator in plain) == 2


def test_a_training_step_sums_its_weight_gradients_in_fp32_and_its_optimizer_passes_over_all_parameters() -> None:
    model = load_model("llama-2-7b")
    work = training_step(model, shard(model, 4), 1, 2048, "bf16")
    products = [operator for operator in work.forward.decoders[0].operators if isinstance(operator, MatrixProduct)]
    sums = [operator for operator in work.backward.decoders[0].operators if operator.role == "accumulation"]
    parameters = sum(product.count * product.n * product.k for product in products)
    # 4 bytes read and 4 written, of which a product has written 2 already.
    assert sum(each.bytes_read + each.bytes_written for each in sums) == 6 * parameters
    moved = sum(each.bytes_read + each.bytes_written for each in work.optimizer.operators)
    assert moved == pytest.approx(50 * model.parameters / 4)


def test_fp8_training_casts_what_no_normalisation_writes_and_every_gradient():
    model = load_model("llama-2-7b")
    work = training_step(model, shard(model, 2), 1, 2048, "fp8", Recipe(recompute="full"))
    plain = training_step(model, shard(model, 2), 1, 2048, "bf16", Recipe(recompute="full"))

    def casts(step):
        return [operator for operator in step.decoders[0].operators if operator.role == "cast"]

    assert [cast.name for cast in casts(work.forward)] == [
        "output projection input to FP8",
        "down projection input to FP8",
    ]
    assert casts(work.forward)[0].bytes_read == 2048 * 2048 * 2
    assert len(casts(work.backward)) == 2 + 4
    assert not casts(plain.forward) + casts(plain.backward)
    assert len(work.backward.decoders[0].operators) == len(plain.backward.decoders[0].operators) + 6
    assert work.forward.segments[-1] == plain.forward.segments[-1]  # the head stays in 16 bits


def test_fp8_is_gathered_as_such_under_sequence_parallelism():
    model = load_model("llama-2-7b")
    fp8, bf16 = (
        training_step(model, shard(model, 4), 1, 2048, precision, Recipe(sequence=True))
        for precision in ("fp8", "bf16")
    )
    for ours, theirs in ((fp8.forward, bf16.forward), (fp8.backward, bf16.backward)):
        gathers = [
            [
                each.payload_bytes
                for each in step.decoders[0].operators
                if getattr(each, "operation", "") == "all_gather"
            ]
            for step in (ours, theirs)
        ]
        assert len(gathers[0]) == 2
        assert gathers[0] == [size / 2 for size in gathers[1]]
    names = [operator.name for operator in fp8.backward.decoders[0].operators]
    cast = names.index("down projection output gradient to FP8")
    assert names[cast + 1] == "MLP ReduceScatter backward"
    assert fp8.backward.decoders[0].operators[cast].bytes_read == 2048 * model.hidden * 2 / 4
