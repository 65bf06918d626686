"""What products that take FP8 need before them: who casts their inputs and gradients, in how many kernels.

Transformer Engine (delayed scales): a kernel writes two FP8 arrays, one of them transposed for the weight gradient; a
normalisation writes them instead of its 16-bit output. PyTorch's torchao (dynamic scales) under a compiler: a kernel
finds the largest element, the next casts; the transposed array is cast again in the backward pass, weights too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scenarios.workload.element_passes import ElementPass, kernels
from scenarios.workload.operators import Collective, Elementwise, MatrixProduct, Operator

SCALED_CAST = {"largest": ElementPass(2, 0), "to FP8": ElementPass(2, 1, 2)}
TRANSPOSED_CAST = {"to FP8, transposed": ElementPass(2, 1, 2)}


def _cast(name: str, elements: int) -> Elementwise:
    """16-bit elements as two FP8 arrays, one of them transposed."""
    return Elementwise(f"{name} to FP8", 2.0 * elements, 2.0 * elements, 2.0 * elements, plain_calls=1, role="cast")


def _in_fp8(operator: Operator) -> bool:
    return isinstance(operator, MatrixProduct) and operator.precision == "fp8"


def with_casts(decoder: Sequence[Operator]) -> list[Operator]:
    """A decoder whose products take FP8, as Transformer Engine casts for them."""
    made: list[Operator] = []
    before: Operator | None = None
    for operator in decoder:
        normalised = before is not None and before.role == "norm"
        if isinstance(operator, MatrixProduct) and _in_fp8(operator) and not normalised:
            assert isinstance(operator.m, int)
            made.append(_cast(f"{operator.name} input", operator.m * operator.k))
        made.append(operator)
        if not isinstance(operator, Collective):
            before = operator
    return made


def gradient_cast(product: MatrixProduct) -> list[Operator]:
    """What Transformer Engine does to the gradient of a product's output before its backward products."""
    assert isinstance(product.m, int)
    return [_cast(f"{product.name} output gradient", product.m * product.n)] if _in_fp8(product) else []


def with_scaled_casts(decoder: Sequence[Operator]) -> list[Operator]:
    """A decoder whose products take FP8, as torchao casts for them; joined ones share their input."""
    made: list[Operator] = []
    for operator in decoder:
        if isinstance(operator, MatrixProduct) and _in_fp8(operator):
            made += kernels(f"{operator.name} input", SCALED_CAST, operator.m * operator.k, "cast")
            made += kernels(f"{operator.name} weights", SCALED_CAST, operator.n * operator.k, "cast")
        made.append(operator)
    return made


def scaled_gradient_casts(product: MatrixProduct) -> list[Operator]:
    """What torchao does before the backward products of one: its output's gradient, and its operands transposed."""
    if not _in_fp8(product):
        return []
    gradient, inputs, weights = product.m * product.n, product.m * product.k, product.n * product.k
    return [
        *kernels(f"{product.name} output gradient", SCALED_CAST | TRANSPOSED_CAST, gradient, "cast"),
        *kernels(f"{product.name} input", TRANSPOSED_CAST, inputs, "cast"),
        *kernels(f"{product.name} weights", TRANSPOSED_CAST, weights, "cast"),
    ]


def gathered_in_fp8(operators: Sequence[Operator], ranks: int) -> list[Operator]:
    """Under sequence parallelism what a product takes in FP8 is cast before it is gathered: a rank's share, half of the
    bytes (Transformer Engine).
    """
    made = list(operators)
    for place, gather in enumerate(made[:-1]):
        if not (isinstance(gather, Collective) and gather.operation == "all_gather"):
            continue
        taken = made[place + 1]
        half = replace(gather, payload_bytes=gather.payload_bytes / 2)
        if _in_fp8(taken):
            made[place] = half
        elif isinstance(taken, Elementwise) and taken.role == "cast":
            share = {key: getattr(taken, key) / ranks for key in ("bytes_read", "bytes_written", "operations")}
            made[place : place + 2] = [replace(taken, **share), half]
    return made
