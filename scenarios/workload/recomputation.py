"""What a backward pass computes again of the forward pass, and what is kept between them for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from scenarios.workload.model import Model, Shard
from scenarios.workload.operators import ACTIVATION_BYTES, Collective, Elementwise, MatrixProduct, Operator
from scenarios.workload.parallel import Recompute


class Again(NamedTuple):
    """Operators that the backward pass of a decoder begins with; those of every second decoder alone."""

    every: list[Operator]
    second: list[Operator]


def computed_again(decoder: Sequence[Operator], recompute: Recompute) -> Again:
    """What of the forward pass of ``decoder`` is computed again."""
    # The closing collective need not be: the next decoder's input was kept.
    whole = list(decoder[:-1] if isinstance(decoder[-1], Collective) else decoder)
    match recompute:
        case "none":
            return Again([], [])
        case "selective":
            return Again([operator for operator in decoder if operator.part == "attention"], [])
        case "operators":
            return Again(_every_second_product(whole), [])
        case "layers":
            return Again([], whole)
        case "full":
            return Again(whole, [])


def _every_second_product(decoder: Sequence[Operator]) -> list[Operator]:
    """What is element-wise or gathered, and the second, fourth, ... product; of joined ones, those that fall so."""
    made: list[Operator] = []
    products = 0
    for operator in decoder:
        if isinstance(operator, MatrixProduct) and operator.weights:
            widths = operator.widths or (operator.n,)
            again = [width for number, width in enumerate(widths, start=products + 1) if number % 2 == 0]
            products += len(widths)
            if again:
                made.append(replace(operator, n=sum(again), widths=()))
        elif isinstance(operator, Elementwise) or (
            isinstance(operator, Collective) and operator.operation == "all_gather"
        ):
            made.append(operator)
    return made


def kept_activation_bytes(
    model: Model, shard: Shard, batch: int, tokens: int, recompute: Recompute, *, sequence: bool, dropout: bool
) -> float:
    """Activations that one decoder keeps for its backward pass, on one chip; the mean of two where they differ.

    What Korthikanti et al. 2022 (table 2) count for a GPT, by the model's own widths. Of the hidden state every chip
    keeps four (or its part of them under sequence parallelism): the inputs of two normalisations and of the products
    after them, and a byte for each of two masks of dropout; inside the parallel parts queries, keys, values and
    attention's output, the MLP's inner state before and after its activation. Attention scores are not counted, because
    FlashAttention and selective recomputation do not keep them. Where every second product is computed again, the
    decoder's input, attention's output and the outputs of the other products stay. Full recomputation keeps only the
    input.
    """
    rows = float(batch * tokens)
    own_input = ACTIVATION_BYTES * rows * model.hidden / (shard.ranks if sequence else 1)
    if recompute == "full":
        return own_input
    if recompute == "operators":
        kept = shard.heads * model.head_dim * 2 + shard.kv_heads * model.head_dim + shard.intermediate
        return 2 * own_input + ACTIVATION_BYTES * rows * kept
    replicated = (4 * ACTIVATION_BYTES + (2 if dropout else 0)) * model.hidden / (shard.ranks if sequence else 1)
    attention = 2 * (shard.heads + shard.kv_heads) * model.head_dim
    inner = (3 if model.gated_mlp else 2) * shard.intermediate
    whole = rows * (replicated + ACTIVATION_BYTES * (attention + inner))
    return (whole + own_input) / 2 if recompute == "layers" else whole
