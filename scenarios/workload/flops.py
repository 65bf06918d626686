"""The FLOPs that a model needs for some work, whatever a chip makes of it: the numerator of MFU.

Matrix products and causal attention, each counted once (Chowdhery et al. 2022, arXiv 2204.02311, appendix B, with only
the keys that a query sees): no recomputation, no padding, no KV head that several chips hold. A backward pass is twice
the forward pass.
"""

from __future__ import annotations

import numpy as np

from scenarios.workload.model import Model
from scenarios.workload.operators import Count, Quantity


def model_flops(model: Model, phase: str, batch: Count, context: Count, output_tokens: int | None = None) -> Quantity:
    """FLOPs of one point of ``phase``; arrays of ``batch`` and ``context`` give an array."""
    match phase:
        case "decode":
            return _passed(model, batch, batch * context, batch)
        case "prefill":
            return _passed(model, batch * context, batch * _seen(context), batch)
        case "train":
            return 3.0 * _passed(model, batch * context, batch * _seen(context), batch * context)
        case _:
            output = output_tokens or 0
            prompt = context - output
            # The prompt's pass gives the first token; each of the others is a pass of its own.
            later = _seen(context - 1) - _seen(prompt)
            rows, logits = batch * (prompt + output - 1), batch * output
            return _passed(model, rows, batch * (_seen(prompt) + later), logits)


def _seen(tokens: Count) -> Quantity:
    """Pairs of a token and one that it sees, itself among them."""
    return tokens * (tokens + 1.0) / 2.0


def _passed(model: Model, rows: Count, pairs: Quantity, logits: Count) -> Quantity:
    """A forward pass of ``rows`` tokens that see ``pairs`` keys in all, of which ``logits`` get logits."""
    query = model.heads * model.head_dim
    decoder = 2.0 * np.multiply(rows, model.active_parameters) + 4.0 * np.multiply(pairs, query)
    return model.layers * decoder + 2.0 * np.multiply(logits, model.vocabulary * model.hidden)
