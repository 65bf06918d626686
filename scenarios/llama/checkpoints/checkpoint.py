"""What ``--weights`` names: a GGUF file, a Hugging Face folder, or a model's shape for weights from a seed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from scenarios.llama.checkpoints.random_weights import RandomWeights
from scenarios.llama.config import named_config
from scenarios.llama.vocabularies.vocabulary import ByteVocabulary, Vocabulary
from scenarios.llama.weights import WeightSource


@lru_cache(maxsize=2)
def open_weights(name: str, seed: int = 0) -> WeightSource:
    """The weights that ``name`` stands for; files are mapped, not read, and opened once a process.

    ``name``: a path ending in .gguf; a folder with config.json and safetensors; or a model of the catalog or a
    config.json, whose weights then come from ``seed``. Raises ScenarioError or CatalogError in one sentence.
    """
    if name.endswith(".gguf"):
        from scenarios.llama.checkpoints.gguf_weights import GgufWeights

        return GgufWeights(Path(name))
    if Path(name).is_dir():
        from scenarios.llama.checkpoints.safetensors_weights import SafetensorsWeights

        return SafetensorsWeights(Path(name))
    return RandomWeights(named_config(name), seed)


def open_vocabulary(source: WeightSource) -> Vocabulary:
    """The vocabulary that comes with the weights: bytes for random ones."""
    if isinstance(source, RandomWeights):
        return ByteVocabulary(source.config.model.vocabulary)
    from scenarios.llama.checkpoints.gguf_weights import GgufWeights

    if isinstance(source, GgufWeights):
        from scenarios.llama.vocabularies.gguf_vocabulary import gguf_vocabulary

        return gguf_vocabulary(source)
    from scenarios.llama.checkpoints.safetensors_weights import SafetensorsWeights
    from scenarios.llama.vocabularies.hugging_face_vocabulary import hugging_face_vocabulary

    assert isinstance(source, SafetensorsWeights)
    return hugging_face_vocabulary(source.folder)
