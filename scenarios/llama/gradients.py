"""The gradient of each operator of ``layers``: from that of its result to those of its inputs, written by hand.

``d_x`` is the gradient of the loss by ``x``, of the same shape. float32 or float64, one rank, no collective.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from scenarios.llama.layers import group_queries, inverse_rms, sigmoid

Real = TypeVar("Real", np.float32, np.float64)


def linear_gradients(
    d_result: NDArray[Real], values: NDArray[Real], weight: NDArray[Real]
) -> tuple[NDArray[Real], NDArray[Real]]:
    """Of ``linear``: (d_values, d_weight)."""
    rows = d_result.reshape(-1, d_result.shape[-1])
    return d_result @ weight, rows.T @ values.reshape(-1, values.shape[-1])


def rms_norm_gradients(
    d_result: NDArray[Real], values: NDArray[Real], gain: NDArray[Real], epsilon: float
) -> tuple[NDArray[Real], NDArray[Real]]:
    """Of ``rms_norm``: (d_values, d_gain).

    With r = 1 / rms, dr/dx = -r^3 x / hidden, so d_x = r g d_y - r^3 x mean(x g d_y).
    """
    scale = inverse_rms(values, epsilon)
    through_gain = d_result * gain
    shared = np.mean(through_gain * values, axis=-1, keepdims=True)
    d_gain = (d_result * values * scale).reshape(-1, len(gain)).sum(axis=0)
    return scale * through_gain - scale**3 * values * shared, d_gain


def swiglu_gradients(
    d_result: NDArray[Real], gate: NDArray[Real], up: NDArray[Real]
) -> tuple[NDArray[Real], NDArray[Real]]:
    """Of ``swiglu``: (d_gate, d_up); the derivative of x s(x) is s(x) (1 + x (1 - s(x)))."""
    share = sigmoid(gate)
    return d_result * up * share * (1 + gate * (1 - share)), d_result * gate * share


def attention_gradients(
    d_result: NDArray[Real],
    queries: NDArray[Real],
    keys: NDArray[Real],
    values: NDArray[Real],
    weights: NDArray[Real],
) -> tuple[NDArray[Real], NDArray[Real], NDArray[Real]]:
    """Of ``attention``: (d_queries, d_keys, d_values), the latter summed over the query heads that share them.

    ``weights``: its ``attention_weights`` P. d_S = P (d_P - sum(d_P P)) for the scores (Dao et al. 2022, section 3).
    """
    kv_heads = keys.shape[-3]
    scale = queries.dtype.type(queries.shape[-1] ** -0.5)
    grouped, d_grouped = group_queries(queries, kv_heads), group_queries(d_result, kv_heads)
    d_weights = d_grouped @ np.swapaxes(values, -1, -2)[..., None, :, :]
    d_scores = weights * (d_weights - np.sum(d_weights * weights, axis=-1, keepdims=True)) * scale
    d_queries = (d_scores @ keys[..., None, :, :]).reshape(queries.shape)
    d_keys = np.sum(np.swapaxes(d_scores, -1, -2) @ grouped, axis=-3)
    d_values = np.sum(np.swapaxes(weights, -1, -2) @ d_grouped, axis=-3)
    return d_queries, d_keys, d_values
