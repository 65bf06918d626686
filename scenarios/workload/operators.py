"""The four kinds of operator that one chip computes, with their FLOPs and bytes, and a pass made of them.

Not here: which operators a decoder has (``scenarios.workload.decoder``), what anything costs in time, how operators
become kernels. All bytes and FLOPs are of one chip.

An operator may stand for several passes side by side that differ in batch or context: these are then arrays (passes,),
and so is what follows from them (``several``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from chips.kernels.quantize import Scales
from chips.spec import ELEMENT_BYTES, KvPrecision, Precision
from scenarios.framework import Converted

ACTIVATION_BYTES = 2  # between operators activations are in bf16; a product of fewer bits has its input converted
Quantity = float | NDArray[np.float64]
Count = int | NDArray[np.float64]
Part = Literal["matmul", "attention", "other", "allreduce"]
Role = Literal[
    "norm", "head norm", "rotary", "activation", "cast", "loss", "weight gradient", "accumulation", "optimizer"
]
"""What an operator is for, where something asks for it. ``norm``: a normalisation of the residual stream, with the add
before it; ``head norm``: of each query and key; ``rotary``: the rotary embedding; ``activation``: of the MLP;
``cast``: of what a product takes, to FP8; ``accumulation``: of weight gradients over micro-batches; ``optimizer``: a
pass over the weights with their gradients and states.
"""


def largest(quantity: Quantity) -> float:
    """The quantity itself, or of several passes side by side the largest."""
    return float(quantity.max()) if isinstance(quantity, np.ndarray) else quantity


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """C[m,n] = A[m,k] B[k,n] with B the weights; ``weights`` False when B is an activation or gradient.

    ``precision``: what is multiplied. ``weight_bits``: of a stored weight with its part of scales, where it is stored
    in others. ``block_scales``: products of a block of 128 have a scale of their own. ``count`` independent products of
    this shape are one kernel. ``exact``: FP8 products are added in fp32. ``widths``: of the products that it joins,
    which a framework that fuses nothing runs apart.
    """

    name: str
    m: Count
    n: int
    k: int
    precision: Precision
    part: Part = "matmul"
    weights: bool = True
    count: int = 1
    exact: bool = False
    widths: tuple[int, ...] = ()
    role: Role | None = None
    weight_bits: float | None = None
    block_scales: bool = False

    @property
    def several(self) -> bool:
        return isinstance(self.m, np.ndarray)

    @property
    def weight_bytes(self) -> float:
        """Of one stored weight, with its part of scales."""
        return ELEMENT_BYTES[self.precision] if self.weight_bits is None else self.weight_bits / 8.0

    @property
    def plain_calls(self) -> int:
        return len(self.widths) or 1

    @property
    def flops(self) -> Quantity:
        return 2.0 * self.count * self.m * self.n * self.k

    @property
    def stream_bytes(self) -> float:
        """Bytes that only this operator reads and that live in off-chip memory: its weights."""
        return self.n * self.k * self.weight_bytes if self.weights else 0.0

    @property
    def activation_bytes(self) -> Quantity:
        """Bytes of input and output that cross memory when the operator is a kernel of its own."""
        return 1.0 * self.count * self.m * (self.k * ELEMENT_BYTES[self.precision] + self.n * ACTIVATION_BYTES)


@dataclass(frozen=True, slots=True)
class Attention:
    """Scaled dot-product attention of ``tokens`` query tokens a sequence over ``context`` keys (causal).

    ``kv_entry_bytes``: of the KV cache, for each key with its value, which are stored in ``kv_precision``.
    ``groups``: that share a sequence, each with as many of its tokens, which pass so many bytes on in a ring.
    """

    name: str
    batch: Count
    tokens: Count
    context: Count
    heads: int
    kv_heads: int
    head_dim: int
    kv_entry_bytes: float
    kv_precision: KvPrecision = "bf16"
    backward: bool = False
    plain_calls: int = 1
    part: Part = "attention"
    role: Role | None = None
    groups: int = 1
    passed_bytes: float = 0.0

    @property
    def several(self) -> bool:
        return any(isinstance(size, np.ndarray) for size in (self.batch, self.tokens, self.context))

    @property
    def decode(self) -> bool:
        return isinstance(self.tokens, int) and self.tokens == 1

    @property
    def flops(self) -> Quantity:
        """Two products over the keys that causality leaves; the backward pass has five (FlashAttention-2)."""
        hidden_keys = self.tokens * (self.tokens - 1) / 2
        forward = 4.0 * self.batch * self.heads * self.head_dim * (self.tokens * self.context - hidden_keys)
        return 2.5 * forward if self.backward else forward

    @property
    def exponentials(self) -> Quantity:
        return self.flops / (4.0 * self.head_dim)

    @property
    def round(self) -> Attention:
        """What a group computes with the keys of one: half of all pairs, as of its own (causal, balanced)."""
        return replace(self, context=self.tokens, groups=1, passed_bytes=0.0)

    @property
    def stream_bytes(self) -> Quantity:
        """KV cache read from memory; in prefill the keys are this layer's own activations."""
        if not self.decode:
            return 0.0
        return 1.0 * self.batch * self.context * self.kv_entry_bytes

    @property
    def activation_bytes(self) -> Quantity:
        rows = self.batch * self.tokens * self.head_dim
        return 1.0 * rows * (2 * self.heads + 2 * self.kv_heads) * ACTIVATION_BYTES


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A memory-bound operator: normalisation, rotary embedding, SiLU-multiply, residual add, sampling, optimizer."""

    name: str
    bytes_read: Quantity
    bytes_written: Quantity
    operations: Quantity
    special_functions: Quantity = 0.0
    passes: int = 1
    plain_calls: int = 1
    part: Part = "other"
    role: Role | None = None

    @property
    def several(self) -> bool:
        return isinstance(self.bytes_read, np.ndarray)

    @property
    def flops(self) -> Quantity:
        return self.operations

    @property
    def stream_bytes(self) -> float:
        return 0.0

    @property
    def activation_bytes(self) -> Quantity:
        return self.bytes_read + self.bytes_written


@dataclass(frozen=True, slots=True)
class Collective:
    """A collective between the chips of the group; ``payload_bytes`` as nccl-tests counts it."""

    name: str
    operation: Literal["all_reduce", "all_gather", "reduce_scatter"]
    payload_bytes: Quantity
    plain_calls: int = 1
    part: Part = "allreduce"
    role: Role | None = None

    @property
    def several(self) -> bool:
        return isinstance(self.payload_bytes, np.ndarray)

    @property
    def flops(self) -> float:
        return 0.0

    @property
    def stream_bytes(self) -> float:
        return 0.0

    @property
    def activation_bytes(self) -> Quantity:
        return 2.0 * self.payload_bytes


@dataclass(frozen=True, slots=True)
class Conversion(Elementwise):
    """Activations (``rows``, ``width``) on their way into a product of fewer bits.

    ``searches``: a pass before, which finds the scale of the whole input; otherwise they are converted, and scales of
    each row or of blocks in it are found as well. ``after``: what has computed them.
    """

    rows: Quantity = 1.0
    width: int = 1
    precision: Precision = "fp8"
    scales: Scales = "row"
    searches: bool = False
    after: Converted = "norm"


Operator = MatrixProduct | Attention | Elementwise | Collective


@dataclass(frozen=True, slots=True)
class Segment:
    """Operators that run once, one after the other: what comes before the decoders, or after them."""

    operators: tuple[Operator, ...]

    @property
    def times(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class Decoder(Segment):
    """The operators of one decoder, of which ``layers`` alike follow each other.

    ``kept_bytes``: activations of one that a training step writes for its backward pass, or reads there.
    """

    layers: int
    kept_bytes: float = 0.0

    @property
    def times(self) -> int:
        return self.layers


def passes_in(operators: Sequence[Operator]) -> int:
    """How many passes side by side the operators stand for."""
    return max((int(np.size(each.flops + each.activation_bytes)) for each in operators), default=1)


def one_pass(segment: Segment, pick: Callable[[NDArray[np.float64]], float]) -> Segment:
    """A segment of passes side by side as that of a single one: of every size the number that ``pick`` takes."""

    def single(operator: Operator) -> Operator:
        sizes = {each.name: getattr(operator, each.name) for each in fields(operator)}
        counts = ("m", "batch", "tokens", "context")
        picked = {name: float(pick(size)) for name, size in sizes.items() if isinstance(size, np.ndarray)}
        return replace(operator, **{name: int(size) if name in counts else size for name, size in picked.items()})  # type: ignore[arg-type]

    return replace(segment, operators=tuple(map(single, segment.operators)))


@dataclass(frozen=True, slots=True)
class Step:
    """One pass through the model on one chip, segment after segment. An empty one is where others have operators."""

    segments: tuple[Segment, ...]

    @property
    def decoders(self) -> tuple[Decoder, ...]:
        """Every kind of decoder, in their order."""
        return tuple(segment for segment in self.segments if isinstance(segment, Decoder))

    @property
    def operators(self) -> tuple[Operator, ...]:
        """Every operator, those of a decoder once."""
        return tuple(operator for segment in self.segments for operator in segment.operators)

    def part(self, layers: int, of: int, *, begins: bool = True, ends: bool = True) -> Step:
        """The part of the pass that has so many ``of`` its decoders, of each kind in proportion, and what is around."""
        before, *_, after = self.segments
        some = (replace(each, layers=-(-layers * each.layers // of)) for each in self.decoders)
        return Step((before if begins else Segment(()), *some, after if ends else Segment(())))

    @property
    def stream_bytes(self) -> Quantity:
        """Bytes that all operators stream from off-chip memory: weights and KV cache."""
        return self.total(lambda operator: operator.stream_bytes)

    def total(self, quantity: Callable[[Operator], Quantity]) -> Quantity:
        """Sum of ``quantity`` over all operators of the pass; an array where it is of several passes."""
        around = (segment for segment in self.segments if not isinstance(segment, Decoder))
        once = sum(quantity(operator) for segment in around for operator in segment.operators)
        return once + sum(
            each.layers * sum(quantity(operator) for operator in each.operators) for each in self.decoders
        )
