"""A decoder-only model as one chip of a tensor-parallel group computes it: its operators after partitioning.

Megatron's partition: the first product of a pair by columns, the second by rows, one AllReduce after each pair
(Shoeybi et al. 2019, arXiv 1909.08053). ``rows`` are those of the activations: sequences x new tokens.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chips.kernels.quantize import QUANTIZE_OPERATIONS, SEARCH_OPERATIONS, Scales
from chips.spec import ELEMENT_BYTES
from scenarios.framework import Converted
from scenarios.workload.model import Model, Shard
from scenarios.workload.operators import (
    ACTIVATION_BYTES,
    Attention,
    Collective,
    Conversion,
    Count,
    Decoder,
    Elementwise,
    MatrixProduct,
    Operator,
    Quantity,
    Segment,
    Step,
    largest,
)
from scenarios.workload.quantization import PLAIN, Quantization

# Kernels of a framework that does not fuse what serving libraries fuse, one for each call in the source of the Llama
# family in Hugging Face transformers: normalisation = to fp32, square, mean, add, root, multiply, back, scale; rotary
# embedding of queries and of keys = multiply, negate, join, multiply, add each, and two writes to the KV cache;
# SiLU-multiply = two; products of queries, keys, values, of gate and of up = one each; attention = one; a scale found =
# absolute, maximum; a conversion with it = divide, clamp, convert.
PLAIN_NORM, PLAIN_ROTARY, PLAIN_SILU, PLAIN_SEARCH, PLAIN_CONVERT = 8, 12, 2, 2, 3


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
    quantization: Quantization,
    *,
    window: int | None = None,
    sequence: bool = False,
    fused_attention: bool = True,
) -> tuple[Operator, ...]:
    """One decoder on one of ``shard.ranks`` chips: ``tokens`` new tokens in each of ``batch`` sequences.

    ``window``: keys that a token sees at most. With ``sequence`` parallelism (Korthikanti et al. 2022) normalisations
    work on 1/ranks of the tokens and each AllReduce becomes a ReduceScatter and an AllGather of the same volume.
    """
    rows = batch * tokens
    own_rows = -(-rows // shard.ranks) if sequence else rows
    rotated = (shard.heads + shard.kv_heads) * model.head_dim
    query_width, kept_width = shard.heads * model.head_dim, 2 * shard.kv_heads * model.head_dim
    qkv = (query_width, *(shard.kv_heads * model.head_dim,) * 2)
    up = (shard.intermediate,) * (2 if model.gated_mlp else 1)
    qkv_width, up_width = sum(qkv), sum(up)
    payload = 1.0 * rows * model.hidden * ACTIVATION_BYTES
    before, after = model.norms != "after", model.norms != "before"
    # One residual add beside each: with the normalisation after it, or where there is none, with the one before it.
    operators: list[Operator] = [norm("attention normalisation", model, own_rows, add=True)] if before else []
    operators += _gather("attention input", payload, shard.ranks, sequence)
    operators += _product(
        "QKV projection", rows, qkv_width, model.hidden, quantization, after="norm", around=True, widths=qkv
    )
    if model.qk_norm:
        for what, heads in (("query", shard.heads), ("key", shard.kv_heads)):  # a kernel each, in every serving library
            own = norm(f"{what} normalisation", model, rows * heads, add=False, width=model.head_dim)
            operators.append(replace(own, role="head norm"))
    operators += [
        Elementwise(
            "rotary embedding and KV cache write" if model.rotary else "KV cache write",
            bytes_read=rows * qkv_width * ACTIVATION_BYTES,
            bytes_written=rows * (query_width * ACTIVATION_BYTES + kept_width * quantization.kv_bytes),
            operations=6.0 * rows * rotated if model.rotary else 0.0,
            plain_calls=PLAIN_ROTARY if model.rotary else 2,
            role="rotary" if model.rotary else None,
        ),
        *_attention(model, shard, batch, tokens, context, quantization, window, fused=fused_attention),
        *_product("output projection", rows, model.hidden, query_width, quantization, after="attention", around=True),
        *_reduce("attention", payload, shard.ranks, sequence),
        *([norm("attention output normalisation", model, own_rows, add=not before)] if after else []),
        *([norm("MLP normalisation", model, own_rows, add=True)] if before else []),
        *_gather("MLP input", payload, shard.ranks, sequence),
        *_product(
            "gate and up projection" if model.gated_mlp else "up projection",
            rows,
            up_width,
            model.hidden,
            quantization,
            after="norm",
            widths=up,
        ),
        Elementwise(
            "SiLU-multiply" if model.gated_mlp else "GELU",
            bytes_read=rows * up_width * ACTIVATION_BYTES,
            bytes_written=rows * shard.intermediate * ACTIVATION_BYTES,
            operations=4.0 * rows * shard.intermediate,
            special_functions=1.0 * rows * shard.intermediate,
            plain_calls=PLAIN_SILU if model.gated_mlp else 1,
            role="activation",
        ),
        *_product("down projection", rows, model.hidden, shard.intermediate, quantization, after="activation"),
        *_reduce("MLP", payload, shard.ranks, sequence),
        *([norm("MLP output normalisation", model, own_rows, add=not before)] if after else []),
    ]
    return tuple(operators)


def _product(
    name: str,
    rows: Count,
    n: int,
    k: int,
    quantization: Quantization,
    *,
    after: Converted,
    around: bool = False,
    widths: tuple[int, ...] = (),
) -> list[Operator]:
    """A projection, and before it the conversion of its input, which comes ``after`` this, where that is quantized.

    ``around``: a projection of attention.
    """
    if around and not quantization.attention:
        return [MatrixProduct(name, rows, n, k, "bf16", widths=widths)]
    product = MatrixProduct(
        name,
        rows,
        n,
        k,
        quantization.multiplied,
        widths=widths,
        weight_bits=quantization.weight_bits,
        block_scales=quantization.precision == "fp8-block",
    )
    if quantization.scales is None:
        return [product]
    return [*_conversion(product, quantization.scales, after), product]


def _conversion(product: MatrixProduct, scales: Scales, after: Converted) -> list[Operator]:
    """What a product takes, converted from 16 bits; a scale of all of it is found in a pass before."""
    elements = 1.0 * product.m * product.k
    convert = Conversion(
        f"{product.name} input to {product.precision.upper()}",
        bytes_read=elements * ACTIVATION_BYTES,
        bytes_written=elements * ELEMENT_BYTES[product.precision],
        operations=QUANTIZE_OPERATIONS * elements,
        plain_calls=PLAIN_CONVERT,
        role="cast",
        rows=1.0 * product.m,
        width=product.k,
        precision=product.precision,
        scales=scales,
        after=after,
    )
    if scales == "static":
        return [convert]
    if scales == "tensor":
        search = replace(
            convert,
            name=f"{product.name} input scale",
            bytes_written=0.0,
            operations=SEARCH_OPERATIONS * elements,
            plain_calls=PLAIN_SEARCH,
            role=None,
            searches=True,
        )
        return [search, convert]
    operations = (QUANTIZE_OPERATIONS + SEARCH_OPERATIONS) * elements
    return [replace(convert, operations=operations, plain_calls=PLAIN_CONVERT + PLAIN_SEARCH)]


def _attention(
    model: Model,
    shard: Shard,
    batch: Count,
    tokens: Count,
    context: Count,
    quantization: Quantization,
    window: int | None,
    *,
    fused: bool,
) -> list[Operator]:
    """Attention as one kernel, or as training ran it before FlashAttention: scores and their dropout through memory."""
    if window is not None:
        batch, tokens, context = _within_window(batch, tokens, context, window)
    if fused or not (isinstance(context, int) and isinstance(tokens, int) and isinstance(batch, int)):
        entry, kept = model.kv_entry_bytes(shard.kv_heads, quantization), quantization.kv_precision or "bf16"
        split = (shard.heads, shard.kv_heads, model.head_dim)
        return [Attention("attention", batch, tokens, context, *split, entry, kept)]
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


def _within_window(batch: Count, tokens: Count, context: Count, window: int) -> tuple[Count, Count, Count]:
    """(batch, tokens, context) of causal attention that computes as much as one in which a token sees ``window`` keys.

    A kernel skips the blocks of keys outside of the window. So the tokens of a sequence are runs of at most a window's
    length, each over the keys that its own tokens see on average and half of the run.
    """
    if largest(context) <= window:
        return batch, tokens, context
    seen_by_first = np.minimum(context - tokens + 1.0, window)  # the first new token sees so many
    growing = np.minimum(tokens, window - seen_by_first + 1.0)  # tokens whose keys are each one more
    keys = growing * (seen_by_first + (growing - 1.0) / 2.0) + (tokens - growing) * window
    runs = np.ceil(tokens / window)
    length = np.ceil(tokens / runs)
    over = np.maximum(np.rint(keys / tokens + (length - 1.0) / 2.0), length)
    counts = (batch * runs, length, over)
    if any(isinstance(size, np.ndarray) for size in (batch, tokens, context)):
        several, each, over = np.broadcast_arrays(*(np.asarray(size, np.float64) for size in counts))
        return several, (1 if isinstance(tokens, int) and tokens == 1 else each), over
    return int(counts[0]), int(counts[1]), int(counts[2])


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
    quantization: Quantization = PLAIN,
    *,
    every_logit: bool = False,
    sequence: bool = False,
    fused_attention: bool = True,
) -> Step:
    """A forward pass of ``tokens`` new tokens a sequence that ends at ``context`` tokens.

    ``batch``, ``tokens`` and ``context`` may be arrays (passes,): passes side by side. Layers of one kind follow each
    other, those with a sliding window first, in whatever order the model has them: each takes as long. Inference needs
    the logits of the last token only; training (``every_logit``) those of all tokens.
    """
    rows = batch * tokens
    logit_rows = rows if every_logit else batch
    hidden_bytes = 1.0 * rows * model.hidden * ACTIVATION_BYTES
    before: list[Operator] = [Elementwise("embedding", hidden_bytes, hidden_bytes, 0.0)]
    after: list[Operator] = [
        norm("final normalisation", model, logit_rows, add=True),
        MatrixProduct(
            "language model head",
            logit_rows,
            shard.vocabulary,
            model.hidden,
            "bf16",
            weight_bits=quantization.around_bits,
        ),
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
    decoders = (
        Decoder(
            decoder(
                model,
                shard,
                batch,
                tokens,
                context,
                quantization,
                window=window,
                sequence=sequence,
                fused_attention=fused_attention,
            ),
            layers,
        )
        for layers, window in model.windows
    )
    return Step((Segment(tuple(before)), *decoders, Segment(tuple(after))))
