"""Configs as they are published: families, windows, stretched positions, quantized checkpoints, GGUF as a shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter, quantize

from chips.catalog_file import CatalogError
from loopline import simulate
from scenarios.assignment import assign
from scenarios.errors import ScenarioError
from scenarios.memory import needed_bytes
from scenarios.point import make_point
from scenarios.workload.decoder import forward
from scenarios.workload.model import Model, load_model, shard
from scenarios.workload.operators import Attention, MatrixProduct

LLAMA_70B = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}
QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "sliding_window": 4096,
}


def sized(
    hidden: int, mlp: int, layers: int, heads: int, kv_heads: int, vocabulary: int, context: int
) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
    }


# Parameters: the safetensors metadata on Hugging Face.
PUBLISHED: dict[str, tuple[int, dict[str, Any]]] = {
    "gemma-2b": (2_506_172_416, {"model_type": "gemma"} | sized(2048, 16384, 18, 8, 1, 256000, 8192)),
    "gemma-2-9b": (
        9_241_705_984,
        {"architectures": ["Gemma2ForCausalLM"], "sliding_window": 4096} | sized(3584, 14336, 42, 16, 8, 256000, 8192),
    ),
    "gemma-3-1b": (
        999_885_952,
        {"model_type": "gemma3_text", "sliding_window": 512} | sized(1152, 6912, 26, 4, 1, 262144, 32768),
    ),
    "phi-3-mini": (
        3_821_079_552,
        {"architectures": ["Phi3ForCausalLM"], "sliding_window": None} | sized(3072, 8192, 32, 32, 32, 32064, 4096),
    ),
    "olmo-2-7b": (
        7_298_617_344,
        {"architectures": ["Olmo2ForCausalLM"]} | sized(4096, 11008, 32, 32, 32, 100352, 4096),
    ),
}


def read(folder: Path, config: dict[str, Any]) -> Model:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    load_model.cache_clear()
    return load_model(str(path))


@pytest.mark.parametrize("name", PUBLISHED)
def test_families_have_the_published_parameters(name: str, tmp_path: Path) -> None:
    parameters, config = PUBLISHED[name]
    assert read(tmp_path, config).parameters == parameters


def test_operators_read_every_weight_that_the_shape_counts(tmp_path: Path) -> None:
    """Two ways to the same bytes: the shape's formula, and the sum over the operators that chips run."""
    for stored in (None, {"quant_method": "gptq", "bits": 4, "group_size": 32}, {"quant_method": "fp8"}):
        model = read(tmp_path, LLAMA_70B | ({"quantization_config": stored} if stored else {}))
        for ranks in (1, 8, 16):
            quantization = make_point(model, "b200", ranks).quantization
            step = forward(model, shard(model, ranks), 1, 1, 64, quantization)
            read_bytes = step.total(lambda each: each.stream_bytes if isinstance(each, MatrixProduct) else 0.0)
            gains = 2 * model.layers * (model.decoder_parameters - model.active_parameters) + 2 * model.hidden
            embedding = 2 * model.vocabulary * model.hidden
            assert model.weight_bytes(quantization, ranks) == read_bytes + (gains + embedding) / ranks


def test_projections_of_key_and_value_are_held_by_every_chip_that_shares_a_head() -> None:
    """Llama 3.1 8B on 32 chips: 552.2 MB of weights each, 10% more than a 32nd."""
    held = [needed_bytes(assign(make_point("llama-3.1-8b", "h100", ranks, context=1))) / 1e6 for ranks in (8, 16, 32)]
    assert held == pytest.approx([2007.6, 1037.4, 552.2], abs=0.1)


@pytest.mark.parametrize(
    ("said", "word", "bits"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, "int4", 4 + 20 / 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1, "sym": True}, "int8", 8),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block", 8 + 32 / 16384),
        ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8", 8),
        ({"quant_method": "fbgemm_fp8"}, "fp8", 8),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}, "nvfp4", 4.5),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "zero_point": True}, "int4", 4 + 20 / 64),
        ({"quant_method": "mxfp4"}, "int4", 4.25),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 32}}},
            },
            "int4",
            4.25,
        ),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4", 4.5),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "group_0": {
                        "weights": {"num_bits": 8, "type": "float", "strategy": "channel"},
                        "input_activations": {"num_bits": 8, "type": "float", "dynamic": True, "strategy": "token"},
                    }
                },
            },
            "fp8",
            8,
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 128}}},
            },
            "int4",
            4 + 16 / 128,
        ),
    ],
)
def test_a_quantized_checkpoint_decides_precision_and_stored_bits(
    said: dict[str, Any], word: str, bits: float, tmp_path: Path
) -> None:
    point = make_point(read(tmp_path, LLAMA_70B | {"quantization_config": said}), "b200", 1)
    assert (point.precision, point.quantization.weight_bits) == (word, bits)
    assert point.kv_precision == ("fp8" if "kv_cache_quant_algo" in said else "bf16")
    assert make_point(point.model, "b200", 1, precision="bf16").quantization.weight_bits == 16


def test_a_chip_without_the_matrix_unit_may_keep_the_weights_as_they_are(tmp_path: Path) -> None:
    """NVFP4 on Hopper: 4.5 bits a weight are read, products are in bf16 and take bf16."""
    model = read(tmp_path, LLAMA_70B | {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}})
    assert "--precision int4" in simulate(model, "h100").iloc[0]["reason"]
    run = make_point(model, "h100", 1, precision="int4").quantization
    assert (run.weight_bits, run.multiplied, run.scales) == (4.5, "bf16", None)


def test_the_file_of_the_model_optimizer_is_read_beside_the_config(tmp_path: Path) -> None:
    told = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(told))
    point = make_point(read(tmp_path, LLAMA_70B), "h100", 8)
    assert (point.precision, point.kv_precision, point.quantization.scales) == ("fp8", "fp8", "static")


def test_attention_left_out_by_its_name_stays_in_16_bits(tmp_path: Path) -> None:
    said = {"quant_method": "fbgemm_fp8", "modules_to_not_convert": [f"model.layers.{n}.self_attn" for n in range(80)]}
    model = read(tmp_path, LLAMA_70B | {"quantization_config": said})
    step = forward(model, shard(model, 8), 1, 1, 64, make_point(model, "h100", 8).quantization)
    precisions = {each.name: each.precision for each in step.operators if isinstance(each, MatrixProduct)}
    assert precisions["QKV projection"] == precisions["language model head"] == "bf16"
    assert precisions["down projection"] == "fp8"


def test_a_4_bit_70b_fits_one_chip_and_reads_its_own_bytes(tmp_path: Path) -> None:
    said = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
    row = simulate(read(tmp_path, LLAMA_70B | {"quantization_config": said}), "h100", 1).iloc[0]
    assert (row["fits"], row["precision"]) == (True, "int4")
    assert 36.0e9 < row["roofline_fraction"] * row["seconds"] * 3350e9 < 38.0e9


@pytest.mark.parametrize("method", ["aqlm", "bitsandbytes", None, 4])
def test_a_method_that_is_not_modelled_is_named(method: object, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"config\.json: quantization_config") as refusal:
        read(tmp_path, LLAMA_70B | {"quantization_config": {"quant_method": method, "load_in_8bit": True}})
    assert "expected" in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "windows", "context"),
    [
        ({}, ((28, None),), 32768),
        ({"use_sliding_window": True, "max_window_layers": 20}, ((8, 4096), (20, None)), 32768),
        (
            {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}},
            ((28, None),),
            131072,
        ),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2}}, ((28, None),), 65536),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, ((28, None),), 32768),
        (
            {"use_sliding_window": True, "layer_types": ["sliding_attention", "full_attention"] * 14},
            ((14, 4096), (14, None)),
            32768,
        ),
    ],
)
def test_windows_and_stretched_positions_are_two_things(
    changes: dict[str, Any], windows: object, context: int, tmp_path: Path
) -> None:
    model = read(tmp_path, QWEN | changes)
    assert (model.windows, model.max_context) == (windows, context)


def test_beyond_its_window_a_token_costs_no_more(tmp_path: Path) -> None:
    mistral = read(tmp_path, QWEN | {"architectures": ["MistralForCausalLM"]})
    at, beyond = (simulate(mistral, "h100", context=context).iloc[0] for context in (4096, 32768))
    assert beyond["seconds"] == at["seconds"]
    assert needed_bytes(assign(make_point(mistral, "h100", 1, context=32768))) == needed_bytes(
        assign(make_point(mistral, "h100", 1, context=4096))
    )


@pytest.mark.parametrize("tokens", [4097, 8192, 30000])
def test_a_prompt_beyond_the_window_computes_the_pairs_that_it_lets_see(tokens: int, tmp_path: Path) -> None:
    mistral = read(tmp_path, QWEN | {"architectures": ["MistralForCausalLM"]})
    step = forward(mistral, shard(mistral, 1), 1, tokens, tokens)
    flops = sum(each.flops for each in step.decoders[0].operators if isinstance(each, Attention))
    pairs = sum(min(seen, 4096) for seen in range(1, tokens + 1))
    assert flops == pytest.approx(4 * mistral.heads * mistral.head_dim * pairs, rel=0.002)


def test_gemma_normalises_around_attention_and_mlp_and_alternates_its_windows(tmp_path: Path) -> None:
    model = read(tmp_path, PUBLISHED["gemma-2-9b"][1])
    step = forward(model, shard(model, 1), 1, 1, 8192)
    assert [decoder.layers for decoder in step.decoders] == [21, 21]
    assert [next(o.context for o in d.operators if isinstance(o, Attention)) for d in step.decoders] == [4096, 8192]
    assert sum("normalisation" in operator.name for operator in step.decoders[0].operators) == 4
    priced = [
        simulate(model, "h100", phase=phase).iloc[0]["fits"] for phase in ("decode", "prefill", "request", "train")
    ]
    assert priced == [True, True, True, False]  # optimizer state of 9 billion parameters


def test_the_text_decoder_of_a_multimodal_model_is_read(tmp_path: Path) -> None:
    """Gemma 3 4B, whose inner config leaves out what its class assumes; its decoder has 3.88 billion parameters."""
    inner = {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}
    model = read(tmp_path, {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": inner})
    assert (model.parameters, model.max_context, model.windows) == (3_880_263_168, 131072, ((29, 4096), (5, None)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_local_experts": 8}, "a mixture of experts"),
        ({"kv_lora_rank": 512}, "multi-head latent attention"),
        ({"architectures": None, "model_type": "mamba"}, "'model_type' is 'mamba'"),
    ],
)
def test_what_is_no_dense_decoder_is_refused_by_what_it_is(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=told) as refusal:
        read(tmp_path, LLAMA_70B | changes)
    assert "LlamaForCausalLM" in str(refusal.value)


def test_biases_of_the_mlp_and_a_type_without_architectures_count(tmp_path: Path) -> None:
    plain = {key: value for key, value in LLAMA_70B.items() if key != "architectures"} | {"model_type": "llama"}
    biased = plain | {"mlp_bias": True}
    assert read(tmp_path, biased).parameters - read(tmp_path, plain).parameters == 80 * (2 * 28672 + 8192)


def test_the_usual_context_is_the_models_where_it_has_fewer(tmp_path: Path) -> None:
    short = read(tmp_path, LLAMA_70B | {"max_position_embeddings": 2048})
    with pytest.warns(UserWarning, match="takes in 2048 tokens at most"):
        assert make_point(short, "h100", 8).context == 2048
    with pytest.raises(ScenarioError, match="at most 2048, or --beyond-context"):
        make_point(short, "h100", 8, context=4096)
    with pytest.warns(UserWarning, match="beyond the 2048 tokens"):
        assert make_point(short, "h100", 8, context=4096, beyond_context=True).context == 4096


def test_a_gguf_is_a_shape_whose_types_are_its_stored_bits(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "small.gguf", "qwen2")
    for write, value in (
        (writer.add_block_count, 1),
        (writer.add_embedding_length, 256),
        (writer.add_head_count, 4),
        (writer.add_head_count_kv, 2),
        (writer.add_feed_forward_length, 512),
        (writer.add_context_length, 2048),
    ):
        write(value)
    for name, shape, kind in (
        ("token_embd", (1000, 256), GGMLQuantizationType.Q8_0),
        ("blk.0.attn_q", (256, 256), GGMLQuantizationType.Q4_0),
        ("blk.0.ffn_down", (256, 512), GGMLQuantizationType.Q8_0),
    ):
        values = quantize(np.zeros(shape, np.float32), kind)
        writer.add_tensor(f"{name}.weight", values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model = load_model(str(tmp_path / "small.gguf"))
    assert (model.layers, model.heads, model.vocabulary, model.biases) == (1, 4, 1000, "qkv")
    assert model.quantization is not None
    assert model.quantization.around_bits == 8.5
    assert model.quantization.weight_bits == (4.5 * 256 * 256 + 8.5 * 256 * 512) / (256 * 768)
    assert model.quantization.precision == "int8"
