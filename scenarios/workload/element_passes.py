"""Kernels that pass once over an array: the optimizer's, the loss's, and those of modules that nothing has fused.

Each is told by what it does for an element. Sources: the modules and kernels as they are called in the code of
Megatron-LM, PyTorch and Hugging Face transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from scenarios.framework import Optimizer, Rotary
from scenarios.workload.operators import ACTIVATION_BYTES, Elementwise, Operator, Quantity, Role, Segment, Step


class ElementPass(NamedTuple):
    """What a kernel that passes once over an array does for each of its elements."""

    bytes_read: float
    bytes_written: float
    operations: float = 1.0
    special_functions: float = 0.0


Passes = Mapping[str, ElementPass]

# Passes of an optimizer over its parameters. Megatron-LM's are named as its timers; it zeroes its fp32 gradients, where
# PyTorch drops those that autograd made.
CLIP = {"norm": ElementPass(4, 0, 2), "clip": ElementPass(4, 4)}
OPTIMIZERS: dict[Optimizer, Passes] = {
    "megatron": {
        "clip-main-grad, norm": ElementPass(4, 0, 2),
        "clip-main-grad, scale": ElementPass(4, 4, 2),
        "inner-step": ElementPass(16, 12, 12),  # Adam: gradient, master weight and two moments
        "copy-main-to-model-params": ElementPass(4, 2, 2),
        "zero gradients": ElementPass(0, 4, 2),
    },
    "foreach": CLIP
    | {
        "weight decay": ElementPass(4, 4),
        "first moment": ElementPass(8, 4, 2),
        "second moment, decay": ElementPass(4, 4),
        "second moment": ElementPass(8, 4, 2),
        "root": ElementPass(4, 4, 1, special_functions=1),
        "correction": ElementPass(4, 4),
        "epsilon": ElementPass(4, 4),
        "update": ElementPass(12, 4, 3),
    },
    "fused": CLIP | {"inner-step": ElementPass(16, 12, 12)},
}
# The loss over a split vocabulary as Megatron-LM computes it unless told to fuse it: passes over the logits in fp32.
LOSS = {
    "cast": ElementPass(2, 4),
    "maximum": ElementPass(4, 0),
    "subtraction": ElementPass(4, 4),
    "exponential": ElementPass(4, 4, special_functions=1),
    "sum": ElementPass(4, 0),
    "division": ElementPass(4, 4),
}
LOSS_BACKWARD = {"product": ElementPass(4, 4), "cast": ElementPass(4, 2)}
# The same as PyTorch's cross_entropy of logits in fp32: the softmax is one kernel, the likelihoods are picked from it.
PLAIN_LOSS = {"cast": ElementPass(2, 4), "softmax": ElementPass(4, 4, 3, 1), "pick": ElementPass(0, 0)}
PLAIN_LOSS_BACKWARD = {"pick": ElementPass(0, 4), "softmax": ElementPass(8, 4, 3, 1), "cast": ElementPass(4, 2)}
# RMSNorm in fp32, as Llama's modules call it, and what autograd calls for it. What is a number a row is nothing.
PLAIN_NORM = {
    "to fp32": ElementPass(2, 4),
    "square": ElementPass(4, 4),
    "mean": ElementPass(4, 0),
    "epsilon": ElementPass(0, 0),
    "root": ElementPass(0, 0),
    "product": ElementPass(4, 4),
    "to 16 bits": ElementPass(4, 2),
    "gain": ElementPass(2, 2),
}
PLAIN_NORM_BACKWARD = {
    "gain's gradient": ElementPass(4, 2),
    "gain's gradient, sum": ElementPass(2, 0),
    "gain": ElementPass(2, 2),
    "to fp32": ElementPass(2, 4),
    "product": ElementPass(4, 4),
    "root's gradient": ElementPass(8, 4),
    "root's gradient, sum": ElementPass(4, 0),
    "root": ElementPass(0, 0),
    "root, product": ElementPass(0, 0),
    "mean": ElementPass(0, 4),
    "square, power": ElementPass(4, 4),
    "square, twice": ElementPass(4, 4),
    "square": ElementPass(8, 4),
    "sum": ElementPass(8, 4),
    "to 16 bits": ElementPass(4, 2),
}
ROTARY_OPERATIONS = 6.0  # of an element, with its sine and cosine
ADD = {"add": ElementPass(4, 2)}
# Of queries and of keys, forward and backward. Halves: times cosine; half negated, joined, times sine; sum; backward
# they come apart again. Complex: two values in fp32 are a number, which a product turns. Matrices: of 2 x 2, times two
# values in fp32, and summed.
COMPLEX_ROTARY = {"to fp32": ElementPass(2, 4), "product": ElementPass(4, 4, 3), "to 16 bits": ElementPass(4, 2)}
MATRIX_ROTARY = {
    "to fp32": ElementPass(2, 4),
    "product": ElementPass(4, 8, 2),
    "sum": ElementPass(8, 4),
    "to 16 bits": ElementPass(4, 2),
}
PLAIN_ROTARY: dict[Rotary, tuple[Passes, Passes]] = {
    "halves": (
        {
            "cosine": ElementPass(2, 2),
            "negation": ElementPass(1, 1),
            "join": ElementPass(2, 2),
            "sine": ElementPass(2, 2),
            "sum": ElementPass(4, 2),
        },
        {
            "sine": ElementPass(2, 2),
            "cosine": ElementPass(2, 2),
            "negation": ElementPass(1, 1),
            "first half": ElementPass(1, 2),
            "second half": ElementPass(1, 2),
            "halves": ElementPass(4, 2),
            "sum": ElementPass(4, 2),
        },
    ),
    "complex": (COMPLEX_ROTARY, COMPLEX_ROTARY),
    "matrices": (MATRIX_ROTARY, MATRIX_ROTARY),
}
PLAIN_GATED = {"SiLU": ElementPass(2, 2, 2, 1), "product": ElementPass(4, 2)}
PLAIN_GATED_BACKWARD = {
    "product, gate": ElementPass(4, 2),
    "product, up": ElementPass(4, 2),
    "SiLU": ElementPass(4, 2, 4, 1),
}
PLAIN_GELU, PLAIN_GELU_BACKWARD = {"GELU": ElementPass(2, 2, 4, 1)}, {"GELU": ElementPass(4, 2, 6, 1)}


def kernels(name: str, passes: Passes, elements: Quantity, role: Role | None = None, calls: int = 1) -> list[Operator]:
    """A kernel for each of ``passes`` over an array of so many elements, or so many kernels over its parts."""
    return [
        Elementwise(
            f"{name}, {each}",
            **{field: amount * elements for field, amount in done._asdict().items()},
            plain_calls=calls,
            role=role,
        )
        for each, done in passes.items()
    ]


@lru_cache(2**10)
def optimizer_step(parameters: float, optimizer: Optimizer = "megatron") -> Step:
    """The optimizer on one chip that updates so many parameters."""
    passes = Segment(tuple(kernels("optimizer", OPTIMIZERS[optimizer], parameters, role="optimizer")))
    return Step((Segment(()), passes))  # a kernel boundary lies before it


def plain(operator: Operator, rotary: Rotary, *, backwards: bool) -> list[Operator] | None:
    """The kernels of an element-wise operator as modules call it, one after the other; None where these are no other.

    Of the backward pass, those that autograd calls for it. ``rotary``: how queries and keys are turned.
    """
    if not isinstance(operator, Elementwise):
        return None
    name, written = operator.name + (" backward" if backwards else ""), operator.bytes_written / ACTIVATION_BYTES
    match operator.role:
        case "norm":
            norm = kernels(name, PLAIN_NORM_BACKWARD if backwards else PLAIN_NORM, written / 2)
            return [*norm, *kernels(name, ADD, written / 2)] if backwards else [*kernels(name, ADD, written / 2), *norm]
        case "head norm":
            return kernels(name, PLAIN_NORM_BACKWARD if backwards else PLAIN_NORM, written, calls=2)
        case "rotary":
            return kernels(name, PLAIN_ROTARY[rotary][backwards], operator.operations / ROTARY_OPERATIONS, calls=2)
        case "activation" if operator.plain_calls > 1:
            return kernels(name, PLAIN_GATED_BACKWARD if backwards else PLAIN_GATED, written)
        case "activation":
            return kernels(name, PLAIN_GELU_BACKWARD if backwards else PLAIN_GELU, written)
        case "loss":
            loss = PLAIN_LOSS_BACKWARD if backwards else PLAIN_LOSS
            return kernels(name, loss, operator.bytes_read / ACTIVATION_BYTES)
        case _:
            return None


def compiled(operator: Operator) -> Operator:
    """An operator as a compiler fuses it: queries and keys are turned, no cache is written."""
    if not isinstance(operator, Elementwise) or operator.role != "rotary":
        return operator
    turned = operator.operations / ROTARY_OPERATIONS * ACTIVATION_BYTES
    return replace(operator, bytes_read=turned, bytes_written=turned)
