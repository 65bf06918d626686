"""What of weights, gradients and optimizer state each chip holds, of those that compute the same: all, or a share.

Stages 1 to 3 of ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054), and PyTorch's fully sharded data parallelism (Zhao et
al. 2023, arXiv 2304.11277). When the shares come together is in ``scenarios.training``.
"""

from __future__ import annotations

from chips.spec import Link
from scenarios.framework import Sharding

# Mixed-precision Adam as Megatron-LM runs it: 16-bit weight, fp32 gradient, master weight and two moments are held, 18
# bytes a parameter (Rajbhandari et al. 2020, with a 16-bit gradient: 16).
WEIGHT_BYTES, GRADIENT_BYTES, OPTIMIZER_STATE_BYTES = 2, 4, 12

FULLY: tuple[Sharding, ...] = ("fsdp", "hsdp")
"""Weights are gathered from the fp32 ones of the optimizer: no others are held."""
SHARED_WEIGHTS: tuple[Sharding, ...] = ("zero3", *FULLY)
SHARED_GRADIENTS: tuple[Sharding, ...] = ("zero2", *SHARED_WEIGHTS)
GATHERED_AT_ONCE = 2  # decoders: the one that computes, and the next


def shares(sharding: Sharding, sharing: int, link: Link, tensor: int) -> int:
    """Among how many of ``sharing`` chips the shares are dealt: all, or under ``hsdp`` those of one domain."""
    if sharding == "none":
        return 1
    if sharding != "hsdp":
        return sharing
    within = max(1, link.domain // tensor)
    return next(number for number in range(min(within, sharing), 0, -1) if sharing % number == 0)


def gathered_by_pass(sharding: Sharding, pipeline: int) -> bool:
    """Whether weights are gathered for every pass and given up after it.

    With a pipeline they stay, and gradients whole, until its last micro-batch (torchtitan's ``reshard_after_forward``).
    """
    return sharding in SHARED_WEIGHTS and pipeline == 1


def state_bytes(sharding: Sharding, dealt: int, pipeline: int, trained: bool = True) -> float:
    """Bytes a parameter of a chip, with shares of ``dealt`` chips: weight, gradient and optimizer state.

    Beside them a chip holds what it has gathered: ``gathered_bytes``. Of parameters that are not ``trained`` there are
    16-bit weights alone.
    """
    by_pass = gathered_by_pass(sharding, pipeline)
    if not trained:
        return WEIGHT_BYTES / (dealt if by_pass else 1)
    held_apart = 0 if by_pass and sharding in FULLY else WEIGHT_BYTES
    weights = held_apart / (dealt if by_pass else 1)
    gradients = GRADIENT_BYTES / (dealt if by_pass or sharding == "zero2" else 1)
    return weights + gradients + OPTIMIZER_STATE_BYTES / dealt


def gathered_bytes(sharding: Sharding, pipeline: int, decoder: float, around: float) -> float:
    """16-bit weights that are gathered at once, and the gradients of a decoder before they are summed.

    ``decoder``, ``around``: parameters of one decoder, and of what is around all of them.
    """
    if not gathered_by_pass(sharding, pipeline):
        return 0.0
    return WEIGHT_BYTES * (GATHERED_AT_ONCE * decoder + around) + WEIGHT_BYTES * decoder
