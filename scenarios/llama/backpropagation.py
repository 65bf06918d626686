"""Training on one rank: the loss of next tokens, its gradient by every weight of the shard.

Megatron's partition again: where the forward pass adds partial results, the backward pass goes straight through, and
where the forward pass reads the same activations on every rank, the backward pass adds their partial gradients. The
loss is computed from the split vocabulary, without gathering its logits (Shoeybi et al. 2019, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from cluster.communicator import Communicator
from scenarios.llama.config import LlamaConfig
from scenarios.llama.gradients import attention_gradients, linear_gradients, rms_norm_gradients, swiglu_gradients
from scenarios.llama.layers import (
    attention_weights,
    group_queries,
    linear,
    merge_heads,
    rms_norm,
    split_heads,
    swiglu,
)
from scenarios.llama.number_format import Float32
from scenarios.llama.rotary import rotate, rotations
from scenarios.llama.weights import LayerWeights, Weights

Real = TypeVar("Real", np.float32, np.float64)


@dataclass(frozen=True)
class _Kept(Generic[Real]):
    """Activations of one decoder that its backward pass needs; queries and keys are rotated."""

    hidden: NDArray[Real]
    attention_input: NDArray[Real]
    queries: NDArray[Real]
    keys: NDArray[Real]
    values: NDArray[Real]
    weights: NDArray[Real]
    mixed: NDArray[Real]
    after_attention: NDArray[Real]
    mlp_input: NDArray[Real]
    gate: NDArray[Real]
    up: NDArray[Real]


class TrainingRank(Generic[Real]):
    """The program of one rank for training. All ranks call the same methods with the same tokens.

    On one rank weights may be float64, to check gradients by differences; ranks exchange float32.
    """

    def __init__(self, config: LlamaConfig, weights: Weights[Real], communicator: Communicator) -> None:
        self.config, self.communicator = config, communicator
        self.weights: Weights[Real] = weights

    def loss_and_gradients(self, tokens: NDArray[np.int64]) -> tuple[float, Weights[Real]]:
        """Mean cross-entropy of each token given those before it, and its gradient by each weight of this rank.

        ``tokens``: shape (sequences, length), length at least 2. Norm gains, which every rank holds, have the same
        gradient on every rank; so have key and value heads that several ranks hold.
        """
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        turns = rotations(self.config.inverse_frequencies, np.arange(inputs.shape[1]))
        hidden = self._embed(inputs)
        kept: list[_Kept[Real]] = []
        for layer in self.weights.layers:
            activations, hidden = self._decoder(layer, hidden, turns)
            kept.append(activations)
        normal = rms_norm(hidden, self.weights.final_norm, self.config.norm_epsilon)
        loss, d_logits = self._cross_entropy(linear(normal, self.weights.head), targets)

        d_normal, d_head = linear_gradients(d_logits, normal, self.weights.head)
        d_hidden, d_final_norm = rms_norm_gradients(
            self._sum(d_normal), hidden, self.weights.final_norm, self.config.norm_epsilon
        )
        d_layers: list[LayerWeights[Real]] = []
        for layer, activations in zip(reversed(self.weights.layers), reversed(kept), strict=True):
            d_layer, d_hidden = self._decoder_gradients(layer, activations, d_hidden, turns)
            d_layers.insert(0, d_layer)
        tied = self.weights.head is self.weights.embedding
        d_embedding = d_head if tied else np.zeros_like(self.weights.embedding)
        rows, own = self._own_rows(inputs)
        np.add.at(d_embedding, rows[own], d_hidden[own])
        return loss, Weights(d_embedding, d_layers, d_final_norm, d_head, self.weights.first_token)

    def _embed(self, tokens: NDArray[np.int64]) -> NDArray[Real]:
        rows, own = self._own_rows(tokens)
        found = np.zeros((*tokens.shape, self.config.model.hidden), self.weights.embedding.dtype)
        found[own] = self.weights.embedding[rows[own]]
        return self._sum(found)

    def _own_rows(self, tokens: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Each token's row in this rank's part of the vocabulary, and whether it is there at all."""
        rows = tokens - self.weights.first_token
        return rows, (rows >= 0) & (rows < len(self.weights.embedding))

    def _decoder(
        self, layer: LayerWeights[Real], hidden: NDArray[Real], turns: tuple[Float32, Float32]
    ) -> tuple[_Kept[Real], NDArray[Real]]:
        epsilon, head_dim = self.config.norm_epsilon, self.config.model.head_dim
        attention_input = rms_norm(hidden, layer.attention_norm, epsilon)
        queries, keys, values = (
            split_heads(linear(attention_input, weight), head_dim) for weight in (layer.query, layer.key, layer.value)
        )
        queries, keys = rotate(queries, *turns), rotate(keys, *turns)
        weights: NDArray[Real] = attention_weights(group_queries(queries, keys.shape[-3]), keys)
        mixed = merge_heads((weights @ values[..., None, :, :]).reshape(queries.shape))
        after_attention = hidden + self._sum(linear(mixed, layer.output))
        mlp_input = rms_norm(after_attention, layer.mlp_norm, epsilon)
        gate, up = linear(mlp_input, layer.gate), linear(mlp_input, layer.up)
        result = after_attention + self._sum(linear(swiglu(gate, up), layer.down))
        kept = _Kept(
            hidden, attention_input, queries, keys, values, weights, mixed, after_attention, mlp_input, gate, up
        )
        return kept, result

    def _decoder_gradients(
        self, layer: LayerWeights[Real], kept: _Kept[Real], d_result: NDArray[Real], turns: tuple[Float32, Float32]
    ) -> tuple[LayerWeights[Real], NDArray[Real]]:
        epsilon, head_dim = self.config.norm_epsilon, self.config.model.head_dim
        d_product, d_down = linear_gradients(d_result, swiglu(kept.gate, kept.up), layer.down)
        d_gate_out, d_up_out = swiglu_gradients(d_product, kept.gate, kept.up)
        d_by_gate, d_gate = linear_gradients(d_gate_out, kept.mlp_input, layer.gate)
        d_by_up, d_up = linear_gradients(d_up_out, kept.mlp_input, layer.up)
        d_middle, d_mlp_norm = rms_norm_gradients(
            self._sum(d_by_gate + d_by_up), kept.after_attention, layer.mlp_norm, epsilon
        )
        d_middle = d_middle + d_result

        d_mixed, d_output = linear_gradients(d_middle, kept.mixed, layer.output)
        d_queries, d_keys, d_values = attention_gradients(
            split_heads(d_mixed, head_dim), kept.queries, kept.keys, kept.values, kept.weights
        )
        cosine, sine = turns
        d_rotated = (rotate(d_queries, cosine, -sine), rotate(d_keys, cosine, -sine), d_values)
        by_query, by_key, by_value = (
            linear_gradients(merge_heads(d_heads), kept.attention_input, weight)
            for d_heads, weight in zip(d_rotated, (layer.query, layer.key, layer.value), strict=True)
        )
        d_hidden, d_attention_norm = rms_norm_gradients(
            self._sum(by_query[0] + by_key[0] + by_value[0]), kept.hidden, layer.attention_norm, epsilon
        )
        gradients = LayerWeights(
            attention_norm=d_attention_norm,
            query=by_query[1],
            key=self._sum_over_holders(by_key[1]),
            value=self._sum_over_holders(by_value[1]),
            output=d_output,
            mlp_norm=d_mlp_norm,
            gate=d_gate,
            up=d_up,
            down=d_down,
        )
        return gradients, d_hidden + d_middle

    def _cross_entropy(self, logits: NDArray[Real], targets: NDArray[np.int64]) -> tuple[float, NDArray[Real]]:
        """The mean loss, and its gradient by this rank's logits of shape (sequences, tokens, its vocabulary)."""
        padded = np.arange(logits.shape[-1]) + self.weights.first_token >= self.config.model.vocabulary
        logits = np.where(padded, logits.dtype.type(-np.inf), logits)
        # A rank whose rows are all padding has no maximum of its own.
        lowest = np.finfo(logits.dtype).min
        largest = self._maximum(np.maximum(logits.max(axis=-1, keepdims=True), lowest))
        powers = np.exp(logits - largest)
        total = self._sum(powers.sum(axis=-1, keepdims=True))
        rows, own = self._own_rows(targets)
        d_logits = powers / total
        found = np.zeros(targets.shape, logits.dtype)
        found[own] = logits[own, rows[own]]
        d_logits[own, rows[own]] -= 1
        losses = np.log(total)[..., 0] + largest[..., 0] - self._sum(found)
        return float(losses.mean()), d_logits / logits.dtype.type(targets.size)

    def _sum(self, partial: NDArray[Real]) -> NDArray[Real]:
        if self.communicator.ranks == 1:
            return partial
        return np.asarray(self.communicator.all_reduce(np.asarray(partial, np.float32)), partial.dtype)

    def _maximum(self, own: NDArray[Real]) -> NDArray[Real]:
        if self.communicator.ranks == 1:
            return own
        return np.asarray(np.max(self.communicator.all_gather(np.asarray(own, np.float32)), axis=0), own.dtype)

    def _sum_over_holders(self, gradient: NDArray[Real]) -> NDArray[Real]:
        """Where several ranks hold one KV head, each has the gradient of its own query heads: their sum."""
        ranks, kv_heads = self.communicator.ranks, self.config.model.kv_heads
        if ranks <= kv_heads:
            return gradient
        parts = self.communicator.all_gather(np.asarray(gradient, np.float32))
        holders = ranks // kv_heads
        first = self.communicator.rank // holders * holders
        return np.asarray(np.sum(parts[first : first + holders], axis=0), gradient.dtype)
