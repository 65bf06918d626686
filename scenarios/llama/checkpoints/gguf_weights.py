"""Weights of a GGUF file (llama.cpp's format): its metadata as our shape, its quantized tensors as float32."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from gguf import GGUFReader, Keys, ReaderTensor, dequantize

from scenarios.errors import ScenarioError
from scenarios.llama.config import DEFAULT_NORM_EPSILON, LlamaConfig
from scenarios.llama.number_format import Float32
from scenarios.llama.rotary import DEFAULT_THETA, inverse_frequencies
from scenarios.llama.weights import tensor_shape
from scenarios.workload.model import Model

Value = TypeVar("Value", int, float, str, bool, list[str], list[int], list[float])

NAMES = {
    "embedding": "token_embd.weight",
    "attention_norm": "blk.{layer}.attn_norm.weight",
    "query": "blk.{layer}.attn_q.weight",
    "key": "blk.{layer}.attn_k.weight",
    "value": "blk.{layer}.attn_v.weight",
    "output": "blk.{layer}.attn_output.weight",
    "mlp_norm": "blk.{layer}.ffn_norm.weight",
    "gate": "blk.{layer}.ffn_gate.weight",
    "up": "blk.{layer}.ffn_up.weight",
    "down": "blk.{layer}.ffn_down.weight",
    "final_norm": "output_norm.weight",
    "head": "output.weight",
}
# What llama.cpp's converter stores of a rope scaling: the divisor of each frequency.
ROPE_FACTORS = "rope_freqs.weight"


class GgufWeights:
    """The weights in one GGUF file. Raises ScenarioError for another architecture, or a file that is not whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise ScenarioError(f"{path}: no such file.")
        try:
            self._reader = GGUFReader(path)
        except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
            raise ScenarioError(f"{path}: not a whole GGUF file: {error}.") from None
        architecture = self.metadata("general.architecture", "")
        if architecture != "llama":
            raise ScenarioError(f"{path}: architecture '{architecture}' is not computed here; expected llama.")
        # Biases and experts come as tensors of their own: computed without them, the text would be wrong unseen.
        layers = range(self._count(Keys.LLM.BLOCK_COUNT))
        known = {name.format(layer=layer) for name in NAMES.values() for layer in layers}
        if unknown := sorted(set(self._tensors) - known - {ROPE_FACTORS}):
            raise ScenarioError(f"{path}: tensor '{unknown[0]}' is not part of a Llama as it is computed here.")

    @cached_property
    def _tensors(self) -> dict[str, ReaderTensor]:
        return {tensor.name: tensor for tensor in self._reader.tensors}

    def metadata(self, key: str, default: Value) -> Value:
        """The value of a metadata key, of the type of ``default``, which stands for an absent one."""
        field = self._reader.get_field(key)
        return default if field is None else cast(Value, field.contents())

    @cached_property
    def config(self) -> LlamaConfig:
        """The shape from the ``llama.*`` keys; names as in gguf-py's ``Keys.LLM``."""
        hidden = self._count(Keys.LLM.EMBEDDING_LENGTH)
        heads = self._count(Keys.Attention.HEAD_COUNT)
        head_dim = self.metadata("llama.attention.key_length", hidden // heads)
        model = Model(
            name=self.path.stem,
            title=self.metadata("general.name", self.path.stem),
            layers=self._count(Keys.LLM.BLOCK_COUNT),
            hidden=hidden,
            heads=heads,
            kv_heads=self.metadata("llama.attention.head_count_kv", heads),
            head_dim=head_dim,
            intermediate=self._count(Keys.LLM.FEED_FORWARD_LENGTH),
            vocabulary=int(self._tensor("token_embd.weight").shape[1]),
            max_context=self._count(Keys.LLM.CONTEXT_LENGTH),
            gated_mlp=True,
            tied_embeddings=NAMES["head"] not in self._tensors,
            rotary=True,
            qk_norm=False,
            norm="rmsnorm",
            biases="none",
        )
        rotated = self.metadata("llama.rope.dimension_count", head_dim)
        if rotated != head_dim:
            raise ScenarioError(f"{self.path}: {rotated} of a head's {head_dim} elements are rotated; expected all.")
        scaling = self.metadata("llama.rope.scaling.type", "none")
        if scaling not in ("none", "linear"):
            raise ScenarioError(f"{self.path}: rope scaling of type '{scaling}' is not computed here; expected linear.")
        frequencies = inverse_frequencies(head_dim, self.metadata("llama.rope.freq_base", DEFAULT_THETA))
        if scaling == "linear":
            frequencies = frequencies / np.float32(self.metadata("llama.rope.scaling.factor", 1.0))
        if ROPE_FACTORS in self._tensors:
            frequencies = frequencies / self._values(ROPE_FACTORS, slice(None))
        epsilon = self.metadata("llama.attention.layer_norm_rms_epsilon", DEFAULT_NORM_EPSILON)
        return LlamaConfig(model, epsilon, frequencies)

    def tensor(self, name: str, layer: int | None, rows: slice) -> Float32:
        """See ``WeightSource``. llama.cpp pairs neighbours of a head for the rotation; here they get our order back."""
        stored_name, expected = NAMES[name].format(layer=layer), tensor_shape(self.config, name)
        found = tuple(int(size) for size in self._tensor(stored_name).shape[::-1])
        if found != expected:
            raise ScenarioError(f"{self.path}: tensor '{stored_name}' has shape {found}; its metadata say {expected}.")
        values = self._values(stored_name, rows)
        if name not in ("query", "key"):
            return values
        pairs = self.config.model.head_dim // 2
        by_pair = values.reshape(-1, pairs, 2, values.shape[-1])
        return np.ascontiguousarray(np.swapaxes(by_pair, 1, 2)).reshape(values.shape)

    def _tensor(self, name: str) -> ReaderTensor:
        if name not in self._tensors:
            raise ScenarioError(f"{self.path}: there is no tensor '{name}'.")
        return self._tensors[name]

    def _values(self, name: str, rows: slice) -> Float32:
        """Quantized blocks lie within a row, so that rows are dequantized without their neighbours."""
        stored = self._tensor(name)
        try:
            return np.asarray(dequantize(stored.data[rows], stored.tensor_type), np.float32)
        except NotImplementedError:
            kind = stored.tensor_type.name
            raise ScenarioError(f"{self.path}: tensor '{name}' is stored as {kind}, which gguf cannot read.") from None

    def _count(self, key: str) -> int:
        name = key.format(arch="llama")
        value = self.metadata(name, 0)
        if value < 1:
            raise ScenarioError(f"{self.path}: metadata key '{name}' is missing; expected a positive integer.")
        return value
