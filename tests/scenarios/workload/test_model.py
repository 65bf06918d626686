"""Shapes of models: published parameter counts, Hugging Face's files and names, tensor-parallel splits, refusals."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips.catalog_file import CatalogError
from chips.datasheet import read_sources
from results.errors import ReadError
from scenarios.errors import ScenarioError
from scenarios.workload.hugging_face import catalog_name
from scenarios.workload.model import (
    Model,
    load_model,
    model_card,
    model_figures,
    model_names,
    model_path,
    shard,
    tensor_parallel_counts,
)
from scenarios.workload.quantization import Quantization

# Exact counts: the safetensors metadata on Hugging Face, where it is published.
EXACT = {
    "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
    "llama-3.2-3b": 3_212_749_824,
    "llama-3.3-70b": 70_553_706_496,
    "qwen2-7b": 7_615_616_512,
    "qwen2-72b": 72_706_203_648,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-14b": 14_768_307_200,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.2-1b": 1_235_814_400,
    "mistral-7b": 7_241_732_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-32b": 32_762_123_264,
}
ROUNDED = {"gpt-22b": 22e9, "gpt-175b": 175e9, "gpt-530b": 530e9, "gpt-1t": 1008e9}
LLAMA_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "tie_word_embeddings": False,
    "vocab_size": 128256,
    "rope_scaling": {"factor": 8.0, "rope_type": "llama3"},
}


def write_config(folder: Path, **changes: object) -> str:
    """A config.json of Llama-3.1-8B with some keys changed; None removes one."""
    config = {key: value for key, value in (LLAMA_CONFIG | changes).items() if value is not None}
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return str(path)


@pytest.mark.parametrize(("name", "parameters"), EXACT.items())
def test_parameter_count_is_the_published_one(name: str, parameters: int) -> None:
    assert load_model(name).parameters == parameters


@pytest.mark.parametrize(("name", "parameters"), ROUNDED.items())
def test_gpt_parameter_count_is_the_published_one_rounded(name: str, parameters: float) -> None:
    assert load_model(name).parameters == pytest.approx(parameters, rel=0.005)


@pytest.mark.parametrize("name", ROUNDED)
def test_gpt_parameter_count_follows_megatrons_formula(name: str) -> None:
    """Narayanan et al. 2021 (arXiv 2104.04473), equation 2, and the final normalisation of 2 h."""
    model = load_model(name)
    layers, h, vocabulary, length = model.layers, model.hidden, model.vocabulary, model.max_context
    formula = 12 * layers * h * h + 13 * layers * h + (vocabulary + length) * h
    assert model.parameters == formula + 2 * h


def test_every_model_of_the_catalog_has_a_known_count() -> None:
    assert set(model_names()) == set(EXACT) | set(ROUNDED)


@pytest.mark.parametrize("name", model_names())
def test_every_value_of_a_model_has_a_source(name: str) -> None:
    sources = {key[0]: source for key, _, source in read_sources(model_path(name))}
    stated = {name for name, field in Model.model_fields.items() if field.is_required()} - {"name"}
    assert stated <= set(sources) <= set(Model.model_fields)
    assert not [key for key, source in sources.items() if key != "title" and not source]


def test_kv_cache_of_llama_is_128_kib_a_token() -> None:
    """Kernel Looping (arXiv 2410.23668), table 1: 0.5 GiB at 4096 tokens."""
    assert load_model("llama-3.1-8b").kv_bytes_per_token == 128 * 1024


def test_weights_take_half_the_bytes_in_eight_bits() -> None:
    model = load_model("llama-3.1-8b")
    assert model.weight_bytes() == 2 * model.parameters
    halved = model.weight_bytes() - model.weight_bytes(Quantization.of("fp8"))
    assert halved == model.layers * model.active_parameters


@pytest.mark.parametrize(
    ("repository", "name"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("meta-llama/Meta-Llama-3.1-405B-Instruct-FP8", "llama-3.1-405b"),
        ("meta-llama/Llama-2-70b-chat-hf", "llama-2-70b"),
        ("mistralai/Mistral-7B-Instruct-v0.2", "mistral-7b"),
        ("Qwen/Qwen3-32B", "qwen3-32b"),
        ("Llama-3.2-1B", "llama-3.2-1b"),
    ],
)
def test_repository_names_lead_to_the_catalog(repository: str, name: str) -> None:
    assert load_model(repository).name == name


@pytest.mark.parametrize("name", model_names())
def test_catalog_names_lead_to_themselves(name: str) -> None:
    assert catalog_name(name) == name


def test_config_of_the_same_shape_is_the_same_model(tmp_path: Path) -> None:
    read = load_model(write_config(tmp_path))
    assert read.model_copy(update={"name": "llama-3.1-8b", "title": "Llama 3.1 8B"}) == load_model("llama-3.1-8b")
    assert read.name == tmp_path.name


def test_folder_of_a_config_is_read(tmp_path: Path) -> None:
    write_config(tmp_path)
    assert load_model(str(tmp_path)).parameters == EXACT["llama-3.1-8b"]


def test_absent_keys_of_a_config_mean_what_the_libraries_assume(tmp_path: Path) -> None:
    model = load_model(write_config(tmp_path, num_key_value_heads=None, tie_word_embeddings=None))
    assert (model.kv_heads, model.head_dim, model.tied_embeddings) == (32, 128, False)


def test_qwen3_config_has_head_norms_and_its_own_head_dimension(tmp_path: Path) -> None:
    changes = {"architectures": ["Qwen3ForCausalLM"], "head_dim": 64}
    model = load_model(write_config(tmp_path, **changes))
    assert (model.qk_norm, model.head_dim) == (True, 64)


def test_gpt2_config_is_read(tmp_path: Path) -> None:
    config = {"architectures": ["GPT2LMHeadModel"], "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024}
    (tmp_path / "gpt2.json").write_text(json.dumps(config | {"vocab_size": 50257}))
    assert load_model(str(tmp_path / "gpt2.json")).parameters == 124_439_808


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_size": None}, ["config.json", "'hidden_size' is missing", "a positive integer"]),
        ({"num_hidden_layers": "32"}, ["config.json", "'num_hidden_layers' is '32'", "a positive integer"]),
        ({"num_hidden_layers": 0}, ["config.json", "'num_hidden_layers' is 0", "a positive integer"]),
        ({"num_attention_heads": 33}, ["config.json", "'num_attention_heads' is 33", "4096"]),
        ({"num_key_value_heads": 5}, ["config.json", "kv_heads is 5", "a divisor of the 32 heads"]),
        ({"tie_word_embeddings": 1}, ["config.json", "'tie_word_embeddings' is 1", "true or false"]),
        ({"architectures": ["MixtralForCausalLM"]}, ["config.json", "'architectures'", "LlamaForCausalLM"]),
        ({"architectures": None}, ["config.json", "'architectures' is None", "LlamaForCausalLM"]),
    ],
)
def test_wrong_config_is_refused_in_one_sentence(tmp_path: Path, changes: dict[str, object], words: list[str]) -> None:
    path = write_config(tmp_path, **changes)
    with pytest.raises(CatalogError) as refusal:
        load_model(path)
    assert all(word in str(refusal.value) for word in words), str(refusal.value)
    assert "\n" not in str(refusal.value)


@given(
    key=st.sampled_from([*LLAMA_CONFIG, "head_dim", "attention_bias", "sliding_window", "use_sliding_window"]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
        max_leaves=3,
    ),
)
def test_any_value_in_a_config_is_read_or_refused_in_one_sentence(key: str, value: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(LLAMA_CONFIG | {key: value}))
        try:
            answer = str(load_model(str(path)).parameters)
        except CatalogError as refusal:
            answer = str(refusal)
    assert answer.isdecimal() or answer.startswith(f"{path}: ")
    assert "\n" not in answer


def test_malformed_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    for name, words in (
        ("broken.json", "not valid JSON"),
        ("none.json", "no such file"),
        ("none.toml", "no such file"),
    ):
        with pytest.raises(ReadError, match=words):
            load_model(str(tmp_path / name))


def test_unknown_model_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(CatalogError, match=r"unknown model 'llama-3\.1-80b'; the nearest .*llama-3\.1-8b"):
        load_model("llama-3.1-80b")


def test_unknown_key_of_a_model_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    text = model_path("qwen3-8b").read_text()
    (tmp_path / "wrong.toml").write_text(text.replace("kv_heads", "kv_head"))
    with pytest.raises(CatalogError, match=r"wrong\.toml: key 'kv_head' is not known; expected 'kv_heads'\."):
        load_model(str(tmp_path / "wrong.toml"))


@given(name=st.sampled_from(model_names()), data=st.data())
def test_shards_hold_the_whole_model(name: str, data: st.DataObject) -> None:
    model = load_model(name)
    ranks = data.draw(st.sampled_from(tensor_parallel_counts(model)))
    part = shard(model, ranks)
    assert part.heads * ranks == model.heads
    assert part.intermediate * ranks == model.intermediate
    assert part.kv_heads * ranks == max(model.kv_heads, ranks)
    assert part.heads % part.kv_heads == 0
    assert model.vocabulary <= part.vocabulary * ranks < model.vocabulary + ranks


@given(name=st.sampled_from(model_names()), ranks=st.integers(1, 1000))
def test_splits_that_do_not_divide_are_refused_with_the_counts_that_do(name: str, ranks: int) -> None:
    model = load_model(name)
    counts = tensor_parallel_counts(model)
    if ranks in counts:
        assert shard(model, ranks).ranks == ranks
        return
    with pytest.raises(ScenarioError, match=rf"over {ranks} chips .* {counts[-1]}\."):
        shard(model, ranks)


def test_more_chips_than_kv_heads_replicate_them() -> None:
    model = load_model("llama-3.1-8b")
    assert tensor_parallel_counts(model) == (1, 2, 4, 8, 16, 32)
    assert shard(model, 16).kv_heads == 1


def test_figures_and_cards_name_every_model_and_source() -> None:
    assert {figures["model"] for figures in model_figures()} == set(model_names())
    card = {row["key"]: row for row in model_card("llama-3.1-8b")}
    assert card["parameters"]["value"] == EXACT["llama-3.1-8b"]
    assert "meta-llama/Llama-3.1-8B" in str(card["layers"]["source"])
