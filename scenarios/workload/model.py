"""Decoder-only language models: their shapes, what they weigh, and how tensor parallelism splits them.

A model of the catalog is one TOML file in ``scenarios/workload/models``, every number with its source; any Hugging Face
``config.json`` is read as well. What a decoder computes is in ``decoder.py``.
"""

from __future__ import annotations

import glob
from functools import cache
from math import gcd, isqrt
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le
from pydantic import NonNegativeInt, PositiveInt

from chips.catalog_file import CatalogError, nearest_names, validate
from chips.datasheet import read_sources
from chips.frozen import Frozen
from chips.quantity import Name, name_from
from results.text_file import read_toml
from scenarios.errors import ScenarioError
from scenarios.quantities import LARGEST_COUNT, LARGEST_SIZE
from scenarios.workload.hugging_face import catalog_name, read_config, stored_as
from scenarios.workload.quantization import PLAIN, PrecisionWord, Quantization

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
    biases: Literal["none", "qkv", "attention", "mlp", "all"]
    """which projections add one: those for query, key and value, those of attention, those of the MLP, or all."""
    qk_norm_shared: bool = True
    """whether all heads share the gains of ``qk_norm``; otherwise it is over all heads together (OLMo 2)."""
    norms: Literal["before", "after", "around"] = "before"
    """where normalisations stand: before attention and MLP, after them (OLMo 2), or both (Gemma 2)."""
    window: Tokens | None = None
    """keys that a layer with a sliding window sees; None: every layer sees all."""
    global_layers: NonNegativeInt = 0
    """layers that see all keys where the others have a ``window``."""
    quantization: Quantization | None = None
    """how the checkpoint is stored; None: in 16 bits."""
    fp8_checkpoint: PrecisionWord = "fp8"
    """how its publisher's FP8 checkpoints are stored, which tables of measured runs call FP8."""

    @property
    def active_parameters(self) -> int:
        """Weights of one decoder's matrices that each token is multiplied by: here all that they have."""
        attention = 2 * (self.heads + self.kv_heads) * self.head_dim
        return self.hidden * (attention + (3 if self.gated_mlp else 2) * self.intermediate)

    @property
    def decoder_parameters(self) -> int:
        """Weights, biases and normalisation gains of one decoder."""
        query, kept = self.heads * self.head_dim, self.kv_heads * self.head_dim
        gains = 2 * self.head_dim if self.qk_norm_shared else query + kept
        norms = (4 if self.norms == "around" else 2) * self._norm_parameters + (gains if self.qk_norm else 0)
        qkv, output = query + 2 * kept, self.hidden
        mlp = (2 if self.gated_mlp else 1) * self.intermediate + self.hidden
        biases = {"none": 0, "qkv": qkv, "attention": qkv + output, "mlp": mlp, "all": qkv + output + mlp}
        return self.active_parameters + norms + biases[self.biases]

    @property
    def parameters(self) -> int:
        """All parameters, exactly; tied embeddings count once."""
        return self.layers * self.decoder_parameters + self.around_parameters

    @property
    def around_parameters(self) -> int:
        """Those before and after all decoders: embeddings, learned positions, the last gains, the head."""
        embeddings = (1 if self.tied_embeddings else 2) * self.vocabulary * self.hidden
        positions = 0 if self.rotary else self.max_context * self.hidden
        return embeddings + positions + self._norm_parameters

    @property
    def _norm_parameters(self) -> int:
        return self.hidden * (2 if self.norm == "layernorm" else 1)

    def weight_bytes(self, quantization: Quantization = PLAIN, ranks: int = 1) -> float:
        """Bytes of all parameters on each of ``ranks`` chips.

        The decoders' matrices are stored as ``quantization`` says; beyond one KV head a chip, several chips hold a copy
        of its projections for key and value. Gains and biases of decoders are in 16 bits; what is around decoders
        has bits of its own.
        """
        copies = max(1.0, ranks / self.kv_heads)
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads * copies)
        mlp = (3 if self.gated_mlp else 2) * self.hidden * self.intermediate
        bits = attention * quantization.attention_bits + mlp * quantization.weight_bits
        bits += 16 * (self.decoder_parameters - self.active_parameters)
        return (self.layers * bits + self.around_parameters * quantization.around_bits) / 8 / ranks

    def kv_entry_bytes(self, kv_heads: int, quantization: Quantization = PLAIN) -> float:
        """Bytes that a token adds in one layer to a KV cache of so many heads: a key and a value for each."""
        return 2 * kv_heads * self.head_dim * quantization.kv_bytes

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes that a token adds to the whole KV cache, all layers together, while no window is full."""
        return self.layers * self.kv_entry_bytes(self.kv_heads)

    @property
    def windows(self) -> tuple[tuple[int, int | None], ...]:
        """Layers and the window that they have, kind after kind; layers of one kind are taken together."""
        if self.window is None:
            return ((self.layers, None),)
        kinds = ((self.layers - self.global_layers, self.window), (self.global_layers, None))
        return tuple(kind for kind in kinds if kind[0])

    def kept_entries(self, context: int) -> int:
        """Keys, each with its value, that all layers keep of a sequence: a window only its own."""
        return sum(layers * min(context, window or context) for layers, window in self.windows)


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
    if name.lower().endswith((".toml", ".json", ".gguf")) and not given.is_dir():
        return given
    short = catalog_name(name)
    for path in CATALOG.rglob(f"{glob.escape(short)}.toml"):
        return path
    if given.is_dir():
        return given / "config.json"
    if given.exists():
        raise CatalogError(f"{name} is no model's shape: a config.json, its folder, a GGUF or a TOML file.")
    known = nearest_names(short, model_names(), "loopline models")
    raise CatalogError(f"unknown model '{name}'; {known}, and no file or folder is called so.")


@cache
def load_model(name: str) -> Model:
    """A model of the catalog by its name or its Hugging Face repository's, which may say how its weights are stored, or
    a ``config.json``, GGUF or TOML file by path.

    Raises CatalogError in one sentence: unknown name (with the nearest ones), or file, key and what was expected;
    ReadError for what is no text, JSON or TOML.
    """
    path = model_path(name)
    match path.suffix.lower():
        case ".json":
            fields = read_config(path)
        case ".gguf":
            from scenarios.workload.gguf_shape import read_gguf  # gguf-py takes long to import

            fields = read_gguf(path)
        case _:
            fields = {"name": name_from(path.stem)} | read_toml(path)
    model = checked_model(fields, path)
    if CATALOG in path.parents and (stored := stored_as(name)):
        return model.model_copy(update={"quantization": Quantization.of(stored)})
    return model


def checked_model(fields: dict[str, Any], path: Path) -> Model:
    """The model that the file at ``path`` says. Raises CatalogError."""
    model = validate(Model, fields, path)
    if model.heads % model.kv_heads:
        raise CatalogError(
            f"{path}: kv_heads is {model.kv_heads}; expected a divisor of the {model.heads} heads that share them."
        )
    if model.global_layers > (model.layers if model.window else 0):
        most = f"at most the {model.layers} layers" if model.window else "none without a window"
        raise CatalogError(f"{path}: global_layers is {model.global_layers}; expected {most}.")
    return model


def model_figures() -> list[dict[str, object]]:
    """The catalog at a glance, a record a model; sizes in bf16, GB is 1e9 bytes."""
    return [
        {
            "model": model.name,
            "parameters_billion": round(model.parameters / 1e9, 3),
            "weights_gb": round(model.weight_bytes() / 1e9, 1),
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
        "weight_bytes (bf16)": round(model.weight_bytes()),
        **({"weight_bytes (as stored)": round(model.weight_bytes(model.quantization))} if model.quantization else {}),
        "kv_bytes_per_token (bf16)": round(model.kv_bytes_per_token),
        "tensor-parallel counts": ", ".join(map(str, tensor_parallel_counts(model))),
    }
    fields = {key: getattr(model, key) for key in Model.model_fields if key != "quantization"}
    if model.quantization is not None:
        fields |= {f"quantization.{key}": value for key, value in model.quantization.model_dump().items()}
    stated = [{"key": key, "value": value, "source": sources.get(key, path.name)} for key, value in fields.items()]
    return stated + [{"key": key, "value": value, "source": "computed"} for key, value in derived.items()]
