"""One rank of a tensor-parallel Llama: its shard of the weights, its KV cache, and a forward pass over new tokens.

Two AllReduces a decoder, one for the embedding, one AllGather for the logits, as ``scenarios.workload.decoder`` prices
them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cluster.communicator import Communicator
from scenarios.llama.config import LlamaConfig
from scenarios.llama.layers import attention, linear, merge_heads, rms_norm, split_heads, swiglu
from scenarios.llama.number_format import Float32, NumberFormat, rounding
from scenarios.llama.rotary import rotate, rotations
from scenarios.llama.weights import LayerWeights, Weights

# Prompts pass in pieces of this many tokens, which bounds the attention scores held at once.
PREFILL_TOKENS = 512


class KvCache:
    """Keys and values of one rank's heads in every layer, filled from the front."""

    def __init__(self, layers: int, kv_heads: int, capacity: int, head_dim: int) -> None:
        self.keys: Float32 = np.zeros((layers, kv_heads, capacity, head_dim), np.float32)
        self.values = np.zeros_like(self.keys)
        self.length = 0

    @property
    def capacity(self) -> int:
        """Tokens that fit."""
        return int(self.keys.shape[2])

    def append(self, layer: int, keys: Float32, values: Float32) -> tuple[Float32, Float32]:
        """Write new tokens (kv_heads, tokens, head_dim) behind the others; all keys and values of the layer so far.

        ``length`` moves on only when every layer has its own: ``advance``.
        """
        end = self.length + keys.shape[1]
        self.keys[layer, :, self.length : end] = keys
        self.values[layer, :, self.length : end] = values
        return self.keys[layer, :, :end], self.values[layer, :, :end]

    def advance(self, tokens: int) -> None:
        """Every layer has appended ``tokens`` tokens."""
        self.length += tokens


class LlamaRank:
    """The program of one rank. All ranks call the same methods with the same tokens.

    ``capacity``: tokens of prompt and output together that the KV cache holds. ``number_format``: every tensor that a
    chip writes to memory is rounded to it; inside an operator it is float32.
    """

    def __init__(
        self,
        config: LlamaConfig,
        weights: Weights[np.float32],
        communicator: Communicator,
        capacity: int,
        number_format: NumberFormat = "float32",
    ) -> None:
        model = config.model
        self.config, self.weights, self.communicator = config, weights, communicator
        self._keep = rounding(number_format)
        kv_heads = weights.layers[0].key.shape[0] // model.head_dim
        self.cache = KvCache(model.layers, kv_heads, capacity, model.head_dim)

    def forward(self, tokens: NDArray[np.int64]) -> Float32:
        """Logits after each of ``tokens``, which follow those in the cache: shape (tokens, vocabulary)."""
        return self._logits(self._hidden(tokens))

    def next_logits(self, tokens: NDArray[np.int64]) -> Float32:
        """Logits after the last of ``tokens`` alone, shape (vocabulary,): a prefill or a decode step."""
        for first in range(0, len(tokens), PREFILL_TOKENS):
            hidden = self._hidden(tokens[first : first + PREFILL_TOKENS])
        logits: Float32 = self._logits(hidden[-1:])[0]
        return logits

    def _hidden(self, tokens: NDArray[np.int64]) -> Float32:
        """What the last decoder leaves for each token, shape (tokens, hidden)."""
        first, last = self.cache.length, self.cache.length + len(tokens)
        if last > self.cache.capacity:
            raise ValueError(f"{last} tokens do not fit a KV cache of {self.cache.capacity}.")
        turns = rotations(self.config.inverse_frequencies, np.arange(first, last))
        hidden = self._embedding(tokens)
        for number, layer in enumerate(self.weights.layers):
            hidden = self._keep(hidden + self._attention(number, layer, hidden, turns))
            hidden = self._keep(hidden + self._mlp(layer, hidden))
        self.cache.advance(len(tokens))
        return hidden

    def _embedding(self, tokens: NDArray[np.int64]) -> Float32:
        """Each rank looks up the tokens of its part of the vocabulary; the others' rows are zero in the sum."""
        rows = tokens - self.weights.first_token
        own = (rows >= 0) & (rows < len(self.weights.embedding))
        found = np.where(own[:, None], self.weights.embedding[np.where(own, rows, 0)], np.float32(0))
        return self.communicator.all_reduce(found)

    def _attention(
        self, number: int, layer: LayerWeights[np.float32], hidden: Float32, turns: tuple[Float32, Float32]
    ) -> Float32:
        keep, head_dim = self._keep, self.config.model.head_dim
        normal = keep(rms_norm(hidden, layer.attention_norm, self.config.norm_epsilon))
        query, key, value = (
            split_heads(keep(linear(normal, weight)), head_dim) for weight in (layer.query, layer.key, layer.value)
        )
        keys, values = self.cache.append(number, keep(rotate(key, *turns)), value)
        mixed = keep(attention(keep(rotate(query, *turns)), keys, values))
        return self._sum(linear(merge_heads(mixed), layer.output))

    def _mlp(self, layer: LayerWeights[np.float32], hidden: Float32) -> Float32:
        normal = self._keep(rms_norm(hidden, layer.mlp_norm, self.config.norm_epsilon))
        gate, up = (self._keep(linear(normal, weight)) for weight in (layer.gate, layer.up))
        return self._sum(linear(self._keep(swiglu(gate, up)), layer.down))

    def _sum(self, partial: Float32) -> Float32:
        return self._keep(self.communicator.all_reduce(self._keep(partial)))

    def _logits(self, hidden: Float32) -> Float32:
        normal = self._keep(rms_norm(hidden, self.weights.final_norm, self.config.norm_epsilon))
        parts = self.communicator.all_gather(self._keep(linear(normal, self.weights.head)))
        return np.concatenate(parts, axis=-1)[:, : self.config.model.vocabulary]
