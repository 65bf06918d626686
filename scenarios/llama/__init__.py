"""A real Llama in NumPy, split over the chips of a tensor-parallel group: values beside the simulated time.

Belongs here: what the model computes (layers, KV cache, sampling, training), where its weights and vocabulary come
from, and the partition of real arrays. What a decoder costs in time is in ``scenarios.pricing``; how ranks reach one
another is ``cluster.communicator``. One rank's program is the same on 1 or N ranks, in this process or in others.

    source = open_weights("model.gguf")
    weights = load_weights(source, communicator.ranks, communicator.rank)
    logits = LlamaRank(source.config, weights, communicator, capacity=2048).forward(tokens)
"""

from scenarios.llama.backpropagation import TrainingRank
from scenarios.llama.checkpoints.checkpoint import open_vocabulary, open_weights
from scenarios.llama.config import LlamaConfig
from scenarios.llama.generation import Generation, generate_tokens
from scenarios.llama.optimizer import AdamW
from scenarios.llama.rank import LlamaRank
from scenarios.llama.weights import Weights, load_weights

__all__ = [
    "AdamW",
    "Generation",
    "LlamaConfig",
    "LlamaRank",
    "TrainingRank",
    "Weights",
    "generate_tokens",
    "load_weights",
    "open_vocabulary",
    "open_weights",
]
