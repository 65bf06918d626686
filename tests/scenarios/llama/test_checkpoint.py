"""Weights and vocabularies from files: what is written is what is computed with, and what is wrong is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter, quantize
from hypothesis import given
from hypothesis import strategies as st
from llama_examples import (
    LargeRandomWeights,
    byte_tokens,
    logits_of_rank,
    tiny_config,
    whole_tensors,
    write_folder,
    write_gguf,
)

from cluster.ranks import run_ranks
from results.errors import LooplineError
from scenarios.errors import ScenarioError
from scenarios.llama import Generation, open_vocabulary, open_weights
from scenarios.llama.checkpoints.safetensors_weights import NAMES, SafetensorsWeights
from scenarios.llama.number_format import round_to_bfloat16
from scenarios.llama.vocabularies.vocabulary import ByteVocabulary

SOURCE = LargeRandomWeights(tiny_config())
SMALL = LargeRandomWeights(tiny_config(vocabulary=256))


def same_tensors(path: Path, source: LargeRandomWeights = SOURCE) -> None:
    found = open_weights(str(path))
    for name, layer, values in whole_tensors(source):
        np.testing.assert_array_equal(found.tensor(name, layer, slice(None)), values)
        np.testing.assert_array_equal(found.tensor(name, layer, slice(4, 12)), values[4:12])


@pytest.mark.parametrize("files", [1, 3])
def test_safetensors_are_read_whole_and_by_rows(tmp_path: Path, files: int) -> None:
    write_folder(tmp_path, SOURCE, files=files)
    same_tensors(tmp_path)
    model = open_weights(str(tmp_path)).config.model
    assert (model.heads, model.kv_heads, model.tied_embeddings) == (12, 3, False)


def test_bfloat16_safetensors_are_read_exactly(tmp_path: Path) -> None:
    write_folder(tmp_path, SOURCE)
    header, payload = {}, b""
    for name, layer, values in whole_tensors(SOURCE):
        stored = (round_to_bfloat16(values).view(np.uint32) >> 16).astype("<u2").tobytes()
        offsets = [len(payload), len(payload) + len(stored)]
        key = NAMES[name].format(layer=layer)
        header[key] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": offsets}
        payload += stored
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + payload)
    found = open_weights(str(tmp_path))
    for name, layer, values in whole_tensors(SOURCE):
        np.testing.assert_array_equal(found.tensor(name, layer, slice(None)), round_to_bfloat16(values))


def test_gguf_gives_queries_and_keys_their_order_back(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", SMALL)
    same_tensors(tmp_path / "tiny.gguf", SMALL)
    config = open_weights(str(tmp_path / "tiny.gguf")).config
    np.testing.assert_array_equal(config.inverse_frequencies, SMALL.config.inverse_frequencies)
    assert config.norm_epsilon == pytest.approx(1e-5)


def test_logits_are_the_same_from_memory_safetensors_and_gguf(tmp_path: Path) -> None:
    write_folder(tmp_path, SMALL)
    write_gguf(tmp_path / "tiny.gguf", SMALL)
    sources = [SMALL, open_weights(str(tmp_path)), open_weights(str(tmp_path / "tiny.gguf"))]
    logits = [run_ranks(logits_of_rank, source, [[1, 2, 3]], count=3)[0] for source in sources]
    np.testing.assert_array_equal(logits[0], logits[1])
    # GGUF stores the epsilon as float32.
    np.testing.assert_allclose(logits[0], logits[2], atol=1e-5)


def test_a_tied_gguf_has_no_head_and_rope_factors_divide_frequencies(tmp_path: Path) -> None:
    tied = LargeRandomWeights(tiny_config(vocabulary=256, tied_embeddings=True))
    write_gguf(tmp_path / "tied.gguf", tied, more_tensors={"rope_freqs.weight": np.array([1.0, 8.0], np.float32)})
    config = open_weights(str(tmp_path / "tied.gguf")).config
    assert config.model.tied_embeddings
    np.testing.assert_allclose(config.inverse_frequencies, tied.config.inverse_frequencies / [1, 8])


def test_quantized_rows_are_those_of_the_whole_matrix(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "q.gguf", "llama")
    for key in ("block_count", "embedding_length", "head_count", "feed_forward_length", "context_length"):
        getattr(writer, f"add_{key}")({"embedding_length": 64}.get(key, 1))
    values = np.random.default_rng(0).standard_normal((10, 64), np.float32)
    kind = GGMLQuantizationType.Q4_1
    writer.add_tensor("token_embd.weight", quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    source = open_weights(str(tmp_path / "q.gguf"))
    whole = source.tensor("embedding", None, slice(None))
    np.testing.assert_array_equal(source.tensor("embedding", None, slice(3, 7)), whole[3:7])
    assert 0 < np.abs(whole - values).max() < 0.2


def test_files_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    def refused(name: str, sentence: str) -> None:
        with pytest.raises(LooplineError) as refusal:
            open_weights(str(tmp_path / name)).tensor("embedding", None, slice(None))
        assert sentence in str(refusal.value)

    refused("no.gguf", "no.gguf: no such file.")
    (tmp_path / "text.gguf").write_text("hello, this is no model" * 9)
    refused("text.gguf", "not a whole GGUF file")
    write_gguf(tmp_path / "whole.gguf", SMALL)
    (tmp_path / "half.gguf").write_bytes((tmp_path / "whole.gguf").read_bytes()[:30000])
    refused("half.gguf", "not a whole GGUF file")
    writer = GGUFWriter(tmp_path / "gemma.gguf", "gemma")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    refused("gemma.gguf", "architecture 'gemma' is not computed here; expected llama.")

    write_folder(tmp_path, SOURCE)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    refused("", "not a whole safetensors file")
    weights.unlink()
    refused("", "neither model.safetensors nor model.safetensors.index.json is there")
    write_folder(tmp_path, LargeRandomWeights(tiny_config(hidden=24)))
    config = json.loads((tmp_path / "config.json").read_text()) | {"hidden_size": 48}
    (tmp_path / "config.json").write_text(json.dumps(config))
    open_weights.cache_clear()
    refused("", "tensor 'model.embed_tokens.weight' has shape (307, 24); config.json says (307, 48).")


def test_a_gguf_with_biases_or_partly_rotated_heads_is_refused(tmp_path: Path) -> None:
    bias = {"blk.0.attn_q.bias": np.zeros(48, np.float32)}
    write_gguf(tmp_path / "biased.gguf", SMALL, more_tensors=bias)
    with pytest.raises(ScenarioError, match=r"tensor 'blk\.0\.attn_q\.bias' is not part of a Llama"):
        open_weights(str(tmp_path / "biased.gguf"))
    write_gguf(tmp_path / "partly.gguf", SMALL, rotated=2)
    source = open_weights(str(tmp_path / "partly.gguf"))
    with pytest.raises(ScenarioError, match="2 of a head's 4 elements are rotated"):
        _ = source.config


def test_a_prompt_outside_of_the_vocabulary_is_refused() -> None:
    model = tiny_config().model
    with pytest.raises(ScenarioError, match="the tokenizer gives token 307; tiny has tokens 0 to 306"):
        Generation("tiny", (1, 307), 1).check(model)


def test_an_index_that_names_a_missing_file_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, SOURCE, files=2)
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(ScenarioError, match=r"names model-1.safetensors, which is not there"):
        SafetensorsWeights(tmp_path).tensor("embedding", None, slice(None))


def test_a_folder_has_its_tokenizer_stop_tokens_and_chat_template(tmp_path: Path) -> None:
    write_folder(tmp_path, SOURCE)
    settings = {"chat_template": "{{ bos_token }}{% for m in messages %}[{{ m['content'] }}]{% endfor %}"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"bos_token": {"content": "#"}}))
    vocabulary = open_vocabulary(open_weights(str(tmp_path)))
    assert vocabulary.stop_tokens == {300, 301}
    letters = byte_tokens()
    assert vocabulary.encode("ab") == [letters.index("a"), letters.index("b")]
    assert vocabulary.encode("a", chat=True) == [letters.index(character) for character in "#[a]"]


def test_a_chat_template_cannot_reach_out_of_its_sandbox(tmp_path: Path) -> None:
    write_gguf(tmp_path / "bad.gguf", SMALL, chat_template="{{ ''.__class__.__mro__[1].__subclasses__() }}")
    vocabulary = open_vocabulary(open_weights(str(tmp_path / "bad.gguf")))
    with pytest.raises(ScenarioError, match="--chat: the weights' chat template cannot be rendered"):
        vocabulary.encode("hello", chat=True)


def test_a_gguf_merges_as_byte_pair_encoding_does(tmp_path: Path) -> None:
    tokens = [*byte_tokens(), "he", "ll", "hell", "Ġhell", "<stop>"]
    kinds = [1] * 260 + [3]
    write_gguf(
        tmp_path / "tiny.gguf", SMALL, tokens=tokens, kinds=kinds, merges=["h e", "l l", "he ll", "Ġ hell"], first=260
    )
    vocabulary = open_vocabulary(open_weights(str(tmp_path / "tiny.gguf")))
    expected = ["hell", "o", "Ġhell", "<stop>", "l", "1", "2"]
    assert vocabulary.encode("hello hell<stop>l12") == [tokens.index(token) for token in expected]
    decode = vocabulary.decoder()
    assert "".join(map(decode, [tokens.index(token) for token in expected])) == "hello helll12"


def test_llama_3_takes_three_digits_and_whole_words_and_begins_with_its_token(tmp_path: Path) -> None:
    tokens = [*byte_tokens(), "123", "<begin>"]
    write_gguf(
        tmp_path / "tiny.gguf", SMALL, tokens=tokens, kinds=[1] * 257 + [3], merges=[], pre="llama-bpe", first=257
    )
    vocabulary = open_vocabulary(open_weights(str(tmp_path / "tiny.gguf")))
    assert [tokens[token] for token in vocabulary.encode("123123x")] == ["<begin>", "123", "123", "x"]


def test_sentence_piece_scores_decide_merges_and_bytes_stand_in(tmp_path: Path) -> None:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [2, 3, 3] + [6] * 256
    pieces = {"▁a": -1.0, "bc": -2.0, "ab": -3.0, "▁": -10.0, "a": -11.0, "b": -12.0, "c": -13.0}
    tokens += pieces
    write_gguf(
        tmp_path / "llama2.gguf",
        SMALL,
        vocabulary_model="llama",
        tokens=tokens,
        kinds=kinds + [1] * len(pieces),
        scores=[0.0] * 259 + list(pieces.values()),
        first=1,
    )
    vocabulary = open_vocabulary(open_weights(str(tmp_path / "llama2.gguf")))
    found = vocabulary.encode("abc é")
    # "▁a" has the best score, then "bc"; "ab" would have come first from the left. é is two bytes of UTF-8.
    assert [tokens[token] for token in found] == ["<s>", "▁a", "bc", "▁", "<0xC3>", "<0xA9>"]
    decode = vocabulary.decoder()
    assert "".join(map(decode, found)) == "abc é"


def test_an_unknown_pre_tokenizer_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", SMALL, pre="deepseek-coder")
    with pytest.raises(ScenarioError, match="pre-tokenizer 'deepseek-coder' is not known here; expected one of"):
        open_vocabulary(open_weights(str(tmp_path / "tiny.gguf")))


@given(st.text(max_size=20))
def test_bytes_come_back_as_the_text_they_were(text: str) -> None:
    vocabulary = ByteVocabulary(300)
    decode = vocabulary.decoder()
    assert "".join(map(decode, vocabulary.encode(text))) == text
    assert decode(299) == "<299>"
