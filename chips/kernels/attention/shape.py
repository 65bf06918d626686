"""The sizes of attention calls, checked, with the FLOP and bytes that follow from them whatever computes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chips.spec import ELEMENT_BYTES, KvPrecision

Floats = NDArray[np.float64]
QUERY_BYTES = ELEMENT_BYTES["bf16"]
HEAD_DIMENSIONS = np.array([64.0, 96.0, 128.0, 192.0, 256.0])
"""That libraries compile kernels for; a head of another one is padded to the next, beyond them to a multiple of the
last."""


@dataclass(frozen=True)
class AttentionShape:
    """Attention of ``tokens`` query tokens a sequence over ``context`` keys; arrays of one shape, an entry a call.

    The new tokens are the last of the context. ``causal``: a query sees the keys up to its own. ``kv_precision``: of
    the keys and values in the cache; queries and output are bf16. ``head_dim``: as the kernel computes it, padded;
    ``unpadded``: as it was asked for.
    """

    batch: Floats
    tokens: Floats
    context: Floats
    heads: Floats
    kv_heads: Floats
    head_dim: Floats
    unpadded: Floats
    kv_precision: KvPrecision
    causal: bool

    @classmethod
    def check(
        cls,
        batch: ArrayLike,
        tokens: ArrayLike,
        context: ArrayLike,
        heads: ArrayLike,
        kv_heads: ArrayLike,
        head_dim: ArrayLike,
        kv_precision: KvPrecision = "bf16",
        causal: bool = True,
    ) -> AttentionShape:
        """Broadcast and check the sizes. Raises ValueError on one below 1, or that does not go with another."""
        names = ("batch", "tokens", "context", "heads", "kv_heads", "head_dim")
        given = (batch, tokens, context, heads, kv_heads, head_dim)
        sizes = [np.asarray(size, np.float64) for size in np.broadcast_arrays(*given)]
        for name, size in zip(names, sizes, strict=True):
            if not np.all(size >= 1):
                raise ValueError(f"attention {name} is {size.min():g}; it must be at least 1.")
        padded = _padded(sizes[5])
        shape = cls(sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], padded, sizes[5], kv_precision, causal)
        wrong = shape.heads % shape.kv_heads != 0
        if np.any(wrong):
            raise ValueError(
                f"attention has {shape.heads[wrong].flat[0]:g} heads over {shape.kv_heads[wrong].flat[0]:g} kv_heads; "
                "heads must be a multiple of kv_heads."
            )
        wrong = shape.context < shape.tokens
        if np.any(wrong):
            raise ValueError(
                f"attention context is {shape.context[wrong].flat[0]:g} with {shape.tokens[wrong].flat[0]:g} new "
                "tokens; it holds them, so it must be at least as many."
            )
        return shape

    @property
    def kv_bytes(self) -> float:
        """Of one element of a key or a value in the cache."""
        return ELEMENT_BYTES[self.kv_precision]

    @property
    def group(self) -> Floats:
        """Query heads that share one key-value head."""
        return self.heads / self.kv_heads

    @property
    def scores(self) -> Floats:
        """Pairs of query and key that the mask leaves."""
        keys = self.context - 0.5 * (self.tokens - 1.0) if self.causal else self.context
        return self.batch * self.heads * self.tokens * keys

    @property
    def flops(self) -> Floats:
        """Matrix FLOP of the forward pass: two products over every pair of query and key."""
        return 4.0 * self.head_dim * self.scores

    @property
    def new_bytes(self) -> Floats:
        """Keys and values of the new tokens."""
        return 2.0 * self.batch * self.kv_heads * self.tokens * self.head_dim * self.kv_bytes

    @property
    def cached_bytes(self) -> Floats:
        """Keys and values of the tokens before them."""
        return 2.0 * self.batch * self.kv_heads * (self.context - self.tokens) * self.head_dim * self.kv_bytes

    @property
    def query_bytes(self) -> Floats:
        """Queries and, as many again, the output."""
        return 2.0 * self.batch * self.heads * self.tokens * self.head_dim * QUERY_BYTES

    @property
    def moved_bytes(self) -> Floats:
        """Queries, output, keys and values, each once."""
        return self.query_bytes + self.new_bytes + self.cached_bytes


def _padded(head_dim: Floats) -> Floats:
    most = HEAD_DIMENSIONS[-1]
    place = np.minimum(np.searchsorted(HEAD_DIMENSIONS, head_dim), len(HEAD_DIMENSIONS) - 1)
    return np.where(head_dim <= most, HEAD_DIMENSIONS[place], np.ceil(head_dim / most) * most)
