"""A training step as operators: forward and backward passes of a decoder, and the optimizer.

The backward pass of a product is two products (for its input and for its weights), so a step has three times the
forward FLOPs; activations are kept, or computed again (``scenarios.workload.recomputation``). Of a frozen product only
the gradient of its input is needed (``scenarios.workload.adapters``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from chips.spec import Precision
from scenarios.framework import Optimizer, Rotary
from scenarios.workload.adapters import FULL, Method, adapter, adapter_parameters
from scenarios.workload.decoder import forward
from scenarios.workload.element_passes import (
    ADD,
    LOSS,
    LOSS_BACKWARD,
    ElementPass,
    compiled,
    kernels,
    optimizer_step,
    plain,
)
from scenarios.workload.fp8_casts import (
    gathered_in_fp8,
    gradient_cast,
    scaled_gradient_casts,
    with_casts,
    with_scaled_casts,
)
from scenarios.workload.model import Model, Shard
from scenarios.workload.operators import (
    ACTIVATION_BYTES,
    Attention,
    Collective,
    Decoder,
    Elementwise,
    MatrixProduct,
    Operator,
    Segment,
    Step,
)
from scenarios.workload.parallel import Recompute
from scenarios.workload.quantization import Quantization
from scenarios.workload.recomputation import computed_again, kept_activation_bytes

MOST_REMEMBERED = 2**10  # steps: layouts that differ in pipelines and replicas share them

Modules = Literal["joined", "compiled", "eager"]
"""A decoder as Megatron-LM's kernels, or as the calls of a model's modules: products apart, what is element-wise fused
by a compiler, or not at all."""


@dataclass(frozen=True)
class Recipe:
    """How software runs a training step, as far as its kernels are concerned.

    ``sequence`` parallelism: Korthikanti et al. 2022, arXiv 2205.05198. ``fused_add``: residual adds ride with the
    normalisation after them, as a strategy that fuses has them; Megatron-LM's do not. ``fused_loss``: the loss reads
    the logits once, as they are. Both are said of ``modules`` that are joined. ``cut_products``: collectives run beside
    products, which stay joined for that. ``fp32_gradients``: weight gradients are added to fp32 ones. ``gathered``:
    weights are shared, so that they are copied out of what is gathered, and gradients, as
    ``summed_gradient_bytes`` each, into what is summed.
    """

    recompute: Recompute = "none"
    sequence: bool = False
    fused_attention: bool = True
    fused_add: bool = True
    fused_loss: bool = True
    modules: Modules = "joined"
    cut_products: bool = False
    fp32_gradients: bool = True
    gathered: bool = False
    summed_gradient_bytes: int = 4
    optimizer: Optimizer = "megatron"
    rotary: Rotary = "halves"
    method: Method = FULL


PLAIN = Recipe()


@dataclass(frozen=True)
class TrainingStep:
    """The three stretches of one step on one chip: forward and backward of a micro-batch, and the optimizer once."""

    forward: Step
    backward: Step
    optimizer: Step


@lru_cache(MOST_REMEMBERED)
def training_step(
    model: Model,
    shard: Shard,
    batch: int,
    tokens: int,
    precision: Precision,
    recipe: Recipe = PLAIN,
    *,
    context_parallel: int = 1,
) -> TrainingStep:
    """One step on ``batch`` sequences of ``tokens`` tokens, the model split over ``shard.ranks`` chips.

    ``context_parallel`` groups share each sequence: a group has its part of the tokens, and its queries attend to half
    of the others' keys on average (causal, balanced), which travel around while it computes (Liu et al. 2023, ring
    attention, arXiv 2310.01889).
    """
    own = tokens // context_parallel
    context = (tokens + own) // 2
    ahead = forward(
        model.model_copy(update={"window": None, "global_layers": 0}),  # no window is full
        shard,
        batch,
        own,
        context,
        Quantization.of(precision),
        every_logit=True,
        sequence=recipe.sequence,
        fused_attention=recipe.fused_attention,
    )
    before, decoder, after = ahead.segments
    decoder = _in_rings(decoder, context_parallel)
    dropout = not recipe.fused_attention
    kept = kept_activation_bytes(model, shard, batch, own, recipe.recompute, sequence=recipe.sequence, dropout=dropout)
    around = model.around_parameters / shard.ranks
    apiece = model.decoder_parameters / shard.ranks
    there = _forward(decoder, recipe)
    again = computed_again(there, recipe.recompute)
    back = [*_gathered(recipe, apiece), *again.every, *_backward(decoder, recipe), *_handed_over(recipe, apiece)]

    def layers(operators: Sequence[Operator], number: int, kept_bytes: float = 0.0) -> Decoder:
        casts_gathered = recipe.modules == "joined"
        return Decoder(
            tuple(gathered_in_fp8(operators, shard.ranks) if casts_gathered else operators), number, kept_bytes
        )

    second = [layers(again.second, -(-model.layers // 2))] if again.second else []
    return TrainingStep(
        Step(
            (
                Segment((*_gathered(recipe, around), *_forward(before, recipe))),
                layers([*_gathered(recipe, apiece), *there], model.layers, kept),
                Segment(tuple(_forward(after, recipe))),
            )
        ),
        Step(
            (
                Segment(tuple(_backward(after, recipe))),
                layers(back, model.layers, kept),
                *second,
                Segment((*_backward(before, recipe), *_handed_over(recipe, around))),
            )
        ),
        optimizer_step(trained_parameters(model, shard, recipe.method), recipe.optimizer),
    )


def _in_rings(decoder: Segment, groups: int) -> Segment:
    """A decoder whose attention goes round ``groups`` that share each sequence, with the keys of one at a time."""

    def in_ring(operator: Operator) -> Operator:
        if not isinstance(operator, Attention):
            return operator
        assert isinstance(operator.batch, int)  # passes of training are not side by side
        assert isinstance(operator.tokens, int)
        keys = 2 * operator.batch * operator.tokens * operator.kv_heads * operator.head_dim
        return replace(operator, groups=groups, passed_bytes=float(keys * ACTIVATION_BYTES))

    return replace(decoder, operators=tuple(map(in_ring, decoder.operators))) if groups > 1 else decoder


def trained_parameters(model: Model, shard: Shard, method: Method) -> float:
    """Parameters of one chip that a step updates, of all decoders and around them."""
    return model.layers * adapter_parameters(model, shard, method) if method.rank else model.parameters / shard.ranks


def _with_adapters(
    operators: Sequence[Operator], recipe: Recipe, inside: bool
) -> list[tuple[Operator, list[Operator]]]:
    """Each operator, with the kernels of its adapter if it is a product ``inside`` a decoder that has one."""
    made: list[tuple[Operator, list[Operator]]] = []
    products = 0
    for operator in operators:
        adapted: list[Operator] = []
        if isinstance(operator, MatrixProduct) and operator.weights:
            if inside and recipe.method.adapts(products):
                adapted = adapter(operator, recipe.method.rank)
            products += 1
        made.append((operator, adapted))
    return made


def _forward(segment: Segment, recipe: Recipe) -> list[Operator]:
    """The kernels of a segment's forward pass."""
    operators: Sequence[Operator] = segment.operators
    inside, joined = isinstance(segment, Decoder), recipe.modules == "joined"
    if inside:
        operators = with_casts(operators) if joined else with_scaled_casts(operators)
    made: list[Operator] = []
    for operator, adapted in _with_adapters(operators, recipe, inside):
        if isinstance(operator, MatrixProduct):
            made += [*_apart(operator, recipe), *adapted]
        elif not joined:
            made += _as_called(operator, recipe, backwards=False)
        elif operator.role == "loss" and not recipe.fused_loss:
            made += _in_passes(operator, LOSS)
        elif operator.role == "norm" and inside and not recipe.fused_add:
            made += _add_apart(operator, dropout=not recipe.fused_attention)
        else:
            made.append(operator)
    return made


def _backward(segment: Segment, recipe: Recipe) -> list[Operator]:
    """The kernels of a segment's backward pass, but for what it computes again."""
    inside, joined = isinstance(segment, Decoder), recipe.modules == "joined"
    made: list[Operator] = []
    for operator, adapted in reversed(_with_adapters(segment.operators, recipe, inside)):
        if isinstance(operator, MatrixProduct):
            made += gradient_cast(operator) if joined else scaled_gradient_casts(operator)
            parts = _apart(operator, recipe)
            for part in reversed(parts):
                made += _product_backward(part, recipe, frozen=bool(recipe.method.rank) and part.weights)
            for each in reversed(adapted):
                made += _product_backward(each, recipe) if isinstance(each, MatrixProduct) else backward(each)
            # A compiler adds the gradients of one input where the next operator reads them.
            gradients = len(parts) if recipe.modules == "eager" else 1
            added = gradients + bool(adapted) - 1
            made += added * kernels(f"{operator.name} input gradients", ADD, operator.m * operator.k)
        elif not joined:
            made += _as_called(operator, recipe, backwards=True)
        elif operator.role == "loss" and not recipe.fused_loss:
            made += _in_passes(operator, LOSS_BACKWARD)
        else:
            made += backward(operator)
    return made


def _apart(product: MatrixProduct, recipe: Recipe) -> list[MatrixProduct]:
    """The products that one joins, if they are run apart."""
    if recipe.modules == "joined" or recipe.cut_products or not product.widths:
        return [product]
    return [
        replace(product, name=f"{product.name} {number}", n=width, widths=())
        for number, width in enumerate(product.widths, start=1)
    ]


def _as_called(operator: Operator, recipe: Recipe, *, backwards: bool) -> list[Operator]:
    """What is no product as the modules call it: each call a kernel, or what is element-wise as a compiler fuses it.

    PyTorch's compiler leaves complex numbers to the kernels that they are without it.
    """
    complex_numbers = isinstance(operator, Elementwise) and operator.role == "rotary" and recipe.rotary == "complex"
    if recipe.modules == "eager" or complex_numbers:
        called = plain(operator, recipe.rotary, backwards=backwards)
        if called is not None:
            return called
    fused = compiled(operator)
    return backward(fused) if backwards else [fused]


def _in_passes(loss: Operator, passes: dict[str, ElementPass]) -> list[Operator]:
    """The loss in so many passes over as many logits as it reads."""
    assert isinstance(loss, Elementwise)
    return kernels(loss.name, passes, loss.bytes_read / ACTIVATION_BYTES)


def _add_apart(norm: Operator, *, dropout: bool) -> list[Operator]:
    """A normalisation as training runs it forward: the residual add before it is a kernel of its own.

    Megatron-LM's adds bias and residual, and where there is ``dropout`` writes its mask, a byte an element. Of the
    backward pass the sum of two gradients is as much as the fused add: it stays.
    """
    assert isinstance(norm, Elementwise)
    unit = norm.bytes_read / 2
    mask = unit / ACTIVATION_BYTES if dropout else 0.0
    add = replace(
        norm,
        name=f"residual add before {norm.name}",
        bytes_written=unit + mask,
        operations=2.0 * unit / ACTIVATION_BYTES,
        special_functions=0.0,
        passes=1,
        role=None,
    )
    return [add, replace(norm, bytes_read=unit, bytes_written=unit)]


def _gathered(recipe: Recipe, parameters: float) -> list[Operator]:
    """Weights that were gathered from all who share them are copied to where products read them."""
    return kernels("gathered weights", {"copied": ElementPass(2, 2)}, parameters) if recipe.gathered else []


def _handed_over(recipe: Recipe, parameters: float) -> list[Operator]:
    """Gradients are copied to where they are summed over all who share the weights."""
    if not recipe.gathered or recipe.method.rank:
        return []
    return kernels("gradients", {"copied": ElementPass(2, recipe.summed_gradient_bytes)}, parameters)


def _product_backward(product: MatrixProduct, recipe: Recipe, *, frozen: bool = False) -> list[Operator]:
    """The backward products of one, of which a ``frozen`` one needs only its input's."""
    given, weights = backward(product)
    if frozen:
        return [given]
    summed = product.weights and recipe.fp32_gradients
    return [given, weights, *([_accumulation(product)] if summed else [])]


def backward(operator: Operator) -> list[Operator]:
    """The kernels of an operator's backward pass."""
    match operator:
        case MatrixProduct(name=name, m=m, n=n, k=k):
            assert isinstance(m, int)  # passes of training are not side by side
            # dA[m,k] = dC[m,n] B^T reads the weights again; dB[k,n] = A^T dC does not.
            given = replace(operator, name=f"{name} input gradient", n=k, k=n, exact=True)
            own = replace(operator, name=f"{name} weight gradient", m=k, n=n, k=m, weights=False, exact=True)
            return [given, replace(own, role="weight gradient")]
        case Attention():
            # Keys and values go round once more, with their gradients.
            return [replace(operator, name="attention backward", backward=True, passed_bytes=2 * operator.passed_bytes)]
        case Collective(name=name, operation="all_gather"):
            return [replace(operator, name=f"{name} backward", operation="reduce_scatter")]
        case Collective(name=name, operation="reduce_scatter"):
            return [replace(operator, name=f"{name} backward", operation="all_gather")]
        case Collective(name=name):
            return [replace(operator, name=f"{name} backward")]
        case Elementwise(name=name):
            return [
                replace(
                    operator,
                    name=f"{name} backward",
                    bytes_read=operator.bytes_read + operator.bytes_written,
                    bytes_written=operator.bytes_read,
                    operations=2 * operator.operations,
                    plain_calls=2 * operator.plain_calls,
                )
            ]


def _accumulation(product: MatrixProduct) -> Elementwise:
    """Weight gradients are summed in fp32 over micro-batches: read and written, less what the product has written."""
    parameters = float(product.count * product.n * product.k)
    return Elementwise(
        f"{product.name} gradient accumulation",
        bytes_read=4.0 * parameters,
        bytes_written=2.0 * parameters,
        operations=parameters,
        plain_calls=1,
        role="accumulation",
    )
