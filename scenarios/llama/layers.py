"""What a Llama decoder computes, one function an operator, on arrays of any leading shape. float32 or float64.

No rank, no cache, no number format here; what runs these on one chip's shard is ``rank``, their gradients are in
``gradients``.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Real = TypeVar("Real", np.float32, np.float64)


def rms_norm(values: NDArray[Real], gain: NDArray[Real], epsilon: float) -> NDArray[Real]:
    """Each row divided by its root mean square, times ``gain``; shape (..., hidden).

    Zhang and Sennrich 2019, arXiv 1910.07467.
    """
    return values * inverse_rms(values, epsilon) * gain


def inverse_rms(values: NDArray[Real], epsilon: float) -> NDArray[Real]:
    """One over the root mean square of each row, shape (..., 1)."""
    mean_square = np.mean(np.square(values), axis=-1, keepdims=True)
    return np.asarray(1 / np.sqrt(mean_square + values.dtype.type(epsilon)), values.dtype)


def linear(values: NDArray[Real], weight: NDArray[Real]) -> NDArray[Real]:
    """``values`` (..., in) times the transpose of ``weight`` (out, in), as checkpoints store it."""
    return values @ weight.T


def swiglu(gate: NDArray[Real], up: NDArray[Real]) -> NDArray[Real]:
    """SiLU(gate) x up (Shazeer 2020, arXiv 2002.05202)."""
    return gate * sigmoid(gate) * up


def sigmoid(values: NDArray[Real]) -> NDArray[Real]:
    """1 / (1 + exp(-x)); very negative values give 0."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-values)), values.dtype)


def softmax(scores: NDArray[Real]) -> NDArray[Real]:
    """Over the last axis, shifted by its maximum so that nothing overflows."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True), scores.dtype)


def split_heads(values: NDArray[Real], head_dim: int) -> NDArray[Real]:
    """(..., tokens, heads x head_dim) to (..., heads, tokens, head_dim)."""
    return np.swapaxes(values.reshape(*values.shape[:-1], -1, head_dim), -2, -3)


def merge_heads(heads: NDArray[Real]) -> NDArray[Real]:
    """(..., heads, tokens, head_dim) to (..., tokens, heads x head_dim)."""
    swapped = np.swapaxes(heads, -2, -3)
    return swapped.reshape(*swapped.shape[:-2], -1)


def group_queries(queries: NDArray[Real], kv_heads: int) -> NDArray[Real]:
    """(..., heads, tokens, head_dim) to (..., kv_heads, heads / kv_heads, tokens, head_dim): who shares a KV head."""
    *leading, heads, tokens, head_dim = queries.shape
    return queries.reshape(*leading, kv_heads, heads // kv_heads, tokens, head_dim)


def attention_weights(queries: NDArray[Real], keys: NDArray[Real]) -> NDArray[Real]:
    """Causal softmax(Q K^T / sqrt(head_dim)); the queries are those of the last tokens of the context.

    ``queries``: grouped (..., kv_heads, group, tokens, head_dim); ``keys``: (..., kv_heads, context, head_dim). The
    result has shape (..., kv_heads, group, tokens, context). Ainslie et al. 2023 (arXiv 2305.13245) for the groups.
    """
    tokens, context = queries.shape[-2], keys.shape[-2]
    scale = queries.dtype.type(queries.shape[-1] ** -0.5)
    scores = (queries @ np.swapaxes(keys, -1, -2)[..., None, :, :]) * scale
    if tokens > 1:
        ahead = np.arange(context) > np.arange(context - tokens, context)[:, None]
        scores[..., ahead] = -np.inf
    return softmax(scores)


def attention(queries: NDArray[Real], keys: NDArray[Real], values: NDArray[Real]) -> NDArray[Real]:
    """Causal grouped-query attention: (..., heads, tokens, head_dim) in and out, keys and values with fewer heads."""
    weights = attention_weights(group_queries(queries, keys.shape[-3]), keys)
    return (weights @ values[..., None, :, :]).reshape(queries.shape)
