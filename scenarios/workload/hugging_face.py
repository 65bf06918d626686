"""Hugging Face's conventions: the keys of a ``config.json``, and how repositories name the same model.

Belongs here: what turns their files and names into ours. Does not belong here: what the shapes mean for cost. How a
checkpoint is quantized is read in ``scenarios.workload.checkpoint_quantization``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from chips.catalog_file import CatalogError
from chips.quantity import name_from
from results.text_file import read_json
from scenarios.quantities import LARGEST_COUNT, LARGEST_SIZE
from scenarios.workload.checkpoint_quantization import read_quantization
from scenarios.workload.quantization import PrecisionWord

# Our field: the key of config.json.
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
OF_TOKENS = ("max_position_embeddings", "n_positions", "sliding_window", "original_max_position_embeddings")
LLAMA_TRAITS = {"gated_mlp": True, "rotary": True, "norm": "rmsnorm", "qk_norm": False, "biases": "none"}
GPT2_TRAITS = {"gated_mlp": False, "rotary": False, "norm": "layernorm", "qk_norm": False, "biases": "all"}


class Family(NamedTuple):
    """What models of one ``model_type`` share.

    ``window``: the sliding window that their class assumes; ``uses_window``: whether it does so where nothing is said;
    ``global_every``: of so many layers the last sees every key. ``stretched``: whether ``max_position_embeddings`` is
    that before a scaling of positions. ``head_dim``, ``tied``: what their class assumes. ``class_defaults``: what a
    config within another one leaves out, because it is the class's own.
    """

    traits: Mapping[str, Any] = LLAMA_TRAITS
    keys: Mapping[str, str] = LLAMA_KEYS
    window: int | None = None
    uses_window: bool = True
    global_every: int | None = None
    stretched: bool = True
    head_dim: int | None = None
    tied: bool = False
    class_defaults: Mapping[str, int] = {}


def _defaults_of(
    layers: int, hidden: int, heads: int, kv_heads: int, mlp: int, vocabulary: int, context: int
) -> dict[str, int]:
    values = (layers, hidden, heads, kv_heads, mlp, vocabulary, context)
    return dict(zip((key for key in LLAMA_KEYS.values() if key != "head_dim"), values, strict=True))


# Of the classes of transformers 4.57 [recalled].
FAMILIES: dict[str, Family] = {
    "llama": Family(class_defaults=_defaults_of(32, 4096, 32, 32, 11008, 32000, 2048)),
    "mistral": Family(class_defaults=_defaults_of(32, 4096, 32, 8, 14336, 32000, 131072)),
    "qwen2": Family(
        LLAMA_TRAITS | {"biases": "qkv"},
        uses_window=False,
        class_defaults=_defaults_of(32, 4096, 32, 32, 22016, 151936, 32768),
    ),
    "qwen3": Family(
        LLAMA_TRAITS | {"qk_norm": True},
        uses_window=False,
        class_defaults=_defaults_of(32, 4096, 32, 32, 22016, 151936, 32768),
    ),
    "phi3": Family(),
    "granite": Family(),
    "gemma": Family(head_dim=256, tied=True, class_defaults=_defaults_of(28, 3072, 16, 16, 24576, 256000, 8192)),
    "gemma2": Family(
        LLAMA_TRAITS | {"norms": "around"},
        window=4096,
        global_every=2,
        head_dim=256,
        tied=True,
        class_defaults=_defaults_of(26, 2304, 8, 4, 9216, 256000, 8192),
    ),
    "gemma3": Family(
        LLAMA_TRAITS | {"norms": "around", "qk_norm": True},
        window=4096,
        global_every=6,
        stretched=False,
        head_dim=256,
        tied=True,
        class_defaults=_defaults_of(26, 2304, 8, 4, 9216, 262208, 131072),
    ),
    "olmo2": Family(LLAMA_TRAITS | {"norms": "after", "qk_norm": True, "qk_norm_shared": False}),
    "olmo3": Family(
        LLAMA_TRAITS | {"norms": "after", "qk_norm": True, "qk_norm_shared": False}, window=4096, global_every=4
    ),
    "gpt2": Family(GPT2_TRAITS, GPT2_KEYS, tied=True),
}
"""By ``model_type``."""
ALIASES = {"gemma3_text": "gemma3", "phi3_v": "phi3", "qwen2_vl": "qwen2", "qwen2_5_vl": "qwen2", "qwen3_vl": "qwen3"}
ALIASES |= {f"{name}_text": other for name, other in ALIASES.items() if not name.endswith("_text")}
"""Types of the same decoder under another name."""
ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Phi3ForCausalLM": "phi3",
    "GraniteForCausalLM": "granite",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3",
    "Olmo2ForCausalLM": "olmo2",
    "Olmo3ForCausalLM": "olmo3",
    "GPT2LMHeadModel": "gpt2",
}
NOT_MODELLED = {
    "num_local_experts": "a mixture of experts",
    "num_experts": "a mixture of experts",
    "n_routed_experts": "a mixture of experts",
    "kv_lora_rank": "multi-head latent attention",
    "cross_attention_layers": "cross-attention",
}
"""Keys of what another decoder has."""
TEXT_CONFIGS = ("text_config", "llm_config", "language_config")
"""Keys under which multimodal models have their decoder's."""
STRETCHES = ("linear", "dynamic", "yarn")
"""Scalings of positions whose factor says by how much more tokens a model takes in (vLLM reads them so)."""
MOST_STRETCH = 1024.0
# Words of a repository's name that say how a model was tuned, stored or published, not what its shape is.
TUNING_WORDS = re.compile(r"meta|instruct|chat|hf|base|it|bf16|fp16|v\d+(\.\d+)*|\d{4}|dynamic")
# Words that also say in what its weights are stored.
STORED_WORDS: dict[str, PrecisionWord] = {
    "fp8": "fp8",
    "nvfp4": "nvfp4",
    "fp4": "nvfp4",
    "int8": "int8",
    "quantized.w8a16": "int8",
    "int4": "int4",
    "quantized.w4a16": "int4",
    "awq": "int4",
    "gptq": "int4",
}


def catalog_name(repository: str) -> str:
    """The name of a repository's shape: ``meta-llama/Llama-3.1-8B-Instruct`` is ``llama-3.1-8b``."""
    return "-".join(
        word for word in _words(repository) if not TUNING_WORDS.fullmatch(word) and word not in STORED_WORDS
    )


def stored_as(repository: str) -> PrecisionWord | None:
    """What a repository's name says that its weights are stored in: ``Qwen/Qwen3-32B-FP8`` in FP8."""
    words = _words(repository)
    return next((stored for word, stored in STORED_WORDS.items() if word in words), None)


def _words(repository: str) -> list[str]:
    return re.split(r"[-_]", repository.rsplit("/", 1)[-1].lower())


def read_config(path: Path) -> dict[str, Any]:
    """A model's fields from the ``config.json`` at ``path``; of a multimodal model those of its text decoder.

    Raises ReadError or CatalogError in one sentence: file, key and what was expected.
    """
    config = read_json(path)
    if not isinstance(config, dict):
        raise CatalogError(f"{path}: a JSON object is expected, as Hugging Face's config.json.")
    name = name_from(path.resolve().parent.name if path.name == "config.json" else path.stem)
    text, inside = text_config(config)
    fields = model_fields(text, path, inside=inside)
    return fields | {"name": name, "title": name, "quantization": read_quantization(config, fields["layers"], path)}


def text_config(config: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """(the decoder's own keys, whether they stand within those of a multimodal model)."""
    inner = next((config[key] for key in TEXT_CONFIGS if isinstance(config.get(key), dict)), None)
    if inner is None:
        return config, False
    shared = {key: config[key] for key in ("tie_word_embeddings",) if key in config}
    return shared | inner, True


def model_type(config: Mapping[str, Any], path: Path) -> str:
    """Which of ``FAMILIES`` a config is of. Raises CatalogError for any other model, and says why."""
    for key, what in NOT_MODELLED.items():
        if config.get(key) not in (None, 0, 1, []):
            raise CatalogError(
                f"{path}: {what} (key '{key}' is {config[key]!r:.40}) is not modelled; expected a dense decoder: "
                f"{', '.join(ARCHITECTURES)}."
            )
    named, kind = config.get("architectures"), config.get("model_type")
    architecture = named[0] if isinstance(named, list) and named else None
    if isinstance(architecture, str) and architecture in ARCHITECTURES:
        return ARCHITECTURES[architecture]
    causal = architecture is None or (isinstance(architecture, str) and "LMHead" not in architecture)
    if causal and isinstance(kind, str) and (known := ALIASES.get(kind, kind)) in FAMILIES:
        return known
    said = f"'architectures' is {named!r:.80}" if named is not None or kind is None else f"'model_type' is {kind!r:.80}"
    raise CatalogError(
        f"{path}: key {said}; expected a list with one of {', '.join(ARCHITECTURES)}, or a 'model_type' of "
        f"{', '.join(FAMILIES)}."
    )


def model_fields(config: dict[str, Any], path: Path, *, inside: bool = False) -> dict[str, Any]:
    """A model's fields, but for its name, from a config's keys; ``inside``: it leaves out what its class assumes."""
    family = FAMILIES[model_type(config, path)]
    config = (dict(family.class_defaults) if inside else {}) | config
    keys = family.keys
    counts = {field: _count(config, key, path) for field, key in keys.items() if config.get(key) is not None}
    if family.head_dim is not None:
        counts.setdefault("head_dim", family.head_dim)
    fields: dict[str, Any] = _defaults(counts, keys, path) | dict(family.traits)
    fields["tied_embeddings"] = _truth(config, "tie_word_embeddings", family.tied, path)
    attention, mlp = (_truth(config, key, False, path) for key in ("attention_bias", "mlp_bias"))
    if attention or mlp:
        fields["biases"] = "all" if attention and mlp else "attention" if attention else "mlp"
    fields["max_context"] = (
        _stretched(config, fields["max_context"], path) if family.stretched else fields["max_context"]
    )
    return fields | _windows(config, family, fields["layers"], path)


def _windows(config: Mapping[str, Any], family: Family, layers: int, path: Path) -> dict[str, int]:
    """Which layers see only a window of keys, and how long that is."""
    if config.get("sliding_window", family.window) is None:
        return {}
    if not _truth(config, "use_sliding_window", family.uses_window, path):
        return {}
    window = _count({"sliding_window": family.window} | dict(config), "sliding_window", path)
    kinds, pattern = config.get("layer_types"), family.global_every
    for key in ("sliding_window_pattern", "_sliding_window_pattern"):
        pattern = _count(config, key, path) if config.get(key) is not None else pattern
    if kinds is not None:
        known = isinstance(kinds, list) and all(kind in ("full_attention", "sliding_attention") for kind in kinds)
        if not known or len(kinds) != layers:
            raise CatalogError(
                f"{path}: key 'layer_types' is {kinds!r:.60}; expected full_attention or sliding_attention for each of "
                f"{layers} layers."
            )
        whole = kinds.count("full_attention")
    elif pattern is not None:
        whole = layers // pattern
    elif not family.uses_window:  # Qwen: the first so many layers see all
        whole = min(layers, _count({"max_window_layers": 28} | dict(config), "max_window_layers", path, least=0))
    else:
        whole = 0
    return {"window": window, "global_layers": whole} if whole < layers else {}


def _stretched(config: Mapping[str, Any], context: int, path: Path) -> int:
    """Tokens that a model takes in whose positions are scaled (linear: Chen et al. 2023; YaRN: Peng et al. 2023)."""
    scaling = config.get("rope_scaling") or config.get("rope_parameters")
    if not isinstance(scaling, dict):
        return context
    if scaling.get("rope_type", scaling.get("type")) not in STRETCHES:
        return context
    factor = scaling.get("factor", 1.0)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1.0 <= factor <= MOST_STRETCH:
        raise CatalogError(
            f"{path}: key 'factor' of the rope scaling is {factor!r:.40}; expected a number from 1 to {MOST_STRETCH:g}."
        )
    key = "original_max_position_embeddings"
    trained = _count(scaling, key, path) if scaling.get(key) is not None else context
    return min(LARGEST_COUNT, max(context, round(trained * factor)))


def _truth(config: Mapping[str, Any], key: str, default: bool, path: Path) -> bool:
    value = config.get(key, default)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise CatalogError(f"{path}: key '{key}' is {value!r:.80}; expected true or false.")
    return value


def _count(config: Mapping[str, Any], key: str, path: Path, least: int = 1) -> int:
    value = config[key]
    most = LARGEST_COUNT if key in OF_TOKENS else LARGEST_SIZE
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        expected = "a positive integer" if least else "an integer from 0 up"
        raise CatalogError(f"{path}: key '{key}' is {value!r:.80}; expected {expected}, at most {most}.")
    return value


def _defaults(fields: dict[str, int], keys: Mapping[str, str], path: Path) -> dict[str, int]:
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
