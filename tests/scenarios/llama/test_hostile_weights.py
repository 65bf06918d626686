"""Weights come from anywhere: a file that lies is refused in a sentence, at once, whatever it says."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from llama_examples import LargeRandomWeights, tiny_config, write_folder, write_gguf

from results.errors import LooplineError
from scenarios.errors import ScenarioError
from scenarios.llama import open_vocabulary, open_weights
from scenarios.llama.vocabularies.bounded import TOO_LONG, TOO_MUCH, bounded
from scenarios.llama.weights import WeightSource
from scenarios.workload.gguf_file import GgufFile
from scenarios.workload.model import load_model, tensor_parallel_counts

SMALL = LargeRandomWeights(tiny_config(vocabulary=256))
U8, U32, F32, TEXT, LIST, U64 = 0, 4, 6, 8, 9, 10


def text(words: str | bytes) -> bytes:
    stored = words.encode() if isinstance(words, str) else words
    return struct.pack("<Q", len(stored)) + stored


def header(*entries: bytes, keys: int | None = None, tensors: int = 0) -> bytes:
    """A GGUF file of a Llama with these metadata, which may say that it has more ``keys`` or ``tensors``."""
    every = [text("general.architecture") + struct.pack("<I", TEXT) + text("llama"), *entries]
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, len(every) if keys is None else keys) + b"".join(every)


def listed(kind: int, count: int) -> bytes:
    return text("x") + struct.pack("<IIQ", LIST, kind, count)


def tensor(name: str, shape: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "does not begin with GGUF"),
        (b"GGUF", "would end at byte 8 of 4"),
        (b"GGUF" + struct.pack(">I", 3), "its version is 50331648"),
        (header(keys=2**63), "it says that it has 9,223,372,036,854,775,808 metadata keys"),
        (header(tensors=2**63), "it says that it has 9,223,372,036,854,775,808 tensors"),
        (header(struct.pack("<Q", 2**63)), "would end at byte"),
        (header(listed(U8, 2**63)), "9,223,372,036,854,775,808 numbers in 'x'"),
        (header(listed(U64, 2**20)), "would end at byte"),
        (header(listed(TEXT, 2**40)), "1,099,511,627,776 texts in 'x'"),
        (header(text("x") + struct.pack("<I", LIST) + struct.pack("<IQ", LIST, 1) * 3000), "'x' is a list of kind 9"),
        (header(text("x") + struct.pack("<I", 99)), "'x' is of kind 99"),
        (header(text(b"\xff\xfe") + struct.pack("<II", U32, 5)), "is not UTF-8"),
        (header(*[text("x") + struct.pack("<II", U32, 5)] * 2), "metadata key 'x' is there twice"),
        (header(text("general.alignment") + struct.pack("<II", U32, 0)), "'general.alignment' is 0"),
        (header(text("general.alignment") + struct.pack("<If", F32, 32.0)), "'general.alignment' is 32.0"),
        (header(tensors=1) + tensor("t", [2**62, 2**62]), "tensor 't' would end at byte"),
        (header(tensors=1) + tensor("t", [4], offset=2**63), "tensor 't' would end at byte"),
        (header(tensors=1) + tensor("t", [4], kind=99), "tensor 't' is of type 99"),
        (header(tensors=1) + tensor("t", [33], kind=2), "33 elements, which is no multiple of 32"),
        (header(tensors=1) + text("t") + struct.pack("<I", 2**31), "2,147,483,648 dimensions"),
        (header(tensors=2) + tensor("t", [1]) * 2 + bytes(128), "tensor 't' is there twice"),
    ],
)
def test_a_gguf_that_lies_is_refused_before_anything_is_made_by_it(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(ScenarioError) as refusal:
        GgufFile(tmp_path / "a.gguf")
    assert says in str(refusal.value)
    assert str(refusal.value).startswith(f"{tmp_path}/a.gguf: not a whole GGUF file: ")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (struct.pack("<I", TEXT) + text("many"), "is 'many'; expected a whole number"),
        (struct.pack("<If", F32, float("nan")), "is nan; expected a whole number"),
        (struct.pack("<IIQI", LIST, U32, 1, 2), "is a list; expected a whole number"),
        (struct.pack("<IQ", U64, 0), "is missing; expected a positive integer"),
    ],
)
def test_a_key_of_another_type_is_named(tmp_path: Path, value: bytes, says: str) -> None:
    (tmp_path / "a.gguf").write_bytes(header(text("llama.block_count") + value))
    with pytest.raises(ScenarioError, match=rf"metadata key 'llama\.block_count' {says}"):
        open_weights(str(tmp_path / "a.gguf"))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"merges": ["t o"]}, "its vocabulary is none: .*out of vocabulary"),
        ({"vocabulary_model": "llama", "scores": [0.0]}, "256 tokens and 1 scores"),
        (
            {"vocabulary_model": "llama", "tokens": ["a" * 9999] + [str(n) for n in range(255)], "scores": [0.0] * 256},
            "a token has more than 256 characters",
        ),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(tmp_path: Path, more: dict[str, object], says: str) -> None:
    write_gguf(tmp_path / "a.gguf", SMALL, **more)
    with pytest.raises(ScenarioError, match=says):
        open_vocabulary(open_weights(str(tmp_path / "a.gguf")))


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "takes more than 1 s"),
        ("{{ 'a' * 10000000000 }}", "takes more than 256 MiB of memory"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "it lies too deeply in itself"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "it lies too deeply in itself"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% include '/etc/passwd' %}", "no loader for this environment"),
        ("{{ messages[0]['content'].split('') }}", "empty separator"),
        ("{{ raise_exception('one user only') }}", "one user only"),
    ],
)
def test_a_chat_template_that_runs_away_is_stopped(tmp_path: Path, template: str, says: str) -> None:
    write_gguf(tmp_path / "a.gguf", SMALL, chat_template=template)
    vocabulary = open_vocabulary(open_weights(str(tmp_path / "a.gguf")))
    with pytest.raises(ScenarioError) as refusal:
        vocabulary.encode("hello", chat=True)
    assert str(refusal.value).startswith("--chat: the weights' chat template cannot be rendered: ")
    assert says in str(refusal.value)


def test_work_in_bounds_is_done_and_what_ends_its_process_is_told() -> None:
    assert bounded(lambda: "done", "it failed") == "done"
    with pytest.raises(ScenarioError, match="it failed: it takes more than 256 MiB of memory"):
        bounded(lambda: os._exit(7), "it failed")


def changed(folder: Path, file: str, **keys: object) -> None:
    """Keys of one of a folder's JSON files as they should not be."""
    path = folder / file
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | keys))


def used(source: WeightSource) -> None:
    """As far as a file of it can be wrong."""
    open_vocabulary(source)
    source.tensor("embedding", None, slice(None))


@pytest.mark.parametrize(
    ("file", "keys", "says"),
    [
        ("config.json", {"rope_theta": [1]}, r"key 'rope_theta' is \[1\]; expected a number from 1 to 1e\+30"),
        ("config.json", {"rope_theta": float("nan")}, "key 'rope_theta' is nan"),
        ("config.json", {"rms_norm_eps": float("inf")}, "key 'rms_norm_eps' is inf; expected a number from 0 to 1"),
        ("config.json", {"rope_scaling": "x"}, "the rope scaling is 'x'; expected a table"),
        ("config.json", {"rope_scaling": {"type": "linear", "factor": 0}}, "key 'factor' of the rope scaling is 0"),
        ("config.json", {"head_dim": 3}, "3 elements a head; they are rotated in pairs"),
        ("generation_config.json", {"eos_token_id": [[1]]}, r"key 'eos_token_id' is \[\[1\]\]"),
        ("tokenizer_config.json", {"bos_token": [1]}, r"key 'bos_token' is \[1\]; expected a token's text"),
        ("tokenizer_config.json", {"eos_token": {"x": 1}}, "key 'eos_token' is {'x': 1}; expected a token's text"),
        ("tokenizer_config.json", {"chat_template": [1]}, r"key 'chat_template' is \[1\]; expected a text"),
        ("model.safetensors.index.json", {"weight_map": {"a": 5}}, "'weight_map' names a file a tensor"),
        ("model.safetensors.index.json", {"weight_map": {"a": "../b"}}, r"names '\.\./b'; expected .* beside it"),
        ("model.safetensors.index.json", {"weight_map": {"a": "/b"}}, "names '/b'; expected .* beside it"),
    ],
)
def test_a_key_of_a_folder_that_is_none_is_named(tmp_path: Path, file: str, keys: dict[str, object], says: str) -> None:
    write_folder(tmp_path, SMALL)
    changed(tmp_path, file, **keys)
    with pytest.raises(LooplineError, match=says):
        used(open_weights(str(tmp_path)))


@pytest.mark.parametrize("part", ["normalizer", "decoder"])
def test_a_tokenizer_that_grows_text_without_end_is_stopped(tmp_path: Path, part: str) -> None:
    write_folder(tmp_path, SMALL)
    grow = [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}] * 20
    changed(tmp_path, "tokenizer.json", **{part: {"type": "Sequence", f"{part}s": grow}})
    # A normalizer grows until it meets a limit; on a slow machine that of time comes first.
    with pytest.raises(ScenarioError, match=f"{TOO_MUCH}|{TOO_LONG}" if part == "normalizer" else "64 times as long"):
        open_vocabulary(open_weights(str(tmp_path))).encode("a" * 20)


def test_a_safetensors_header_and_a_pointer_are_told_for_what_they_are(tmp_path: Path) -> None:
    write_folder(tmp_path, SMALL)
    for content, says in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "is a Git LFS pointer"),
        (b"", "not a whole safetensors file"),
        (struct.pack("<Q", 2**40) + bytes(64), "1,099,511,627,776 bytes of header"),
    ):
        (tmp_path / "model.safetensors").write_bytes(content)
        open_weights.cache_clear()
        with pytest.raises(LooplineError, match=says):
            open_weights(str(tmp_path)).tensor("embedding", None, slice(None))


def test_sizes_without_measure_are_refused_before_anything_counts_to_them(tmp_path: Path) -> None:
    write_folder(tmp_path, SMALL)
    for key in ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size", "max_position_embeddings"):
        changed(tmp_path, "config.json", **{key: 2**62})
        with pytest.raises(LooplineError, match=f"key '{key}' is {2**62}; expected a positive integer, at most"):
            load_model.__wrapped__(str(tmp_path))
        write_folder(tmp_path, SMALL)


def test_the_counts_that_divide_a_model_are_all_that_do() -> None:
    for name in ("llama-3.1-8b", "qwen2-7b", "gpt-22b"):
        model = load_model(name)
        divide = [
            ranks
            for ranks in np.arange(1, model.heads + 1).tolist()
            if model.heads % ranks == model.intermediate % ranks == 0
            and (model.kv_heads % ranks == 0 or ranks % model.kv_heads == 0)
        ]
        assert tensor_parallel_counts(model) == tuple(divide)
