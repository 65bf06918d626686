"""Hold our Llama against PyTorch and Hugging Face transformers: logits, gradients, AdamW, the tokenizer of a GGUF.

Not a test of the suite, because it needs PyTorch. In an environment of its own:

    python -m venv reference
    reference/bin/pip install torch transformers gguf -e .
    reference/bin/python benchmarks/llama_against_transformers.py [model.gguf]

Prints, for random Llamas that transformers itself initialises and saves, and for the GGUF where one is given, the
largest absolute difference between any two logits in float32, on one to four ranks; fails above 1e-4. Gradients and
weights after three optimizer steps are held against autograd and torch.optim.AdamW, relative to the largest.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from cluster.communicator import Communicator
from cluster.ranks import run_ranks
from scenarios.llama import LlamaRank, load_weights, open_vocabulary, open_weights
from scenarios.llama.backpropagation import TrainingRank
from scenarios.llama.checkpoints.safetensors_weights import NAMES
from scenarios.llama.number_format import Float32
from scenarios.llama.optimizer import AdamW
from scenarios.llama.weights import Weights
from scenarios.workload.model import tensor_parallel_counts

LARGEST_DIFFERENCE = 1e-4
DECODED = 8  # tokens that pass one by one, through the KV cache, after all the others at once
LLAMA_3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONG_TEXT = 3000
STEPS = 3
SHAPE = {
    "vocab_size": 1003,  # prime, so that every split of the vocabulary is padded
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 12,
    "num_key_value_heads": 3,
    "max_position_embeddings": 4096,
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
    f"a text of {LONG_TEXT:,} tokens": {"tokens": LONG_TEXT, "num_hidden_layers": 1, "rope_theta": 100000.0},
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
        length = int(str(change.pop("tokens", 200)))
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**(SHAPE | change))).to(getattr(torch, str(dtype)))
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder, max_shard_size="200KB" if files else "1GB")
            tokens = np.random.default_rng(1).integers(SHAPE["vocab_size"], size=length).tolist()
            saved = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
            worst.append(compare(title, folder, saved, tokens))
    return worst


def trained_rank(
    communicator: Communicator, weights: str, tokens: NDArray[np.int64]
) -> tuple[Weights[np.float32], Weights[np.float32]]:
    """The first gradients and the weights after ``STEPS`` steps."""
    source = open_weights(weights)
    part = load_weights(source, communicator.ranks, communicator.rank)
    rank, optimizer = TrainingRank(source.config, part, communicator), AdamW(part, epsilon=1e-4)
    first = rank.loss_and_gradients(tokens)[1]
    for _ in range(STEPS):
        optimizer.step(rank.loss_and_gradients(tokens)[1])
    return first, part


def training() -> list[float]:
    """The gradient and AdamW of a random Llama against PyTorch's: the largest relative difference of each."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        LlamaForCausalLM(LlamaConfig(**SHAPE)).save_pretrained(folder)
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
        tokens = np.random.default_rng(2).integers(SHAPE["vocab_size"], size=(2, 30))
        ((gradients, weights),) = run_ranks(trained_rank, folder, tokens, count=1)
    gains = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    groups = [{"params": gains, "weight_decay": 0.0}, {"params": matrices, "weight_decay": 0.1}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-4)
    worst = []
    for step in range(STEPS):
        optimizer.zero_grad()
        model(torch.tensor(tokens), labels=torch.tensor(tokens)).loss.backward()
        if step == 0:
            worst.append(relative(gradients, {name: value.grad for name, value in model.named_parameters()}))
        optimizer.step()
    worst.append(relative(weights, {name: value.detach() for name, value in model.named_parameters()}))
    print(f"gradients: {worst[0]:.1e} of the largest; weights after {STEPS} steps of AdamW: {worst[1]:.1e}")
    return worst


def relative(ours: Weights[np.float32], theirs: dict[str, torch.Tensor]) -> float:
    """The largest difference of any element, relative to the largest element of its tensor."""
    worst = 0.0
    for name, stored in NAMES.items():
        for number, holder in enumerate(ours.layers if "{layer}" in stored else [ours]):
            expected = theirs[stored.format(layer=number)].numpy()
            found = getattr(holder, name)[: len(expected)]
            worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
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
    largest = max(random_llamas() + training() + [error for name in sys.argv[1:] for error in gguf_file(Path(name))])
    print(f"largest difference: {largest:.1e}")
    sys.exit(largest > LARGEST_DIFFERENCE)
