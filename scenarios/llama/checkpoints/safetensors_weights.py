"""Weights of a Hugging Face folder: ``config.json`` and safetensors, in one file or several with an index.

The format (huggingface/safetensors, README): 8 bytes with the header's length, a JSON header with type, shape and
offsets of each tensor, then their bytes. The ``safetensors`` package checks the files; its NumPy side knows no
bfloat16, so the bytes are mapped here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from results.text_file import read_json, refuse_pointer
from scenarios.errors import ScenarioError
from scenarios.llama.config import LlamaConfig, named_config
from scenarios.llama.number_format import Float32
from scenarios.llama.weights import tensor_shape

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
HEAD_BYTES = 64
MOST_HEADER_BYTES = 2**25  # a tensor takes about 100
STORED_TYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
NAMES = {
    "embedding": "model.embed_tokens.weight",
    "attention_norm": "model.layers.{layer}.input_layernorm.weight",
    "query": "model.layers.{layer}.self_attn.q_proj.weight",
    "key": "model.layers.{layer}.self_attn.k_proj.weight",
    "value": "model.layers.{layer}.self_attn.v_proj.weight",
    "output": "model.layers.{layer}.self_attn.o_proj.weight",
    "mlp_norm": "model.layers.{layer}.post_attention_layernorm.weight",
    "gate": "model.layers.{layer}.mlp.gate_proj.weight",
    "up": "model.layers.{layer}.mlp.up_proj.weight",
    "down": "model.layers.{layer}.mlp.down_proj.weight",
    "final_norm": "model.norm.weight",
    "head": "lm_head.weight",
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a mapped file. ``values``: bfloat16 as uint16."""

    values: NDArray[Any]
    bfloat16: bool


class SafetensorsWeights:
    """The weights in a folder. Raises ScenarioError where there are none, or a file is damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def config(self) -> LlamaConfig:
        """From the folder's ``config.json``."""
        return named_config(str(self.folder / "config.json"))

    @cached_property
    def _tensors(self) -> dict[str, StoredTensor]:
        return {name: tensor for file in self._files() for name, tensor in _mapped(file).items()}

    def tensor(self, name: str, layer: int | None, rows: slice) -> Float32:
        """See ``WeightSource``."""
        stored_name = NAMES[name].format(layer=layer)
        found, expected = self._tensors.get(stored_name), tensor_shape(self.config, name)
        if found is None:
            raise ScenarioError(f"{self.folder}: there is no tensor '{stored_name}' in its safetensors.")
        if found.values.shape != expected:
            raise ScenarioError(
                f"{self.folder}: tensor '{stored_name}' has shape {found.values.shape}; config.json says {expected}."
            )
        part = found.values[rows]
        if found.bfloat16:
            return (part.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return part.astype(np.float32)

    def _files(self) -> list[Path]:
        index = self.folder / INDEX
        if not index.is_file():
            if not (self.folder / SINGLE).is_file():
                raise ScenarioError(
                    f"{self.folder}: neither {SINGLE} nor {INDEX} is there; for random weights, give its config.json."
                )
            return [self.folder / SINGLE]
        content = read_json(index)
        named = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
            raise ScenarioError(f"{index}: expected a JSON object whose 'weight_map' names a file a tensor.")
        names = sorted(set(named.values()))
        if outside := [name for name in names if name in ("", "..") or name != Path(name).name]:
            raise ScenarioError(f"{index}: names {outside[0]!r}; expected the names of files beside it.")
        if missing := [name for name in names if not (self.folder / name).is_file()]:
            raise ScenarioError(f"{index}: names {missing[0]}, which is not there.")
        return [self.folder / name for name in names]


def _mapped(file: Path) -> dict[str, StoredTensor]:
    with file.open("rb") as beginning:
        first_bytes = beginning.read(HEAD_BYTES)
    refuse_pointer(file, first_bytes)
    length = int.from_bytes(first_bytes[:8], "little")
    if length > MOST_HEADER_BYTES:
        raise ScenarioError(
            f"{file}: not a safetensors file: {length:,} bytes of header; at most {MOST_HEADER_BYTES:,}."
        )
    try:
        with safe_open(file, framework="np"):
            pass
    except SafetensorError as error:
        raise ScenarioError(f"{file}: not a whole safetensors file: {error}.") from None
    stored = np.memmap(file, mode="r")
    header = json.loads(bytes(stored[8 : 8 + length]))
    payload = stored[8 + length :]
    return {
        name: _tensor(payload, entry, f"{file}: tensor '{name}'")
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _tensor(payload: NDArray[np.uint8], entry: dict[str, Any], place: str) -> StoredTensor:
    if entry["dtype"] not in STORED_TYPES:
        raise ScenarioError(f"{place} is stored as {entry['dtype']}; expected one of {', '.join(STORED_TYPES)}.")
    first, last = entry["data_offsets"]
    values = np.frombuffer(payload[first:last], STORED_TYPES[entry["dtype"]]).reshape(entry["shape"])
    return StoredTensor(values, entry["dtype"] == "BF16")
