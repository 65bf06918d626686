"""A decoder-only model as one chip of a tensor-parallel group computes it: its operators after partitioning.

Megatron's partition: the first product of a pair by columns, the second by rows, one AllReduce after each pair
(Shoeybi et al. 2019, arXiv 1909.08053). ``rows`` are those of the activations: sequences x new tokens.
"""

from __future__ import annotations

from dataclasses import replace

from chips.spec import Precision
from scenarios.workload.model import Model, Shard
from scenarios.workload.operators import (
    ACTIVATION_BYTES,
    Attention,
    Collective,
    Count,
    Decoder,
    Elementwise,
    MatrixProduct,
    Operator,
    Quantity,
    Segment,
    Step,
)

# Kernels of a framework that does not fuse what serving libraries fuse, one for each call in the source of the Llama
# family in Hugging Face transformers: normalisation = to fp32, square, mean, add, root, multiply, back, scale; rotary
# embedding of queries and of keys = multiply, negate, join, multiply, add each, and two writes to the KV cache;
# SiLU-multiply = two; products of queries, keys, values, of gate and of up = one each; attention = one.
PLAIN_NORM, PLAIN_ROTARY, PLAIN_SILU, PLAIN_QKV = 8, 12, 2, 3
# Quantised checkpoints and FP8 training leave embedding and head in 16 bits (TensorRT Model Optimizer, Transformer
# Engine).
HEAD_PRECISION: Precision = "bf16"


def norm(name: str, model: Model, tokens: Count, *, add: bool, width: int | None = None) -> Elementwise:
    """RMSNorm or LayerNorm over ``width`` elements a token, fused with the residual add before it when ``add``."""
    elements = tokens * (width or model.hidden)
    reads = 2 if add else 1
    return Elementwise(
        name,
        bytes_read=elements * ACTIVATION_BYTES * reads,
        bytes_written=elements * ACTIVATION_BYTES * reads,
        operations=(4.0 + (1.0 if add else 0.0)) * elements,
        special_functions=1.0 * tokens,
        passes=2,
        plain_calls=PLAIN_NORM + (1 if add else 0),
        role="norm" if add else None,
    )


def decoder(
    model: Model,
    shard: Shard,
    batch: Count,
    tokens: Count,
    context: Count,
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
    payload = 1.0 * rows * model.hidden * ACTIVATION_BYTES
    operators: list[Operator] = [norm("attention normalisation", model, own_rows, add=True)]
    operators += _gather("attention input", payload, shard.ranks, sequence)
    operators.append(MatrixProduct("QKV projection", rows, qkv_width, model.hidden, precision, plain_calls=PLAIN_QKV))
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
            plain_calls=2 if model.gated_mlp else 1,
        ),
        Elementwise(
            "SiLU-multiply" if model.gated_mlp else "GELU",
            bytes_read=rows * up_width * ACTIVATION_BYTES,
            bytes_written=rows * shard.intermediate * ACTIVATION_BYTES,
            operations=4.0 * rows * shard.intermediate,
            special_functions=1.0 * rows * shard.intermediate,
            plain_calls=PLAIN_SILU if model.gated_mlp else 1,
        ),
        MatrixProduct("down projection", rows, model.hidden, shard.intermediate, precision),
        *_reduce("MLP", payload, shard.ranks, sequence),
    ]
    return tuple(operators)


def _attention(
    model: Model, shard: Shard, batch: Count, tokens: Count, context: Count, *, fused: bool
) -> list[Operator]:
    """Attention as one kernel, or as training ran it before FlashAttention: scores and their dropout through memory."""
    if fused or not (isinstance(context, int) and isinstance(tokens, int) and isinstance(batch, int)):
        entry = model.kv_entry_bytes(shard.kv_heads)
        return [Attention("attention", batch, tokens, context, shard.heads, shard.kv_heads, model.head_dim, entry)]
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


def _gather(name: str, payload: Quantity, ranks: int, sequence: bool) -> list[Operator]:
    """Before a tensor-parallel pair of products: under sequence parallelism the tokens come together."""
    return [Collective(f"{name} AllGather", "all_gather", payload)] if sequence and ranks > 1 else []


def _reduce(name: str, payload: Quantity, ranks: int, sequence: bool) -> list[Operator]:
    """After a tensor-parallel pair of products: the partial sums of all chips are added."""
    if ranks == 1:
        return []
    if sequence:
        return [Collective(f"{name} ReduceScatter", "reduce_scatter", payload)]
    return [Collective(f"{name} AllReduce", "all_reduce", payload)]


def forward(
    model: Model,
    shard: Shard,
    batch: Count,
    tokens: Count,
    context: Count,
    precision: Precision,
    *,
    every_logit: bool = False,
    sequence: bool = False,
    fused_attention: bool = True,
) -> Step:
    """A forward pass of ``tokens`` new tokens a sequence that ends at ``context`` tokens.

    ``batch``, ``tokens`` and ``context`` may be arrays (passes,): passes side by side. ``precision`` is the decoders'.
    Inference needs the logits of the last token only; training (``every_logit``) those of all tokens.
    """
    rows = batch * tokens
    logit_rows = rows if every_logit else batch
    hidden_bytes = 1.0 * rows * model.hidden * ACTIVATION_BYTES
    before: list[Operator] = [Elementwise("embedding", hidden_bytes, hidden_bytes, 0.0)]
    after: list[Operator] = [
        norm("final normalisation", model, logit_rows, add=True),
        MatrixProduct("language model head", logit_rows, shard.vocabulary, model.hidden, HEAD_PRECISION),
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
            special_functions=1.0 * logits,
            passes=2,
            plain_calls=4,
            role="loss" if every_logit else None,
        )
    )
    layer = decoder(model, shard, batch, tokens, context, precision, sequence=sequence, fused_attention=fused_attention)
    return Step((Segment(tuple(before)), Decoder(layer, model.layers), Segment(tuple(after))))
