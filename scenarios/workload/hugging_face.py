"""Hugging Face's conventions: the keys of a ``config.json``, and how repositories name the same model.

Belongs here: what turns their files and names into ours. Does not belong here: what the shapes mean for cost.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from chips.catalog_file import CatalogError
from chips.quantity import name_from
from results.text_file import read_json
from scenarios.quantities import LARGEST_COUNT, LARGEST_SIZE

# Our field: the key of config.json. Llama's decoder is shared by the Mistral and Qwen families.
LLAMA_KEYS = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "intermediate": "intermediate_size",
    "vocabulary": "vocab_size",
    "max_context": "max_position_embeddings",
}
GPT2_KEYS = {
    "layers": "n_layer",
    "hidden": "n_embd",
    "heads": "n_head",
    "intermediate": "n_inner",
    "vocabulary": "vocab_size",
    "max_context": "n_positions",
}
OF_TOKENS = ("max_position_embeddings", "n_positions", "sliding_window")
LLAMA_TRAITS = {"gated_mlp": True, "rotary": True, "norm": "rmsnorm", "qk_norm": False, "biases": "none"}
GPT2_TRAITS = {"gated_mlp": False, "rotary": False, "norm": "layernorm", "qk_norm": False, "biases": "all"}
ARCHITECTURES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "LlamaForCausalLM": (LLAMA_KEYS, LLAMA_TRAITS),
    "MistralForCausalLM": (LLAMA_KEYS, LLAMA_TRAITS),
    "Qwen2ForCausalLM": (LLAMA_KEYS, LLAMA_TRAITS | {"biases": "qkv"}),
    "Qwen3ForCausalLM": (LLAMA_KEYS, LLAMA_TRAITS | {"qk_norm": True}),
    "GPT2LMHeadModel": (GPT2_KEYS, GPT2_TRAITS),
}
# Words of a repository's name that say how a model was tuned, stored or published, not what its shape is.
TUNING_WORDS = re.compile(r"meta|instruct|chat|hf|base|it|bf16|fp16|fp8|int8|v\d+(\.\d+)*|\d{4}")


def catalog_name(repository: str) -> str:
    """The name of a repository's shape: ``meta-llama/Llama-3.1-8B-Instruct`` is ``llama-3.1-8b``."""
    words = re.split(r"[-_]", repository.rsplit("/", 1)[-1].lower())
    return "-".join(word for word in words if not TUNING_WORDS.fullmatch(word))


def read_config(path: Path) -> dict[str, Any]:
    """A model's fields from the ``config.json`` at ``path``.

    A sliding window shorter than the context limits ``max_context``: up to it, attention sees every key.
    Raises ReadError or CatalogError in one sentence: file, key and what was expected.
    """
    config = read_json(path)
    if not isinstance(config, dict):
        raise CatalogError(f"{path}: a JSON object is expected, as Hugging Face's config.json.")
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else None
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise CatalogError(f"{path}: key 'architectures' is {named!r}; expected a list with one of {known}.")
    keys, traits = ARCHITECTURES[architecture]
    counts = {field: _count(config, key, path) for field, key in keys.items() if config.get(key) is not None}
    fields: dict[str, Any] = _defaults(counts, keys, path) | traits
    tied = config.get("tie_word_embeddings", architecture == "GPT2LMHeadModel")
    if not isinstance(tied, bool):
        raise CatalogError(f"{path}: key 'tie_word_embeddings' is {tied!r}; expected true or false.")
    if config.get("attention_bias") is True:
        fields["biases"] = "attention"
    if config.get("sliding_window") is not None and config.get("use_sliding_window", True):
        fields["max_context"] = min(fields["max_context"], _count(config, "sliding_window", path))
    name = name_from(path.resolve().parent.name if path.name == "config.json" else path.stem)
    return fields | {"name": name, "title": name, "tied_embeddings": tied}


def _count(config: dict[str, Any], key: str, path: Path) -> int:
    value = config[key]
    most = LARGEST_COUNT if key in OF_TOKENS else LARGEST_SIZE
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise CatalogError(f"{path}: key '{key}' is {value!r:.80}; expected a positive integer, at most {most}.")
    return value


def _defaults(fields: dict[str, int], keys: dict[str, str], path: Path) -> dict[str, int]:
    """What the libraries assume where a key is absent; the other keys must be there."""
    for field in ("layers", "hidden", "heads", "vocabulary", "max_context"):
        if field not in fields:
            raise CatalogError(f"{path}: key '{keys[field]}' is missing; expected a positive integer.")
    if "head_dim" not in fields and fields["hidden"] % fields["heads"]:
        raise CatalogError(
            f"{path}: key '{keys['heads']}' is {fields['heads']}; expected a divisor of {keys['hidden']}, "
            f"{fields['hidden']}, or a head_dim."
        )
    if "intermediate" not in fields and keys is LLAMA_KEYS:
        raise CatalogError(f"{path}: key '{keys['intermediate']}' is missing; expected a positive integer.")
    defaults = {
        "kv_heads": fields["heads"],
        "head_dim": fields["hidden"] // fields["heads"],
        "intermediate": 4 * fields["hidden"],
    }
    return defaults | fields
