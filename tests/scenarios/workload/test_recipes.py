"""The kernels of a training step by how software runs it: modules, recomputation, adapters; FLOPs and bytes by hand."""

from __future__ import annotations

import pytest

from scenarios.errors import ScenarioError
from scenarios.point import make_point
from scenarios.workload.adapters import FULL, Method, adapter_parameters
from scenarios.workload.model import load_model, shard
from scenarios.workload.operators import Attention, Elementwise, MatrixProduct
from scenarios.workload.training_step import Recipe, trained_parameters, training_step

MODEL = load_model("llama-3.1-8b")
SHARD = shard(MODEL, 1)
ROWS = 2 * 4096


def work(**recipe):
    return training_step(MODEL, SHARD, 2, 4096, "bf16", Recipe(**recipe))


def product_flops(step):
    return step.total(lambda operator: operator.flops if isinstance(operator, MatrixProduct) else 0.0)


def moved(step):
    return step.total(lambda each: each.bytes_read + each.bytes_written if isinstance(each, Elementwise) else 0.0)


def kernels(step):
    return len(step.decoders[0].operators)


@pytest.mark.parametrize("modules", ["joined", "compiled", "eager"])
def test_all_ways_multiply_as_much(modules):
    made, joined = work(modules=modules), work()
    for way in ("forward", "backward"):
        assert product_flops(getattr(made, way)) == product_flops(getattr(joined, way))


def test_eager_modules_move_what_their_calls_move():
    """A token's bytes in one decoder of Llama: 36 forward and 92 backward for each element of a normalisation, with 6
    for the residual stream each way; queries and keys 20 and 28; the gated unit 10 and 18; sums of input gradients 6.
    """
    made = work(modules="eager", fp32_gradients=False)
    norms, turned, inner = 2 * MODEL.hidden, 32 * 128 + 8 * 128, MODEL.intermediate
    forward, backward = ((norms * n + turned * r + inner * g) * ROWS for n, r, g in ((42, 20, 10), (98, 28, 18)))

    def in_decoder(step):
        each = step.decoders[0].operators
        return sum(e.bytes_read + e.bytes_written for e in each if isinstance(e, Elementwise))

    assert in_decoder(made.forward) == pytest.approx(forward)
    assert in_decoder(made.backward) == pytest.approx(backward + 3 * 6 * MODEL.hidden * ROWS)


def test_a_compiler_leaves_complex_numbers_as_they_are_called():
    """Queries and keys in fp32, a product, and back: three kernels for both and 20 bytes an element each way, not 4."""
    turned = (32 * 128 + 8 * 128) * ROWS * MODEL.layers
    for way in ("forward", "backward"):
        (fused, numbers), (called, as_called) = (
            [getattr(work(modules=modules, rotary=rotary), way) for rotary in ("halves", "complex")]
            for modules in ("compiled", "eager")
        )
        assert kernels(numbers) - kernels(fused) == 2
        bytes_of_fused = 4 if way == "forward" else 6
        assert moved(numbers) - moved(fused) == pytest.approx((20 - bytes_of_fused) * turned)
        assert moved(as_called) - moved(called) == pytest.approx((20 - (20 if way == "forward" else 28)) * turned)


def test_a_compiler_leaves_fewer_kernels_and_bytes():
    eager, compiled = (work(modules=modules, fp32_gradients=False) for modules in ("eager", "compiled"))
    for way in ("forward", "backward"):
        many, few = getattr(eager, way), getattr(compiled, way)
        assert kernels(few) < 0.6 * kernels(many)
        assert moved(few) < moved(many)


@pytest.mark.parametrize(
    ("recompute", "share"),
    [
        ("none", 0.0),
        ("selective", 0.0),
        ("layers", 0.5),
        ("full", 1.0),
        # Keys, output projection and up projection, of all seven products.
        ("operators", (1024 + 4096 + 14336) * 4096 / (2 * 4096 + 2 * 1024 + 3 * 14336) / 4096),
    ],
)
@pytest.mark.parametrize("modules", ["joined", "compiled"])
def test_products_computed_again_are_the_share_of_the_forward_pass(recompute, share, modules):
    made, plain = work(recompute=recompute, modules=modules), work(modules=modules)
    decoders = 2 * ROWS * MODEL.layers * (2 * 4096 + 2 * 1024 + 3 * 14336) * 4096
    assert product_flops(made.backward) - product_flops(plain.backward) == pytest.approx(share * decoders)
    again = sum(each.times for each in made.backward.segments for op in each.operators if isinstance(op, Attention))
    assert again == MODEL.layers * (1 + {"selective": 1, "full": 1, "layers": 0.5}.get(recompute, 0))


@pytest.mark.parametrize("products", ["all", "attention", "qkv"])
def test_adapters_cost_their_own_products_and_frozen_ones_no_weight_gradient(products):
    """Forward and input gradients of what is frozen: two thirds; of adapters, six FLOPs a parameter and token."""
    method = Method(16, products)
    made, full = work(method=method), work()
    adapters = MODEL.layers * adapter_parameters(MODEL, SHARD, method)
    assert product_flops(made.forward) == product_flops(full.forward) + 2 * adapters * ROWS
    assert product_flops(made.backward) == product_flops(full.backward) / 2 + 4 * adapters * ROWS
    assert trained_parameters(MODEL, SHARD, method) == adapters
    assert moved(made.optimizer) / moved(full.optimizer) == pytest.approx(adapters / MODEL.parameters)


def test_adapter_parameters_are_those_of_their_products():
    """Rank 16 beside queries, keys and values: 16 x (4096 + 4096 + 2 x 1024) in each decoder."""
    assert adapter_parameters(MODEL, SHARD, Method(16, "qkv")) == 16 * (4096 + 6144)
    assert adapter_parameters(MODEL, SHARD, FULL) == 0


@pytest.mark.parametrize("text", ["full", "lora,rank=16", "lora,rank=8,products=qkv"])
def test_a_method_is_its_text(text):
    assert str(Method.parse(text)) == text


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("qlora", "--method 'qlora' is not understood; expected full, or lora with rank=NUMBER"),
        ("full,rank=4", "'full,rank=4' is not understood"),
        ("lora,rank=8,rank=16", "says rank twice"),
        ("lora,rank=0", "'rank=0' is not understood"),
        ("lora,products=mlp", "'products=mlp' is not understood"),
    ],
)
def test_a_method_that_is_none_is_refused_in_a_sentence(method, words):
    with pytest.raises(ScenarioError, match=words):
        make_point("llama-2-7b", "h100", 8, phase="train", batch=8, method=method)
