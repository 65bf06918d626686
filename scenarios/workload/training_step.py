"""A training step as operators: forward and backward passes of a decoder, and the optimizer.

The backward pass of a product is two products (for its input and for its weights), so a step has three times the
forward FLOPs; activations are kept, or computed again by ``recompute`` (Korthikanti et al. 2022, arXiv 2205.05198):
``none``, ``selective`` (only attention's inner part), ``full`` (the whole decoder).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from chips.spec import Precision
from scenarios.workload.decoder import forward
from scenarios.workload.model import Model, Shard
from scenarios.workload.operators import (
    ACTIVATION_BYTES,
    Attention,
    Collective,
    Decoder,
    Elementwise,
    MatrixProduct,
    Operator,
    Quantity,
    Role,
    Segment,
    Step,
)
from scenarios.workload.parallel import Recompute
from scenarios.workload.quantization import Quantization

# Mixed-precision Adam as Megatron-LM runs it: 16-bit weight, fp32 gradient, master weight and two moments are held, 18
# bytes a parameter (Rajbhandari et al. 2020, arXiv 1910.02054, with a 16-bit gradient: 16). The last may be shared.
WEIGHT_BYTES, GRADIENT_BYTES, OPTIMIZER_STATE_BYTES = 2, 4, 12
MOST_REMEMBERED = 2**10  # steps: layouts that differ in pipelines and replicas share them


class ElementPass(NamedTuple):
    """What a kernel that passes once over an array does for each of its elements."""

    bytes_read: float
    bytes_written: float
    operations: float
    special_functions: float = 0.0


# The passes of its optimizer over the parameters, named as its timers.
OPTIMIZER_PASSES = {
    "clip-main-grad, norm": ElementPass(4, 0, 2),
    "clip-main-grad, scale": ElementPass(4, 4, 2),
    "inner-step": ElementPass(16, 12, 12),  # Adam: gradient, master weight and two moments
    "copy-main-to-model-params": ElementPass(4, 2, 2),
    "zero gradients": ElementPass(0, 4, 2),
}
# The loss over a split vocabulary as Megatron-LM computes it unless told to fuse it: passes over the logits in fp32.
LOSS_PASSES = {
    "cast": ElementPass(2, 4, 1),
    "maximum": ElementPass(4, 0, 1),
    "subtraction": ElementPass(4, 4, 1),
    "exponential": ElementPass(4, 4, 1, special_functions=1),
    "sum": ElementPass(4, 0, 1),
    "division": ElementPass(4, 4, 1),
}
LOSS_BACKWARD_PASSES = {"product": ElementPass(4, 4, 1), "cast": ElementPass(4, 2, 1)}


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
    *,
    recompute: Recompute = "none",
    sequence: bool = False,
    fused_attention: bool = True,
    fused_add: bool = True,
    fused_loss: bool = True,
    context_parallel: int = 1,
) -> TrainingStep:
    """One step on ``batch`` sequences of ``tokens`` tokens, the model split over ``shard.ranks`` chips.

    ``context_parallel`` groups share each sequence: a group has its part of the tokens, and its queries attend to half
    of the others' keys on average (causal, balanced), which travel around while it computes. ``fused_add``: residual
    adds ride with the normalisation after them, as a strategy that fuses has them; Megatron-LM's do not.
    ``fused_loss``: the loss reads the logits once, as they are.
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
        sequence=sequence,
        fused_attention=fused_attention,
    )
    dropout = not fused_attention
    kept = kept_activation_bytes(model, shard, batch, own, recompute, sequence=sequence, dropout=dropout)

    def both_ways(segment: Segment) -> tuple[Segment, Segment]:
        back = [each for operator in reversed(segment.operators) for each in backward(operator)]
        if not isinstance(segment, Decoder):
            if fused_loss:
                return segment, Segment(tuple(back))
            return (
                Segment(_loss_in_passes(segment.operators, LOSS_PASSES)),
                Segment(_loss_in_passes(back, LOSS_BACKWARD_PASSES)),
            )
        there = _with_casts(segment.operators)
        if not fused_add:
            there = [part for operator in there for part in _add_apart(operator, dropout=dropout)]
        back = _computed_again(there, recompute) + back
        return (
            Decoder(tuple(_gathered_in_fp8(there, shard.ranks)), segment.layers, kept),
            Decoder(tuple(_gathered_in_fp8(back, shard.ranks)), segment.layers, kept),
        )

    segments, reverse = zip(*map(both_ways, ahead.segments), strict=True)
    return TrainingStep(Step(segments), Step(reverse[::-1]), optimizer_step(model.parameters / shard.ranks))


def _passes(
    name: str, passes: Mapping[str, ElementPass], elements: Quantity, role: Role | None = None
) -> list[Operator]:
    """A kernel for each of ``passes`` over an array of so many elements."""
    return [
        Elementwise(
            f"{name} {each}",
            **{field: amount * elements for field, amount in done._asdict().items()},
            plain_calls=1,
            role=role,
        )
        for each, done in passes.items()
    ]


def _loss_in_passes(operators: Sequence[Operator], passes: Mapping[str, ElementPass]) -> tuple[Operator, ...]:
    """The same with the loss in so many passes over as many logits as it reads."""
    made: list[Operator] = []
    for operator in operators:
        if isinstance(operator, Elementwise) and operator.role == "loss":
            made += _passes(f"{operator.name},", passes, operator.bytes_read / ACTIVATION_BYTES)
        else:
            made.append(operator)
    return tuple(made)


def _add_apart(operator: Operator, *, dropout: bool) -> list[Operator]:
    """A normalisation as training runs it forward: the residual add before it is a kernel of its own.

    Megatron-LM's adds bias and residual, and where there is ``dropout`` writes its mask, a byte an element. Of the
    backward pass the sum of two gradients is as much as the fused add: it stays.
    """
    if not (isinstance(operator, Elementwise) and operator.role == "norm"):
        return [operator]
    unit = operator.bytes_read / 2
    mask = unit / ACTIVATION_BYTES if dropout else 0.0
    add = replace(
        operator,
        name=f"residual add before {operator.name}",
        bytes_written=unit + mask,
        operations=2.0 * unit / ACTIVATION_BYTES,
        special_functions=0.0,
        passes=1,
        role=None,
    )
    return [add, replace(operator, bytes_read=unit, bytes_written=unit)]


def _with_casts(decoder: Sequence[Operator]) -> list[Operator]:
    """A decoder whose products take FP8, as Transformer Engine casts for them.

    A normalisation writes its output as two FP8 arrays, one of them transposed for the weight gradient, in the bytes of
    the 16-bit one; the input of any other product is cast by a kernel of its own.
    """
    made: list[Operator] = []
    before: Operator | None = None
    for operator in decoder:
        normalised = before is not None and before.role == "norm"
        if isinstance(operator, MatrixProduct) and operator.precision == "fp8" and not normalised:
            assert isinstance(operator.m, int)
            made.append(_cast(f"{operator.name} input", operator.m * operator.k))
        made.append(operator)
        if not isinstance(operator, Collective):
            before = operator
    return made


def _gathered_in_fp8(operators: Sequence[Operator], ranks: int) -> list[Operator]:
    """Under sequence parallelism what a product takes in FP8 is cast before it is gathered: a rank's share, half of the
    bytes (Transformer Engine).
    """
    made = list(operators)
    for place, gather in enumerate(made[:-1]):
        if not (isinstance(gather, Collective) and gather.operation == "all_gather"):
            continue
        taken = made[place + 1]
        half = replace(gather, payload_bytes=gather.payload_bytes / 2)
        if isinstance(taken, MatrixProduct) and taken.precision == "fp8":
            made[place] = half
        elif isinstance(taken, Elementwise) and taken.role == "cast":
            share = {key: getattr(taken, key) / ranks for key in ("bytes_read", "bytes_written", "operations")}
            made[place : place + 2] = [replace(taken, **share), half]
    return made


def _cast(name: str, elements: int) -> Elementwise:
    """16-bit elements as two FP8 arrays, one of them transposed."""
    return Elementwise(f"{name} to FP8", 2.0 * elements, 2.0 * elements, 2.0 * elements, plain_calls=1, role="cast")


def backward(operator: Operator) -> list[Operator]:
    """The kernels of an operator's backward pass."""
    match operator:
        case MatrixProduct(name=name, m=m, n=n, k=k, precision=precision):
            assert isinstance(m, int)  # passes of training are not side by side
            # dA[m,k] = dC[m,n] B^T reads the weights again; dB[k,n] = A^T dC does not.
            gradients: list[Operator] = [_cast(f"{name} output gradient", m * n)] if precision == "fp8" else []
            gradients += [
                replace(operator, name=f"{name} input gradient", n=k, k=n, exact=True),
                replace(
                    operator,
                    name=f"{name} weight gradient",
                    m=k,
                    n=n,
                    k=m,
                    weights=False,
                    exact=True,
                    role="weight gradient",
                ),
            ]
            return [*gradients, _accumulation(operator)] if operator.weights else gradients
        case Attention():
            return [replace(operator, name="attention backward", backward=True)]
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


def kept_activation_bytes(
    model: Model, shard: Shard, batch: int, tokens: int, recompute: Recompute, *, sequence: bool, dropout: bool
) -> float:
    """Activations that one decoder keeps for its backward pass, on one chip.

    What Korthikanti et al. 2022 (table 2) count for a GPT, by the model's own widths. Of the hidden state every chip
    keeps four (or its part of them under sequence parallelism): the inputs of two normalisations and of the products
    after them, and a byte for each of two masks of dropout; inside the parallel parts queries, keys, values and
    attention's output, the MLP's inner state before and after its activation. Attention scores are not counted, because
    FlashAttention and selective recomputation do not keep them. Full recomputation keeps only the input.
    """
    rows = float(batch * tokens)
    if recompute == "full":
        return ACTIVATION_BYTES * rows * model.hidden
    replicated = (4 * ACTIVATION_BYTES + (2 if dropout else 0)) * model.hidden / (shard.ranks if sequence else 1)
    attention = 2 * (shard.heads + shard.kv_heads) * model.head_dim
    return rows * (replicated + ACTIVATION_BYTES * (attention + (3 if model.gated_mlp else 2) * shard.intermediate))


def _computed_again(decoder: list[Operator], recompute: Recompute) -> list[Operator]:
    """What of a decoder's forward pass its backward pass begins with."""
    match recompute:
        case "none":
            return []
        case "selective":
            return [operator for operator in decoder if operator.part == "attention"]
        case "full":
            # The closing collective need not be computed again: the next decoder's input was kept.
            return decoder[:-1] if isinstance(decoder[-1], Collective) else decoder


@lru_cache(MOST_REMEMBERED)
def optimizer_step(parameters: float) -> Step:
    """The optimizer on one chip that updates so many parameters."""
    passes = Segment(tuple(_passes("optimizer", OPTIMIZER_PASSES, parameters, role="optimizer")))
    return Step((Segment(()), passes))  # a kernel boundary lies before it
