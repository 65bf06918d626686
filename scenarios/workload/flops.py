"""The FLOPs that a model needs for some work, whatever a chip makes of it: the numerator of MFU.

Matrix products and causal attention, each counted once (Chowdhery et al. 2022, arXiv 2204.02311, appendix B, with only
the keys that a query sees): no recomputation, no padding, no KV head that several chips hold. A backward pass is twice
the forward pass; of frozen products, which need no weight gradients, as much.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scenarios.workload.model import Model
from scenarios.workload.operators import Count, Quantity


def model_flops(
    model: Model,
    phase: str,
    batch: Count,
    context: Count,
    output_tokens: int | None = None,
    *,
    frozen: bool = False,
) -> Quantity:
    """FLOPs of one point of ``phase``; arrays of ``batch`` and ``context`` give an array.

    ``frozen``: adapters are trained, whose own products are not counted.
    """
    match phase:
        case "decode":
            return _passed(model, batch, lambda window: batch * _keys(context, window), batch)
        case "prefill":
            return _passed(model, batch * context, lambda window: batch * _seen(context, window), batch)
        case "train":
            rows = batch * context
            passed = _passed(model, rows, lambda window: batch * _seen(context, window), rows)
            return 3.0 * passed - (_passed(model, rows, lambda _: 0.0, rows) if frozen else 0.0)
        case _:
            output = output_tokens or 0
            # The prompt's pass gives the first token; each of the others is a pass of its own.
            rows, logits = batch * (context - 1), batch * output
            return _passed(model, rows, lambda window: batch * _seen(context - 1, window), logits)


def _keys(context: Count, window: int | None) -> Count:
    """Keys that the last of ``context`` tokens sees."""
    return context if window is None else np.minimum(context, window)


def _seen(tokens: Count, window: int | None) -> Quantity:
    """Pairs of a token and one that it sees, itself among them."""
    keys = _keys(tokens, window)
    return keys * (keys + 1.0) / 2.0 + (tokens - keys) * keys


def _passed(model: Model, rows: Count, pairs: Callable[[int | None], Quantity], logits: Count) -> Quantity:
    """A forward pass of ``rows`` tokens, of which ``logits`` get logits; ``pairs``: by window, of token and key."""
    query = model.heads * model.head_dim
    attention = sum(4.0 * layers * np.multiply(pairs(window), query) for layers, window in model.windows)
    products = 2.0 * model.layers * np.multiply(rows, model.active_parameters)
    return products + attention + 2.0 * np.multiply(logits, model.vocabulary * model.hidden)
