"""What a Hugging Face checkpoint says of its quantization: ``quantization_config``, and NVIDIA's file beside it.

One reader a method, each from its keys to a ``Quantization``. A method that is not modelled is refused by its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chips.catalog_file import CatalogError
from chips.spec import KvPrecision
from results.text_file import read_json
from scenarios.workload.quantization import PrecisionWord, Quantization

Keys = Mapping[str, Any]
SCALE_BITS = 16.0
FLOAT_SCALE_BITS = 8.0  # of groups of floats: NVFP4's is one in FP8, that of OCP's microscaling (MXFP4) an exponent
MX_BITS = 4.0 + FLOAT_SCALE_BITS / 32
LISTS_OF_EXCEPTIONS = ("modules_to_not_convert", "ignore", "exclude_modules", "ignored_layers")
MODEL_OPTIMIZER = "hf_quant_config.json"


def read_quantization(config: Keys, layers: int, path: Path) -> Quantization | None:
    """How the checkpoint whose ``config.json`` is at ``path`` is quantized; None where it is in 16 bits.

    Raises CatalogError in one sentence for a method that is not modelled, or a key that is none of its values.
    """
    said = config.get("quantization_config")
    if said is None and path.name == "config.json" and (beside := path.parent / MODEL_OPTIMIZER).is_file():
        found = read_json(beside)
        said = {"quant_method": "modelopt"} | (found.get("quantization") or {}) if isinstance(found, dict) else None
    if said is None:
        return None
    if not isinstance(said, dict):
        raise CatalogError(f"{path}: key 'quantization_config' is {said!r:.80}; expected a table.")
    method = said.get("quant_method")
    if not isinstance(method, str) or method not in METHODS:
        raise CatalogError(
            f"{path}: quantization_config: method {method!r:.40} is not modelled; expected one of "
            f"{', '.join(METHODS)}, or no quantization_config and --precision."
        )
    try:
        found_format = METHODS[method](said)
    except ValueError as error:
        raise CatalogError(f"{path}: quantization_config of {method}: {error}") from None
    return found_format and found_format.model_copy(update={"attention": not _leaves_attention(said, layers)})


def _quantized(word: PrecisionWord, **changes: Any) -> Quantization:
    return Quantization.of(word).model_copy(update=changes)


def _integer_weights(said: Keys) -> Quantization:
    """AWQ, GPTQ: integers with a scale, and perhaps a zero point, for each group."""
    bits = _number(said, "w_bit" if "w_bit" in said else "bits", 4, 1, 8)
    zero_point = said.get("zero_point", not said.get("sym", True))
    return _weights_alone(bits, said.get("group_size", said.get("q_group_size", 128)), zero_point=zero_point is True)


def _weights_alone(bits: float, group: object, *, zero_point: bool, scale_bits: float = SCALE_BITS) -> Quantization:
    if isinstance(group, bool) or not isinstance(group, int) or not (group == -1 or 1 <= group <= 2**16):
        raise ValueError(f"group_size is {group!r:.40}; expected a positive integer, or -1 for a column.")
    scales = 0.0 if group == -1 else (scale_bits + (bits if zero_point else 0.0)) / group
    return _quantized("int4" if bits <= 4 else "int8", weight_bits=bits + scales)


def _fp8(said: Keys) -> Quantization:
    block = said.get("weight_block_size")
    if block is None:
        static = said.get("activation_scheme", "dynamic") == "static"
        return _quantized("fp8", scales="static" if static else None)
    if not (isinstance(block, list) and len(block) == 2 and all(type(side) is int and side > 0 for side in block)):
        raise ValueError(f"weight_block_size is {block!r:.40}; expected two positive integers, such as [128, 128].")
    return _quantized("fp8-block", weight_bits=8.0 + 32.0 / (block[0] * block[1]))


def _model_optimizer(said: Keys) -> Quantization | None:
    """TensorRT Model Optimizer: an algorithm by name, and one for the KV cache."""
    algorithm = said.get("quant_algo")
    kept = "fp8" if said.get("kv_cache_quant_algo") == "FP8" else _kept(said)
    match algorithm:
        case "FP8":
            return _quantized("fp8", scales="static", kv_precision=kept)
        case "FP8_PER_CHANNEL_PER_TOKEN":
            return _quantized("fp8", scales="row", kv_precision=kept)
        case "NVFP4":
            return _quantized("nvfp4", kv_precision=kept)
        case "W4A16_AWQ" | "W4A16":
            return _integer_weights(said).model_copy(update={"kv_precision": kept})
        case "W8A16":
            return _quantized("int8", weight_bits=8.0, kv_precision=kept)
        case None:
            return _quantized("bf16", kv_precision=kept) if kept == "fp8" else None
    raise ValueError(f"quant_algo is {algorithm!r:.40}; expected FP8, NVFP4, W4A16_AWQ or W8A16.")


def _compressed_tensors(said: Keys) -> Quantization | None:
    """Groups of modules, each with how its weights and its input are stored; one of them is most of a decoder."""
    groups = said.get("config_groups")
    kept = _kept(said)
    if not groups:
        return _quantized("bf16", kv_precision=kept) if kept == "fp8" else None
    first = next(iter(groups.values())) if isinstance(groups, dict) else None
    if not (isinstance(first, dict) and isinstance(weights := first.get("weights"), dict)):
        raise ValueError("config_groups has no group with a table of weights.")
    return _group(weights, first.get("input_activations")).model_copy(update={"kv_precision": kept})


def _kept(said: Keys) -> KvPrecision:
    """In what keys and values are kept."""
    scheme = said.get("kv_cache_scheme")
    return "fp8" if isinstance(scheme, dict) and scheme.get("num_bits") == 8 else "bf16"


def _group(weights: Keys, taken: object) -> Quantization:
    bits, kind = _number(weights, "num_bits", None, 1, 8), weights.get("type", "int")
    group = weights.get("group_size")
    group = -1 if group is None else group
    if not isinstance(taken, dict):
        scale_bits = FLOAT_SCALE_BITS if kind == "float" else SCALE_BITS
        return _weights_alone(bits, group, zero_point=weights.get("symmetric") is False, scale_bits=scale_bits)
    taken_bits, dynamic, strategy = taken.get("num_bits"), taken.get("dynamic"), taken.get("strategy")
    if kind == "float" and taken.get("type") == "float" and bits == taken_bits == 8:
        if weights.get("strategy") == "block":
            return _fp8({"weight_block_size": weights.get("block_structure", [128, 128])})
        scales = ("row" if strategy == "token" else "tensor") if dynamic else "static"
        return _quantized("fp8", scales=scales)
    if kind == "float" and bits == taken_bits == 4 and group == 16:
        return _quantized("nvfp4")
    raise ValueError(
        f"weights of {bits:g} bits ({kind!r:.10}) with inputs of {taken_bits!r:.10} ({taken.get('type')!r:.10}) are "
        "not modelled; expected FP8 or NVFP4 in both, or weights alone in 4 or 8 bits."
    )


def _bits_and_bytes(said: Keys) -> Quantization:
    if said.get("load_in_4bit") is not True:
        raise ValueError("load_in_8bit splits each product in two, which is not modelled; expected load_in_4bit.")
    # A 32-bit scale for 64 values; twice quantized, 8 bits, and 32 for 256 of these.
    scale = 8 / 64 + 32 / (64 * 256) if said.get("bnb_4bit_use_double_quant") is True else 32 / 64
    return _quantized("int4", weight_bits=4.0 + scale)


METHODS: dict[str, Callable[[Keys], Quantization | None]] = {
    "awq": _integer_weights,
    "gptq": _integer_weights,
    "auto-round": _integer_weights,
    "fp8": _fp8,
    "fbgemm_fp8": lambda said: _quantized("fp8", scales="row"),
    "modelopt": _model_optimizer,
    "compressed-tensors": _compressed_tensors,
    "mxfp4": lambda said: _quantized("int4", weight_bits=MX_BITS),
    "bitsandbytes": _bits_and_bytes,
}
"""By ``quant_method``."""


def _leaves_attention(said: Keys, layers: int) -> bool:
    """Whether the exceptions name the projections around attention, in general or of nearly every layer."""
    named = [name for key in LISTS_OF_EXCEPTIONS if isinstance(said.get(key), list) for name in said[key]]
    found = [name for name in named if isinstance(name, str) and "self_attn" in name]
    numbered = {match[1] for name in found if (match := re.search(r"layers\.(\d+)\.", name))}
    return any(not re.search(r"\d", name) for name in found) or len(numbered) >= 0.9 * layers


def _number(said: Keys, key: str, default: int | None, least: int, most: int) -> float:
    value = said.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{key} is {value!r:.40}; expected an integer from {least} to {most}.")
    return float(value)
