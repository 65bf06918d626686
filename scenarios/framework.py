"""The software between a model and a GPU, as far as time is concerned: whose collectives, how much host work a pass."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from chips.frozen import Frozen
from collectives.collective_time import Library
from results.text_file import read_toml

CATALOG = Path(__file__).parent / "frameworks.toml"


class Framework(Frozen):
    """A framework: its host work in seconds, its batches, and what it fuses, shards and overlaps."""

    name: str
    title: str
    collectives: Library
    """the library of its AllReduce kernels."""
    host_step_seconds: PositiveFloat
    """host work between two passes."""
    host_request_seconds: NonNegativeFloat = 0.0
    """what each running request adds to that work under continuous batching (its tokens gathered, its blocks of the KV
    cache kept, its output handed on); a static batch has none."""
    host_operator_seconds: PositiveFloat | None = None
    """host time to issue one operator eagerly, where it is known to differ from what the generation's hosts take
    (``launch.host_operator``)."""
    iteration_prompts: PositiveInt | None = None
    """prompts that one iteration of continuous batching takes in; None: what a budget of tokens holds."""
    padding_requests: NonNegativeInt = 0
    """places of the batch that requests padding a CUDA graph hold."""
    overlapped: bool = False
    """whether an iteration is scheduled before the tokens of the one before are read."""
    front_end_token_seconds: NonNegativeFloat = 0.0
    """what the server's queue of answers takes for a token, its text and its HTTP event, beside the engine."""
    fuses: bool
    """whether an element-wise operator is one kernel; else it is its ``plain_calls`` kernels."""
    fused_attention: bool
    """whether training uses FlashAttention."""
    overlaps_gradients: bool = True
    """whether replicas sum gradients as soon as they are there, beside the backward pass, and gather parameters beside
    the forward pass."""
    overlaps_collectives: bool = False
    """whether the AllGathers and ReduceScatters of sequence parallelism run beside products."""
    shards_optimizer: bool = True
    """whether each replica keeps and updates only its share of the optimizer's state."""
    fuses_loss: bool = False
    """whether training computes its loss in one pass over the logits, not in several in fp32."""
    named: tuple[str, ...]
    """other names of it in published rows."""


@cache
def frameworks() -> dict[str, Framework]:
    """All known frameworks by name."""
    table = read_toml(CATALOG)
    return {name: Framework.model_validate({"name": name} | fields) for name, fields in table.items()}


def default_framework(phase: str, eager: bool) -> Framework:
    """What GPUs run unless told otherwise: a training framework, plain PyTorch where the host issues every call, or
    a serving framework with its CUDA graph."""
    return frameworks()["training" if phase == "train" else "pytorch" if eager else "tensorrt-llm"]


def framework_named(text: str, phase: str = "decode") -> Framework:
    """The framework that a published row names, perhaps among other words; the default of ``phase`` if none is."""
    words = text.lower()
    for name, framework in frameworks().items():
        if any(word.lower() in words for word in (name, *framework.named)):
            return framework
    return default_framework(phase, eager=False)
