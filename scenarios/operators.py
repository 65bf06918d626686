"""What one chip of a tensor-parallel group computes: a decoder as operators with their shapes, FLOPs and bytes.

Belongs here: shapes after partitioning (Megatron's: columns, then rows, one AllReduce after each pair) and what must
move through memory for them. Does not belong here: what anything costs in time, or how operators become kernels.
All bytes and FLOPs are of one chip. ``tokens`` is the number of rows of the activations: batch x new tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from chips.spec import ELEMENT_BYTES, Precision
from scenarios.model import Model, Shard

ACTIVATION_BYTES = 2  # activations and KV cache stay in bf16, whatever the precision of the weights
Quantity = float | NDArray[np.float64]
Part = Literal["matmul", "attention", "other", "allreduce"]


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """C[m,n] = A[m,k] B[k,n] with B the weights; ``weights`` False when B is an activation or gradient.

    ``count`` independent products of this shape are one kernel.
    """

    name: str
    m: int
    n: int
    k: int
    precision: Precision
    plain_calls: int = 1
    part: Part = "matmul"
    weights: bool = True
    count: int = 1

    @property
    def flops(self) -> float:
        return 2.0 * self.count * self.m * self.n * self.k

    @property
    def stream_bytes(self) -> float:
        """Bytes that only this operator reads and that live in off-chip memory: its weights."""
        return float(self.n * self.k * ELEMENT_BYTES[self.precision]) if self.weights else 0.0

    @property
    def activation_bytes(self) -> float:
        """Bytes of input and output that cross memory when the operator is a kernel of its own."""
        return float(self.count * (self.m * self.k + self.m * self.n) * ACTIVATION_BYTES)


@dataclass(frozen=True, slots=True)
class Attention:
    """Scaled dot-product attention of ``tokens`` query tokens a sequence over ``context`` keys (causal).

    ``context`` may be an array: the same pass at many contexts side by side.
    """

    name: str
    batch: int
    tokens: int
    context: int | NDArray[np.float64]
    heads: int
    kv_heads: int
    head_dim: int
    backward: bool = False
    plain_calls: int = 1
    part: Part = "attention"

    @property
    def decode(self) -> bool:
        return self.tokens == 1

    @property
    def flops(self) -> Quantity:
        """Two products over the keys that causality leaves; the backward pass has five (FlashAttention-2)."""
        hidden_keys = self.tokens * (self.tokens - 1) / 2
        forward = 4.0 * self.batch * self.heads * self.head_dim * (self.tokens * self.context - hidden_keys)
        return 2.5 * forward if self.backward else forward

    @property
    def exponentials(self) -> Quantity:
        return self.flops / (4.0 * self.head_dim)

    @property
    def stream_bytes(self) -> Quantity:
        """KV cache read from memory; in prefill the keys are this layer's own activations."""
        if not self.decode:
            return 0.0
        return 2.0 * self.batch * self.context * self.kv_heads * self.head_dim * ACTIVATION_BYTES

    @property
    def activation_bytes(self) -> float:
        rows = self.batch * self.tokens * self.head_dim
        return float(rows * (2 * self.heads + 2 * self.kv_heads) * ACTIVATION_BYTES)


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A memory-bound operator: normalisation, rotary embedding, SiLU-multiply, residual add, sampling, optimizer."""

    name: str
    bytes_read: float
    bytes_written: float
    operations: float
    special_functions: float = 0.0
    passes: int = 1
    plain_calls: int = 1
    part: Part = "other"

    @property
    def flops(self) -> float:
        return self.operations

    @property
    def stream_bytes(self) -> float:
        return 0.0

    @property
    def activation_bytes(self) -> float:
        return self.bytes_read + self.bytes_written


@dataclass(frozen=True, slots=True)
class Collective:
    """A collective between the chips of the group; ``payload_bytes`` as nccl-tests counts it."""

    name: str
    operation: Literal["all_reduce", "all_gather", "reduce_scatter"]
    payload_bytes: float
    plain_calls: int = 1
    part: Part = "allreduce"

    @property
    def flops(self) -> float:
        return 0.0

    @property
    def stream_bytes(self) -> float:
        return 0.0

    @property
    def activation_bytes(self) -> float:
        return 2.0 * self.payload_bytes


Operator = MatrixProduct | Attention | Elementwise | Collective


@dataclass(frozen=True, slots=True)
class Step:
    """One pass through the model on one chip: what comes before the decoders, one decoder, how many, what comes after.

    ``kept_bytes``: activations of a decoder that a training step writes for its backward pass, or reads there.
    """

    before: tuple[Operator, ...]
    decoder: tuple[Operator, ...]
    layers: int
    after: tuple[Operator, ...]
    kept_bytes: float = 0.0

    def total(self, quantity: Callable[[Operator], Quantity]) -> Quantity:
        """Sum of ``quantity`` over all operators of the pass; an array where a context is one."""
        once = sum(quantity(operator) for operator in self.before + self.after)
        return once + self.layers * sum(quantity(operator) for operator in self.decoder)


# Kernels of a framework that does not fuse what serving libraries fuse (PyTorch modules of the Llama family):
# normalisation = normalise, scale; rotary embedding of queries and of keys = rotate, two multiply-adds each, and
# two writes to the KV cache; SiLU-multiply = two; scaled-dot-product attention = one.
PLAIN_NORM, PLAIN_ROTARY, PLAIN_SILU = 2, 8, 2


def norm(name: str, model: Model, tokens: int, *, add: bool, width: int | None = None) -> Elementwise:
    """RMSNorm or LayerNorm over ``width`` elements a token, fused with the residual add before it when ``add``."""
    elements = tokens * (width or model.hidden)
    reads = 2 if add else 1
    return Elementwise(
        name,
        bytes_read=elements * ACTIVATION_BYTES * reads,
        bytes_written=elements * ACTIVATION_BYTES * reads,
        operations=(4.0 + (1.0 if add else 0.0)) * elements,
        special_functions=float(tokens),
        passes=2,
        plain_calls=PLAIN_NORM + (1 if add else 0),
    )


def decoder(
    model: Model,
    shard: Shard,
    batch: int,
    tokens: int,
    context: int | NDArray[np.float64],
    precision: Precision,
    *,
    sequence: bool = False,
    fused_attention: bool = True,
) -> tuple[Operator, ...]:
    """One decoder on one of ``shard.ranks`` chips: ``tokens`` new tokens in each of ``batch`` sequences.

    With ``sequence`` parallelism (Korthikanti et al. 2022) normalisations work on 1/ranks of the tokens and each
    AllReduce becomes a ReduceScatter and an AllGather of the same volume.
    """
    rows = batch * tokens
    own_rows = -(-rows // shard.ranks) if sequence else rows
    rotated = (shard.heads + shard.kv_heads) * model.head_dim
    qkv_width = (shard.heads + 2 * shard.kv_heads) * model.head_dim
    up_width = (2 if model.gated_mlp else 1) * shard.intermediate
    payload = float(rows * model.hidden * ACTIVATION_BYTES)
    operators: list[Operator] = [norm("attention normalisation", model, own_rows, add=True)]
    operators += _gather("attention input", payload, shard.ranks, sequence)
    operators.append(MatrixProduct("QKV projection", rows, qkv_width, model.hidden, precision))
    if model.qk_norm:
        heads = shard.heads + shard.kv_heads
        qk = norm("query and key normalisation", model, rows * heads, add=False, width=model.head_dim)
        operators.append(replace(qk, plain_calls=2 * PLAIN_NORM))
    operators += [
        Elementwise(
            "rotary embedding and KV cache write" if model.rotary else "KV cache write",
            bytes_read=rows * qkv_width * ACTIVATION_BYTES,
            bytes_written=rows * qkv_width * ACTIVATION_BYTES,
            operations=6.0 * rows * rotated if model.rotary else 0.0,
            plain_calls=PLAIN_ROTARY if model.rotary else 2,
        ),
        *_attention(model, shard, batch, tokens, context, fused=fused_attention),
        MatrixProduct("output projection", rows, model.hidden, shard.heads * model.head_dim, precision),
        *_reduce("attention", payload, shard.ranks, sequence),
        norm("MLP normalisation", model, own_rows, add=True),
        *_gather("MLP input", payload, shard.ranks, sequence),
        MatrixProduct(
            "gate and up projection" if model.gated_mlp else "up projection",
            rows,
            up_width,
            model.hidden,
            precision,
        ),
        Elementwise(
            "SiLU-multiply" if model.gated_mlp else "GELU",
            bytes_read=rows * up_width * ACTIVATION_BYTES,
            bytes_written=rows * shard.intermediate * ACTIVATION_BYTES,
            operations=4.0 * rows * shard.intermediate,
            special_functions=float(rows * shard.intermediate),
            plain_calls=PLAIN_SILU if model.gated_mlp else 1,
        ),
        MatrixProduct("down projection", rows, model.hidden, shard.intermediate, precision),
        *_reduce("MLP", payload, shard.ranks, sequence),
    ]
    return tuple(operators)


def _attention(
    model: Model, shard: Shard, batch: int, tokens: int, context: int | NDArray[np.float64], *, fused: bool
) -> list[Operator]:
    """Attention as one kernel, or as training ran it before FlashAttention: scores and their dropout through memory."""
    if fused or not isinstance(context, int):
        return [Attention("attention", batch, tokens, context, shard.heads, shard.kv_heads, model.head_dim)]
    heads = batch * shard.heads
    scores = float(heads * tokens * context)
    product = MatrixProduct(
        "attention scores", tokens, context, model.head_dim, "bf16", part="attention", weights=False, count=heads
    )
    return [
        product,
        Elementwise(
            "masked softmax",
            bytes_read=scores * ACTIVATION_BYTES,
            bytes_written=scores * ACTIVATION_BYTES,
            operations=5.0 * scores,
            special_functions=scores,
            passes=2,
            part="attention",
        ),
        Elementwise(
            "attention dropout",
            bytes_read=scores * ACTIVATION_BYTES,
            bytes_written=scores * (ACTIVATION_BYTES + 1),
            operations=2.0 * scores,
            part="attention",
        ),
        replace(product, name="attention values", n=model.head_dim, k=context),
    ]


def _gather(name: str, payload: float, ranks: int, sequence: bool) -> list[Operator]:
    """Before a tensor-parallel pair of products: under sequence parallelism the tokens come together."""
    return [Collective(f"{name} AllGather", "all_gather", payload)] if sequence and ranks > 1 else []


def _reduce(name: str, payload: float, ranks: int, sequence: bool) -> list[Operator]:
    """After a tensor-parallel pair of products: the partial sums of all chips are added."""
    if ranks == 1:
        return []
    if sequence:
        return [Collective(f"{name} ReduceScatter", "reduce_scatter", payload)]
    return [Collective(f"{name} AllReduce", "all_reduce", payload)]


def forward(
    model: Model,
    shard: Shard,
    batch: int,
    tokens: int,
    context: int | NDArray[np.float64],
    precision: Precision,
    *,
    every_logit: bool = False,
    sequence: bool = False,
    fused_attention: bool = True,
) -> Step:
    """A forward pass of ``tokens`` new tokens a sequence that ends at ``context`` tokens.

    Inference needs the logits of the last token only; training (``every_logit``) those of all tokens.
    """
    rows = batch * tokens
    logit_rows = rows if every_logit else batch
    hidden_bytes = float(rows * model.hidden * ACTIVATION_BYTES)
    before: list[Operator] = [Elementwise("embedding", hidden_bytes, hidden_bytes, 0.0)]
    after: list[Operator] = [
        norm("final normalisation", model, logit_rows, add=True),
        MatrixProduct("language model head", logit_rows, shard.vocabulary, model.hidden, precision),
    ]
    logits = logit_rows * shard.vocabulary
    if shard.ranks > 1:
        before.append(Collective("embedding AllReduce", "all_reduce", hidden_bytes))
        gathered = logit_rows * 8.0 * shard.ranks  # a maximum and its index from each chip's part of the vocabulary
        after.append(Collective("logit AllGather", "all_gather", gathered))
    after.append(
        Elementwise(
            "loss" if every_logit else "sampling",
            bytes_read=logits * ACTIVATION_BYTES,
            bytes_written=logit_rows * 4.0,
            operations=3.0 * logits,
            special_functions=float(logits),
            passes=2,
            plain_calls=4,
        )
    )
    layer = decoder(model, shard, batch, tokens, context, precision, sequence=sequence, fused_attention=fused_attention)
    return Step(tuple(before), layer, model.layers, tuple(after))
