"""Hold our Llama against Hugging Face transformers: logits, on 1 to several ranks, and the tokenizer of a GGUF.

Not a test of the suite, because it needs PyTorch. In an environment of its own:

    python -m venv reference
    reference/bin/pip install torch transformers gguf -e .
    reference/bin/python benchmarks/llama_against_transformers.py [model.gguf]

Prints, for random Llamas that transformers itself initialises and saves, and for the GGUF where one is given, the
largest absolute difference between any two logits in float32; fails above 1e-4.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from cluster.communicator import Communicator
from cluster.ranks import run_ranks
from scenarios.llama import LlamaRank, load_weights, open_vocabulary, open_weights
from scenarios.llama.number_format import Float32
from scenarios.model import tensor_parallel_counts

LARGEST_DIFFERENCE = 1e-4
DECODED = 8  # tokens that pass one by one, through the KV cache, after all the others at once
LLAMA_3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
SHAPE = {
    "vocab_size": 1003,  # prime, so that every split of the vocabulary is padded
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 12,
    "num_key_value_heads": 3,
    "max_position_embeddings": 1024,
    "initializer_range": 0.15,  # large enough for logits of several units
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
VARIANTS: dict[str, dict[str, object]] = {
    "grouped queries": {},
    "a key-value head for every query head": {"num_key_value_heads": 12},
    "one key-value head": {"num_key_value_heads": 1},
    "tied embeddings": {"tie_word_embeddings": True},
    "Llama 3 rope scaling, theta 500,000": {
        "rope_parameters": LLAMA_3_SCALING | {"rope_theta": 500000.0},
        "rope_theta": 500000.0,
    },
    "linear rope scaling": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
    "head dimension apart from the width": {"head_dim": 32},
    "stored as bfloat16": {"dtype": "bfloat16"},
    "several safetensors files": {"files": True},
}
TEXTS = (
    "The capital of France is",
    "In 2024, 12345 numbers (3.14159) and  two blanks,\n\na new paragraph\tand a tab.",
    "def f(x):\n    return x ** 2  # naïve façade, 東京, emoji 🙂, don't, I'LL",
    "<|im_start|>user\nHello<|im_end|>\n",
)


def logits_of_rank(communicator: Communicator, weights: str, tokens: list[int]) -> Float32:
    """All logits of a text, the last ``DECODED`` tokens one by one: shape (tokens, vocabulary)."""
    source = open_weights(weights)
    part = load_weights(source, communicator.ranks, communicator.rank)
    rank = LlamaRank(source.config, part, communicator, len(tokens))
    given = np.array(tokens)
    steps = [given[:-DECODED], *given[-DECODED:, None]]
    return np.concatenate([rank.forward(step) for step in steps])


def compare(title: str, weights: str, reference: torch.nn.Module, tokens: list[int]) -> float:
    """Print and return the largest difference over all ranks that divide the model, up to 4."""
    with torch.no_grad():
        expected = reference(torch.tensor([tokens])).logits[0].numpy()
    worst = 0.0
    counts = [count for count in tensor_parallel_counts(open_weights(weights).config.model) if count <= 4]
    for count in counts:
        found = run_ranks(logits_of_rank, weights, tokens, count=count)[0]
        worst = max(worst, float(np.abs(found - expected).max()))
    ranks = ", ".join(map(str, counts))
    print(f"{title}: {worst:.1e} over {expected.size:,} logits up to {np.abs(expected).max():.1f}, on {ranks} ranks")
    return worst


def random_llamas() -> list[float]:
    """Random models, each saved by transformers and read by us."""
    worst = []
    for title, change in VARIANTS.items():
        change = dict(change)
        files, dtype = change.pop("files", False), change.pop("dtype", "float32")
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**(SHAPE | change))).to(getattr(torch, str(dtype)))
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder, max_shard_size="200KB" if files else "1GB")
            tokens = np.random.default_rng(1).integers(SHAPE["vocab_size"], size=200).tolist()
            saved = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
            worst.append(compare(title, folder, saved, tokens))
    return worst


def gguf_file(path: Path) -> list[float]:
    """A GGUF, which transformers dequantizes by itself: its tokens of a few texts, and the logits of one."""
    names = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    tokenizer = AutoTokenizer.from_pretrained(**names)
    vocabulary = open_vocabulary(open_weights(str(path)))
    for text in TEXTS:
        expected, found = tokenizer(text)["input_ids"], vocabulary.encode(text)
        assert found == expected, f"{text!r} is {expected} for transformers, {found} for us"
    print(f"{path.name}: the same tokens for {len(TEXTS)} texts")
    model = AutoModelForCausalLM.from_pretrained(**names, dtype=torch.float32).eval()
    return [compare(path.name, str(path), model, vocabulary.encode(" ".join(TEXTS)))]


if __name__ == "__main__":
    logging.disable_progress_bar()
    largest = max(random_llamas() + [error for name in sys.argv[1:] for error in gguf_file(Path(name))])
    print(f"largest difference: {largest:.1e}")
    sys.exit(largest > LARGEST_DIFFERENCE)
