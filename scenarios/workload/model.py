"""Decoder-only language models: their shapes, what they weigh, and how tensor parallelism splits them.

A model of the catalog is one TOML file in ``scenarios/workload/models``, every number with its source; any Hugging Face
``config.json`` is read as well. What a decoder computes is in ``operators.py``.
"""

from __future__ import annotations

import glob
from functools import cache
from math import gcd, isqrt
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le
from pydantic import PositiveInt

from chips.catalog_file import CatalogError, nearest_names, validate
from chips.datasheet import read_sources
from chips.frozen import Frozen
from chips.quantity import Name, name_from
from chips.spec import ELEMENT_BYTES, Precision
from results.text_file import read_toml
from scenarios.errors import ScenarioError
from scenarios.quantities import LARGEST_COUNT, LARGEST_SIZE
from scenarios.workload.hugging_face import catalog_name, read_config
from scenarios.workload.operators import ACTIVATION_BYTES

CATALOG = Path(__file__).parent / "models"
Size = Annotated[int, Gt(0), Le(LARGEST_SIZE)]
Tokens = Annotated[int, Gt(0), Le(LARGEST_COUNT)]


class Model(Frozen):
    """The shape of a decoder-only transformer."""

    name: Name
    title: Name
    layers: Size
    hidden: Size
    heads: Size
    kv_heads: Size
    head_dim: Size
    intermediate: Size
    """width of the MLP."""
    vocabulary: Size
    max_context: Tokens
    gated_mlp: bool
    """whether the MLP has three matrices (SwiGLU), not two (GPT)."""
    tied_embeddings: bool
    rotary: bool
    """positions by rotation of queries and keys; otherwise learned, one vector for each of ``max_context``."""
    qk_norm: bool
    """RMSNorm over each head's query and key (Qwen3)."""
    norm: Literal["rmsnorm", "layernorm"]
    biases: Literal["none", "qkv", "attention", "all"]
    """which projections add one: those for query, key and value, those of attention, or all."""

    @property
    def active_parameters(self) -> int:
        """Weights of one decoder's matrices that each token is multiplied by: here all that they have."""
        attention = 2 * (self.heads + self.kv_heads) * self.head_dim
        return self.hidden * (attention + (3 if self.gated_mlp else 2) * self.intermediate)

    @property
    def decoder_parameters(self) -> int:
        """Weights, biases and normalisation gains of one decoder."""
        query, kept = self.heads * self.head_dim, self.kv_heads * self.head_dim
        norms = 2 * self._norm_parameters + (2 * self.head_dim if self.qk_norm else 0)
        biases = {
            "none": 0,
            "qkv": query + 2 * kept,
            "attention": query + 2 * kept + self.hidden,
            "all": query + 2 * kept + 2 * self.hidden + self.intermediate,
        }
        return self.active_parameters + norms + biases[self.biases]

    @property
    def parameters(self) -> int:
        """All parameters, exactly; tied embeddings count once."""
        embeddings = (1 if self.tied_embeddings else 2) * self.vocabulary * self.hidden
        positions = 0 if self.rotary else self.max_context * self.hidden
        return self.layers * self.decoder_parameters + embeddings + positions + self._norm_parameters

    @property
    def _norm_parameters(self) -> int:
        return self.hidden * (2 if self.norm == "layernorm" else 1)

    def weight_bytes(self, precision: Precision) -> int:
        """Bytes of all parameters, the decoders' in ``precision``, embedding and head in 16 bits."""
        decoders = self.layers * self.decoder_parameters
        return round(decoders * ELEMENT_BYTES[precision] + (self.parameters - decoders) * ELEMENT_BYTES["bf16"])

    def kv_entry_bytes(self, kv_heads: int) -> int:
        """Bytes that a token adds in one layer to a KV cache of so many heads: a key and a value for each."""
        return 2 * kv_heads * self.head_dim * ACTIVATION_BYTES

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes that a token adds to the whole KV cache, all layers together."""
        return self.layers * self.kv_entry_bytes(self.kv_heads)


class Shard(Frozen):
    """One rank's part of a model split over ``ranks`` tensor-parallel chips: its heads, its width, its vocabulary."""

    ranks: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt
    intermediate: PositiveInt
    vocabulary: PositiveInt


@cache
def tensor_parallel_counts(model: Model) -> tuple[int, ...]:
    """The numbers of chips over which ``model`` splits evenly, smallest first.

    They divide the heads and the MLP's width, and divide the KV heads or are a multiple of them: beyond one KV head a
    chip, each is held by several (Megatron-LM, vLLM). The vocabulary is padded, so any number divides it.
    """
    both = gcd(model.heads, model.intermediate)
    small = [ranks for ranks in range(1, isqrt(both) + 1) if both % ranks == 0]
    return tuple(
        ranks
        for ranks in sorted({*small, *(both // ranks for ranks in small)})
        if model.kv_heads % ranks == 0 or ranks % model.kv_heads == 0
    )


def shard(model: Model, ranks: int) -> Shard:
    """The part of ``model`` on each of ``ranks`` chips. Raises ScenarioError, with the counts that would divide it."""
    counts = tensor_parallel_counts(model)
    if ranks not in counts:
        raise ScenarioError(
            f"{model.name} cannot be split over {ranks} chips ({model.heads} heads, {model.kv_heads} KV heads, "
            f"MLP width {model.intermediate}); the counts that divide it: {', '.join(map(str, counts))}."
        )
    return Shard(
        ranks=ranks,
        heads=model.heads // ranks,
        kv_heads=max(1, model.kv_heads // ranks),
        intermediate=model.intermediate // ranks,
        vocabulary=-(-model.vocabulary // ranks),
    )


def model_names() -> list[str]:
    """Names in the catalog, in alphabetical order."""
    return sorted(path.stem for path in CATALOG.rglob("*.toml"))


def model_path(name: str) -> Path:
    """The file of a model: of the catalog by its name or its Hugging Face repository's, or where ``name`` points.

    Raises CatalogError for an unknown name, and for a file of another kind.
    """
    given = Path(name)
    if name.lower().endswith((".toml", ".json")) and not given.is_dir():
        return given
    short = catalog_name(name)
    for path in CATALOG.rglob(f"{glob.escape(short)}.toml"):
        return path
    if given.is_dir():
        return given / "config.json"
    if given.exists():
        raise CatalogError(f"{name} is no model's shape: a config.json, its folder, or a TOML file.")
    known = nearest_names(short, model_names())
    raise CatalogError(f"unknown model '{name}'; {known}, and no file or folder is called so.")


@cache
def load_model(name: str) -> Model:
    """A model of the catalog by its name or its Hugging Face repository's, or a ``config.json`` or TOML file by path.

    Raises CatalogError in one sentence: unknown name (with the nearest ones), or file, key and what was expected;
    ReadError for what is no text, JSON or TOML.
    """
    path = model_path(name)
    fields = read_config(path) if path.suffix.lower() == ".json" else {"name": name_from(path.stem)} | read_toml(path)
    return checked_model(fields, path)


def checked_model(fields: dict[str, Any], path: Path) -> Model:
    """The model that the file at ``path`` says. Raises CatalogError."""
    model = validate(Model, fields, path)
    if model.heads % model.kv_heads:
        raise CatalogError(
            f"{path}: kv_heads is {model.kv_heads}; expected a divisor of the {model.heads} heads that share them."
        )
    return model


def model_figures() -> list[dict[str, object]]:
    """The catalog at a glance, a record a model; sizes in bf16, GB is 1e9 bytes."""
    return [
        {
            "model": model.name,
            "parameters_billion": round(model.parameters / 1e9, 3),
            "weights_gb": round(model.weight_bytes("bf16") / 1e9, 1),
            "kv_cache_kb_per_token": round(model.kv_bytes_per_token / 1e3, 1),
            "layers": model.layers,
            "hidden": model.hidden,
            "heads": model.heads,
            "kv_heads": model.kv_heads,
            "head_dim": model.head_dim,
            "intermediate": model.intermediate,
            "vocabulary": model.vocabulary,
            "max_context": model.max_context,
        }
        for model in map(load_model, sorted(model_names(), key=lambda name: load_model(name).parameters))
    ]


def model_card(name: str) -> list[dict[str, object]]:
    """One model as (key, value, source) records: its fields, what it weighs, and the counts that divide it."""
    model = load_model(name)
    path = model_path(name)
    sources = {key[0]: source for key, _, source in read_sources(path)} if path.suffix.lower() == ".toml" else {}
    derived = {
        "parameters": model.parameters,
        "decoder_parameters": model.decoder_parameters,
        "weight_bytes (bf16)": model.weight_bytes("bf16"),
        "kv_bytes_per_token (bf16)": model.kv_bytes_per_token,
        "tensor-parallel counts": ", ".join(map(str, tensor_parallel_counts(model))),
    }
    fields = {key: getattr(model, key) for key in Model.model_fields}
    stated = [{"key": key, "value": value, "source": sources.get(key, path.name)} for key, value in fields.items()]
    return stated + [{"key": key, "value": value, "source": "computed"} for key, value in derived.items()]
