"""A GGUF file (llama.cpp's) as a model's shape: its metadata as the keys of a config, its types as stored bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from chips.catalog_file import CatalogError
from chips.quantity import name_from
from scenarios.workload.gguf_file import GgufFile, StoredTensor
from scenarios.workload.hugging_face import FAMILIES, model_fields
from scenarios.workload.quantization import FORMATS, Quantization

# Key of a config: GGUF's, behind the architecture's name.
KEYS = {
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
    "sliding_window": "attention.sliding_window",
    "num_local_experts": "expert_count",
}
EMBEDDING, HEAD, DECODERS = "token_embd.weight", "output.weight", "blk."


def read_gguf(path: Path) -> dict[str, Any]:
    """A model's fields from the GGUF file at ``path``.

    Raises ReadError where there is no file, ScenarioError where it is no whole GGUF file, CatalogError for a model that
    is not known.
    """
    file = GgufFile(path)
    kind = file.metadata.get("general.architecture")
    if not isinstance(kind, str) or kind not in FAMILIES or kind == "gpt2":
        known = ", ".join(name for name in FAMILIES if name != "gpt2")
        raise CatalogError(f"{path}: architecture {kind!r:.40} is not modelled; expected one of {known}.")
    config: dict[str, Any] = {
        key: file.metadata[f"{kind}.{name}"] for key, name in KEYS.items() if f"{kind}.{name}" in file.metadata
    }
    embedding = file.tensors.get(EMBEDDING)
    if embedding is None or len(embedding.shape) != 2:
        raise CatalogError(f"{path}: there is no tensor '{EMBEDDING}' of two dimensions.")
    biased = {
        "attention_bias": f"{DECODERS}0.attn_output.bias" in file.tensors,
        "mlp_bias": f"{DECODERS}0.ffn_down.bias" in file.tensors,
    }
    if not config.get("sliding_window", 1):  # 0 stands for none
        config["sliding_window"] = None
    config |= biased | {"vocab_size": embedding.shape[0], "tie_word_embeddings": HEAD not in file.tensors}
    scaling = {
        "rope_type": file.metadata.get(f"{kind}.rope.scaling.type"),
        "factor": file.metadata.get(f"{kind}.rope.scaling.factor", 1.0),
        "original_max_position_embeddings": file.metadata.get(f"{kind}.rope.scaling.original_context_length"),
    }
    fields = model_fields(config | {"model_type": kind, "use_sliding_window": True, "rope_scaling": scaling}, path)
    name = name_from(path.stem)
    return fields | {"name": name, "title": name, "quantization": _quantization(file)}


def _quantization(file: GgufFile) -> Quantization | None:
    """What its tensors of two dimensions are stored in, on average; None where decoders are in 16 bits or more."""
    decoders = _bits(file, lambda name: name.startswith(DECODERS))
    around = _bits(file, lambda name: name in (EMBEDDING, HEAD))
    if decoders is None or around is None or decoders >= 16.0:
        return None
    word = "int4" if decoders < (FORMATS["int4"].weight_bits + FORMATS["int8"].weight_bits) / 2 else "int8"
    return Quantization(precision=word, weight_bits=decoders, around_bits=min(around, 16.0))


def _bits(file: GgufFile, chosen: Callable[[str], bool]) -> float | None:
    """Of one element, over all the matrices that are ``chosen``."""
    matrices: list[StoredTensor] = [
        tensor for name, tensor in file.tensors.items() if chosen(name) and len(tensor.shape) == 2
    ]
    elements = sum(tensor.shape[0] * tensor.shape[1] for tensor in matrices)
    return 8.0 * sum(tensor.data.nbytes for tensor in matrices) / elements if elements else None
