"""Tiny Llamas for tests: a shape, random weights, and the same weights written as Hugging Face folder and as GGUF."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from cluster.communicator import Communicator
from scenarios.llama import LlamaConfig, LlamaRank, load_weights
from scenarios.llama.checkpoints.safetensors_weights import NAMES
from scenarios.llama.number_format import Float32, NumberFormat
from scenarios.llama.rotary import inverse_frequencies
from scenarios.llama.weights import WeightSource, tensor_shape
from scenarios.workload.model import Model

LAYER_NAMES = ("attention_norm", "query", "key", "value", "output", "mlp_norm", "gate", "up", "down")
GGUF_NAMES = {
    "embedding": "token_embd.weight",
    "final_norm": "output_norm.weight",
    "head": "output.weight",
    "attention_norm": "attn_norm.weight",
    "query": "attn_q.weight",
    "key": "attn_k.weight",
    "value": "attn_v.weight",
    "output": "attn_output.weight",
    "mlp_norm": "ffn_norm.weight",
    "gate": "ffn_gate.weight",
    "up": "ffn_up.weight",
    "down": "ffn_down.weight",
}


def tiny_model(**changes: object) -> Model:
    """12 heads, 3 KV heads (so 1, 3, 6, 12 chips), and a vocabulary that no count of chips divides."""
    shape: dict[str, object] = {
        "name": "tiny",
        "title": "Tiny Llama",
        "layers": 2,
        "hidden": 48,
        "heads": 12,
        "kv_heads": 3,
        "head_dim": 4,
        "intermediate": 96,
        "vocabulary": 307,
        "max_context": 64,
        "gated_mlp": True,
        "tied_embeddings": False,
        "rotary": True,
        "qk_norm": False,
        "norm": "rmsnorm",
        "biases": "none",
    }
    return Model.model_validate(shape | changes)


def tiny_config(**changes: object) -> LlamaConfig:
    model = tiny_model(**changes)
    return LlamaConfig(model, 1e-5, inverse_frequencies(model.head_dim))


@dataclass(frozen=True)
class LargeRandomWeights:
    """Like RandomWeights, with gains that differ and weights large enough that every operator matters."""

    config: LlamaConfig
    seed: int = 0

    def tensor(self, name: str, layer: int | None, rows: slice) -> Float32:
        place = [*NAMES].index(name)
        generator = np.random.default_rng([self.seed, place, 0 if layer is None else layer + 1])
        shape = tensor_shape(self.config, name)
        values = generator.standard_normal(shape, np.float32) * np.float32(0.2)
        return (values + np.float32(1.0 if len(shape) == 1 else 0.0))[rows]


def logits_of_rank(
    communicator: Communicator,
    source: WeightSource,
    steps: Sequence[Sequence[int]],
    number_format: NumberFormat = "float32",
) -> Float32:
    """All logits of a text that passes in these steps: shape (tokens, vocabulary)."""
    weights = load_weights(source, communicator.ranks, communicator.rank, number_format)
    rank = LlamaRank(source.config, weights, communicator, sum(map(len, steps)), number_format)
    return np.concatenate([rank.forward(np.array(step)) for step in steps])


def whole_tensors(source: WeightSource) -> list[tuple[str, int | None, Float32]]:
    model = source.config.model
    named: list[tuple[str, int | None]] = [(name, layer) for layer in range(model.layers) for name in LAYER_NAMES]
    named += [("embedding", None), ("final_norm", None)] + ([] if model.tied_embeddings else [("head", None)])
    return [(name, layer, source.tensor(name, layer, slice(None))) for name, layer in named]


def write_folder(folder: Path, source: WeightSource, *, files: int = 1, vocabulary: bool = True) -> None:
    """A Hugging Face folder: config.json, safetensors in ``files`` files, and a byte-level tokenizer."""
    model = source.config.model
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "hidden_size": model.hidden,
        "intermediate_size": model.intermediate,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "vocab_size": model.vocabulary,
        "max_position_embeddings": model.max_context,
        "rms_norm_eps": source.config.norm_epsilon,
        "rope_theta": 10000.0,
        "tie_word_embeddings": model.tied_embeddings,
        "eos_token_id": [300, 301],
    }
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {NAMES[name].format(layer=layer): values for name, layer, values in whole_tensors(source)}
    names = sorted(tensors)
    if files == 1:
        save_file(tensors, folder / "model.safetensors")
    else:
        placed = {name: f"model-{number % files}.safetensors" for number, name in enumerate(names)}
        for file in set(placed.values()):
            save_file({name: tensors[name] for name in names if placed[name] == file}, folder / file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    if vocabulary:
        tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(byte_tokens())}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.save(str(folder / "tokenizer.json"))


def byte_tokens() -> list[str]:
    """The 256 characters that stand for bytes in byte-level BPE."""
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def write_gguf(path: Path, source: WeightSource, **metadata: object) -> None:
    """As llama.cpp's converter does: neighbours of a query's or key's head become the pairs of the rotation.

    ``metadata``: ``vocabulary_model``, ``pre``, ``tokens``, ``merges``, ``kinds``, ``scores`` in place of bytes,
    ``first`` token, ``chat_template``, ``rotated`` elements of a head, ``more_tensors``.
    """
    model = source.config.model
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(model.layers)
    writer.add_embedding_length(model.hidden)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_key_length(model.head_dim)
    writer.add_feed_forward_length(model.intermediate)
    writer.add_context_length(model.max_context)
    writer.add_layer_norm_rms_eps(source.config.norm_epsilon)
    writer.add_rope_freq_base(10000.0)
    tokens = metadata.get("tokens", byte_tokens())
    assert isinstance(tokens, list)
    writer.add_tokenizer_model(str(metadata.get("vocabulary_model", "gpt2")))
    writer.add_tokenizer_pre(str(metadata.get("pre", "gpt-2")))
    writer.add_token_list(tokens)
    for key, write in (
        ("merges", writer.add_token_merges),
        ("kinds", writer.add_token_types),
        ("scores", writer.add_token_scores),
        ("first", writer.add_bos_token_id),
        ("chat_template", writer.add_chat_template),
        ("rotated", writer.add_rope_dimension_count),
    ):
        if key in metadata:
            write(metadata[key])  # type: ignore[operator]
    writer.add_eos_token_id(0)
    more_tensors = metadata.get("more_tensors", {})
    assert isinstance(more_tensors, dict)
    for name, values in more_tensors.items():
        writer.add_tensor(name, values)
    for name, layer, values in whole_tensors(source):
        if name in ("query", "key"):
            by_half = values.reshape(-1, 2, model.head_dim // 2, values.shape[-1])
            values = np.ascontiguousarray(np.swapaxes(by_half, 1, 2)).reshape(values.shape)
        writer.add_tensor(GGUF_NAMES[name] if layer is None else f"blk.{layer}.{GGUF_NAMES[name]}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
