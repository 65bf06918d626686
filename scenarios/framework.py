"""The software between a model and a GPU, as far as time is concerned: whose collectives, how much host work a pass."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from chips.frozen import Frozen
from chips.generation import AttentionKernel
from chips.spec import KvPrecision, load_chip
from collectives.collective_time import Library
from results.text_file import read_toml
from results.words import HOST_LAUNCHES
from scenarios.errors import ScenarioError

CollectiveMode = Literal["kernel", "fused", "overlapped"]
"""A kernel of its own; one with the residual add and normalisation after it; or cut, beside the products around it."""
Synchronization = Literal["hand", "compiled", "barrier", "tile"]
"""Counters, in a kernel that a person scheduled, or a compiler; a barrier an operator; a counter a tile."""

Sharding = Literal["none", "zero1", "zero2", "zero3", "fsdp", "hsdp"]
"""What each of the chips that compute the same holds only a share of: nothing; the optimizer's state; gradients too;
weights too (Rajbhandari et al. 2020, arXiv 1910.02054); the same without 16-bit weights beside fp32 ones, gathered a
decoder at a time (PyTorch's fully sharded data parallelism); that within a domain, whose copies sum their gradients.
"""
Selective = Literal["selective", "operators"]
"""What recomputation is called selective: of attention's inner part (Korthikanti et al. 2022), or of what is
element-wise and every second product (torchtitan)."""
Optimizer = Literal["megatron", "foreach", "fused"]
"""Adam as Megatron-LM's passes, as PyTorch's kernel for each operation on all parameters, or as one kernel."""
Rotary = Literal["halves", "complex", "matrices"]
"""How modules turn queries and keys: half of each negated and joined; pairs of values as complex numbers; or 2 x 2
matrices times pairs, summed."""
Converted = Literal["norm", "attention", "activation"]
"""What comes before a product: a normalisation, attention, or the MLP's activation function."""

CATALOG = Path(__file__).parent / "frameworks.toml"


class Framework(Frozen):
    """A framework: its host work in seconds, its batches, and what it fuses, shards and overlaps."""

    name: str
    title: str
    """what it is, with its version and date: host work and kernels belong to one."""
    launch: Literal["eager", "compiled", "graph", "pdl"] = "graph"
    """how it launches kernels unless told otherwise, on chips that can."""
    collectives: Library
    """the library of its AllReduce kernels."""
    collective_mode: CollectiveMode = "kernel"
    """how its collectives meet the operators around them, unless told otherwise."""
    synchronization: Synchronization = "hand"
    """how operators of its persistent kernels wait for each other, unless told otherwise."""
    host_step_seconds: PositiveFloat
    """host work between two passes that the device waits for."""
    host_request_seconds: NonNegativeFloat = 0.0
    """what each running request adds to that work under continuous batching (its tokens gathered, its blocks of the KV
    cache kept, its output handed on)."""
    static_requests: bool = False
    """whether the sequences of a static batch add as much."""
    host_operator_seconds: PositiveFloat | None = None
    """host time to issue one operator eagerly, where it is known to differ from what the generation's hosts take
    (``launch.host_operator``)."""
    host_kernel_seconds: PositiveFloat | None = None
    """the same for a kernel of a compiled model (``launch.host_kernel``)."""
    iteration_prompts: PositiveInt | None = None
    """prompts that one iteration of continuous batching takes in; None: what ``iteration_tokens`` hold."""
    padding_requests: NonNegativeInt = 0
    """places of the batch that requests padding a CUDA graph hold."""
    overlapped: bool = False
    """whether a pass is scheduled and launched before the tokens of the one before are read."""
    front_end_token_seconds: NonNegativeFloat = 0.0
    """what the server's queue of answers takes for a token, its text and its HTTP event, beside the engine."""
    front_end_prompt_token_seconds: NonNegativeFloat = 0.0
    """what its queue of new requests takes a token of a prompt, text to numbers, before the engine has it."""
    iteration_tokens: PositiveInt = 8192
    """tokens that one iteration of continuous batching computes at most, unless the server is told otherwise."""
    memory_share: PositiveFloat | None = None
    """of a chip's memory, that weights and KV cache together take; None: the cache takes 0.9 of what weights leave."""
    mixes_prompts: bool = True
    """whether an iteration carries prompts and decoding requests; else prompts go first."""
    reserved_share: NonNegativeFloat = 1.0
    """of an answer, for which it keeps room in the cache when a request enters; where less than all, requests may lose
    their room and be read again."""
    fusion: Literal["none", "element-wise", "products"]
    """which operators share a kernel: none, so that an element-wise one is its ``plain_calls`` kernels; what is
    element-wise, so that it is one; or products, in which element-wise operators ride."""
    fp8_scales: Literal["static", "tensor", "row"] = "row"
    """how it scales what a product takes in FP8, where a checkpoint does not say: by scales known beforehand, by the
    maximum of the whole input, or by that of each token's row."""
    fp8_products: Literal["cublas", "cutlass"] = "cublas"
    """whose kernels multiply FP8 with a scale a tensor or a row: NVIDIA's library, or the serving library itself."""
    kv_of_quantized: KvPrecision = "bf16"
    """of keys and values where products are in FP8 or NVFP4 and the checkpoint does not say: as those that are
    published for it."""
    converts_after: tuple[Converted, ...] = ()
    """in which kernels it converts their output to what the next product takes, where a token needs no other one for
    its scales."""
    plans_attention: bool = True
    """whether a kernel ahead of attention plans its splits, as vLLM calls FlashAttention."""
    shares_keys: bool = True
    """whether one block of decode attention serves all query heads that share keys; else each reads them anew."""
    fused_attention: bool = True
    """whether training uses FlashAttention."""
    overlaps_gradients: bool = True
    """whether replicas sum gradients as soon as they are there, beside the backward pass, and gather parameters beside
    the forward pass."""
    sharding: Sharding = "zero1"
    """what replicas hold a share of, unless told otherwise."""
    fp32_gradients: bool = True
    """whether weight gradients are added to fp32 ones by a kernel of their own, not kept as a product gives them."""
    summed_gradient_bytes: Literal[2, 4] = 4
    """of an element of the gradients that replicas sum."""
    optimizer: Optimizer = "megatron"
    """the kernels of its optimizer."""
    rotary: Rotary = "halves"
    """how its modules turn queries and keys, where nothing has fused that."""
    selective: Selective = "selective"
    """what it calls selective recomputation."""
    sequence: bool = False
    """whether its tensor parallelism always is sequence parallelism, too."""
    attention_kernel: AttentionKernel | None = None
    """that its attention of many tokens runs; None: the generation's."""
    fuses_loss: bool = False
    """whether training computes its loss in one pass over the logits, not in several in fp32."""
    named: tuple[str, ...]
    """other names of it in published rows."""


DEFAULT = "sglang"
"""Today's best public stack: a CUDA graph with dependent launches, fused AllReduces, a scheduler that overlaps."""


@cache
def frameworks() -> dict[str, Framework]:
    """All known frameworks by name."""
    table = read_toml(CATALOG)
    return {name: Framework.model_validate({"name": name} | fields) for name, fields in table.items()}


def default_framework(phase: str, launch: str | None) -> Framework:
    """What GPUs run unless told otherwise: a training framework, PyTorch where the host issues kernels, or today's best
    serving stack."""
    by_host = launch in HOST_LAUNCHES
    return frameworks()["training" if phase == "train" else "pytorch" if by_host else DEFAULT]


def framework_named(text: str, phase: str = "decode") -> Framework:
    """The framework that a published row names, perhaps among other words; the default of ``phase`` if none is."""
    words = text.lower()
    for name, framework in frameworks().items():
        if any(word.lower() in words for word in (name, *framework.named)):
            return framework
    return default_framework(phase, None)


def check_framework(asked: object, chips: Iterable[str]) -> None:
    """Raise ScenarioError where a framework is asked for, and none of ``chips`` has one."""
    names = list(chips)
    if asked and not any(load_chip(name).has_framework for name in names):
        raise ScenarioError(
            f"--framework belongs to GPUs, which run the kernels of one; {', '.join(names)} "
            f"{'runs' if len(names) == 1 else 'run'} programs of a compiler: leave it out."
        )
