"""A decoder as a fused program for placement: its operators as stages, its tensors as buffers.

A dataflow chip maps a decoder in one of two ways (``mappings``). *Weight stream*: all tokens are on chip
and stages take turns while the weights pass once. *Token stream*: weights are on chip and tiles of tokens pass through
all stages at once. On a GPU a thread block cluster takes a tile of tokens through stages in turn, and weights stream.
All are built here from the same operators that everything else prices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import ceil

from chips.placement import (
    OUTSIDE,
    Buffer,
    ComputeUnit,
    Exchange,
    FusedProgram,
    Operand,
    Stage,
    product_stage,
    vector_stage,
)
from chips.spec import Dataflow, Gpu
from scenarios.errors import ScenarioError
from scenarios.strategies.dataflow.stages import (
    TILE_TOKENS,
    DataflowGroup,
    all_reduce_seconds,
    state_bytes,
    tokens_of,
)
from scenarios.workload.operators import (
    ACTIVATION_BYTES,
    Attention,
    Collective,
    Decoder,
    Elementwise,
    MatrixProduct,
    Operator,
    Quantity,
    largest,
)

SUM_BYTES = 4
"""Of an element of a gradient that is summed on chip."""
BACKWARD_PRODUCTS = 2.5
"""Products of attention's backward pass, over those of the forward pass."""


def weight_stream(group: DataflowGroup, decoder: Decoder) -> FusedProgram:
    """One decoder with all tokens on chip; every stage works on all of them while its weights pass."""
    exchange = partial(all_reduce_seconds, group)
    return _Builder(group.chip, exchange, decoder, tokens_of(decoder), stationary=False).program("weight stream")


def token_stream(group: DataflowGroup, decoder: Decoder, rows: int = TILE_TOKENS) -> FusedProgram:
    """One decoder with its weights on chip; tiles of ``rows`` tokens pass through all stages at once."""
    exchange = partial(all_reduce_seconds, group)
    rows = min(rows, tokens_of(decoder))
    return _Builder(group.chip, exchange, decoder, rows, stationary=True).program("token stream")


def token_tile(chip: Gpu, decoder: Decoder, rows: int) -> FusedProgram:
    """One decoder for a tile of ``rows`` tokens on a GPU: what one thread block cluster would do at a time.

    An exchange between chips is where the cluster's kernel ends, so that it takes no time in it.
    """
    return _Builder(chip, lambda _: (0.0, 0.0), decoder, rows, stationary=False).program("token tile")


@dataclass
class _Builder:
    """Stages and buffers as they are found, operator by operator, for passes of ``rows`` tokens."""

    chip: Dataflow | Gpu
    exchange: Callable[[Collective], tuple[Quantity, Quantity]]
    """Latency and whole time of a collective."""
    decoder: Decoder
    rows: int
    stationary: bool
    stages: list[Stage] = field(default_factory=list)
    written: list[tuple[str, float, float, int, list[int]]] = field(default_factory=list)
    """Name, bytes, how many of them are held at once, writer and readers of every tensor."""
    unread: list[tuple[int, float]] = field(default_factory=list)
    """(tensor, bytes) that nobody has read yet, oldest first."""
    given: list[int] = field(default_factory=list)
    """Tensors that the last product has read: a weight gradient reads the same."""
    sums_bytes: float = 0.0
    """Sums of weight gradients that cross memory."""

    @cached_property
    def part(self) -> float:
        """Share of the operators' tokens that one pass takes."""
        return self.rows / tokens_of(self.decoder)

    @cached_property
    def unit(self) -> ComputeUnit:
        """A unit on what has no precision of its own."""
        return ComputeUnit.of(self.chip)

    def program(self, name: str) -> FusedProgram:
        for operator in self.decoder.operators:
            self._add(operator)
        leaving = {tensor for tensor, _ in self.unread}
        buffers = tuple(
            Buffer(tensor, size, held, source, tuple(readers), len(self.stages) if index in leaving else max(readers))
            for index, (tensor, size, held, source, readers) in enumerate(self.written)
        )
        passes = ceil(1 / self.part)
        return FusedProgram(
            f"{name} of one decoder",
            tuple(self.stages),
            buffers,
            "pipelined" if self.stationary else "in turn",
            passes,
            (self.decoder.kept_bytes + self.sums_bytes) / passes,
        )

    def _add(self, operator: Operator) -> None:
        match operator:
            case MatrixProduct(role="weight gradient"):
                self._weight_gradient(operator)
            case MatrixProduct():
                self._product(operator)
            case Attention(backward=True):
                self._attention_backward(operator)
            case Attention():
                self._attention(operator)
            case Elementwise() if state_bytes(operator):
                self.sums_bytes += state_bytes(operator)
            case Elementwise():
                read, written = largest(operator.bytes_read) * self.part, largest(operator.bytes_written) * self.part
                self._read(read, operator.name)
                self.stages.append(
                    vector_stage(
                        self.unit,
                        operator.name,
                        written / ACTIVATION_BYTES,
                        largest(operator.operations) * self.part,
                        largest(operator.special_functions) * self.part,
                        max(read, written),
                    )
                )
                self._write(operator.name, written)
            case Collective():
                self._collective(operator)

    def _product(self, operator: MatrixProduct) -> None:
        if not operator.weights:
            raise ScenarioError(
                f"'{operator.name}' multiplies activations that cross memory; placement knows attention as one kernel."
            )
        rows = largest(operator.m) * self.part
        size = operator.n * operator.k * operator.weight_bytes
        unit = ComputeUnit.of(self.chip, operator.precision)
        times = unit.turns(rows)
        operand = (
            Operand(size, times, resident_bytes=size, loaded_bytes=size)
            if self.stationary
            else Operand(size, times, streamed_bytes=size)
        )
        self.given = self._read(rows * operator.k * ACTIVATION_BYTES, operator.name)
        self.stages.append(product_stage(unit, operator.name, rows, operator.n, operator.k, operand=operand))
        self._write(operator.name, rows * operator.n * ACTIVATION_BYTES)

    def _weight_gradient(self, operator: MatrixProduct) -> None:
        """The input that was kept, transposed, times the gradient of the output, which the stage before reads too.

        Where tiles of tokens pass, its sum stays on chip in fp32 until the last.
        """
        unit = ComputeUnit.of(self.chip, operator.precision)
        tokens, rows = operator.k * self.part, largest(operator.m)
        gradient, kept = tokens * operator.n * ACTIVATION_BYTES, tokens * rows * ACTIVATION_BYTES
        sums = SUM_BYTES * rows * operator.n if self.stationary else 0.0
        operand = Operand(gradient, unit.turns(rows), resident_bytes=sums)
        self._read_outside(kept, operator.name)
        for tensor in self.given:
            self.written[tensor][-1].append(len(self.stages))
        self.stages.append(product_stage(unit, operator.name, rows, operator.n, tokens, operand=operand))

    def _attention_backward(self, operator: Attention) -> None:
        """Scores and softmax again, the gradients of both, and those of queries, keys and values (Dao 2023)."""
        unit, name = self.unit, operator.name
        tokens, copies, rows = self._heads(operator)
        context = largest(operator.context)
        pairs = largest(operator.exponentials) / BACKWARD_PRODUCTS
        keys = pairs / (largest(operator.batch) * operator.heads * largest(operator.tokens))
        width, depth = operator.head_dim * ACTIVATION_BYTES, operator.head_dim
        earlier = self.part < 1 and self.stationary
        read, elements = copies * keys * width, copies * rows * keys
        scores = elements * ACTIVATION_BYTES
        block = scores * min(1.0, TILE_TOKENS / keys)
        whole = copies * context * width if earlier else 0.0
        by_keys = Operand(read, unit.turns(rows), resident_bytes=whole)
        sums = copies * context * depth * SUM_BYTES if earlier else 0.0
        by_queries = Operand(copies * rows * width, unit.turns(keys), resident_bytes=sums)
        self._read_outside(copies * rows * width + 2 * copies * tokens * width, name)
        self.stages.append(product_stage(unit, f"{name}, scores", rows, keys, depth, copies=copies, operand=by_keys))
        self._write(f"{name}, scores", scores, block)
        self._read(scores, name)
        self.stages.append(vector_stage(unit, f"{name}, softmax", elements, 4.0 * elements, elements, scores))
        softmax = len(self.written)
        self._write(f"{name}, weights", scores, block)
        self.unread.pop()
        self._read(copies * rows * width, name)
        gradients = f"{name}, weight gradients"
        self.stages.append(product_stage(unit, gradients, rows, keys, depth, copies=copies, operand=by_keys))
        self._write(gradients, scores, block)
        self._read(scores, name)
        self.written[softmax][-1].append(len(self.stages))
        self.stages.append(vector_stage(unit, f"{name}, score gradients", elements, 3.0 * elements, 0.0, 2.0 * scores))
        differences = len(self.written)
        self._write(f"{name}, score gradients", scores, block)
        self.unread.pop()
        for what, tensor, own, rest, operand, size in (
            ("value gradients", softmax, keys, rows, by_queries, copies * tokens * width),
            ("query gradients", differences, rows, keys, by_keys, copies * rows * width),
            ("key gradients", differences, keys, rows, by_queries, copies * tokens * width),
        ):
            self.written[tensor][-1].append(len(self.stages))
            self.stages.append(product_stage(unit, f"{name}, {what}", own, depth, rest, copies=copies, operand=operand))
            self._write(f"{name}, {what}", size)

    def _attention(self, operator: Attention) -> None:
        """Scores, softmax and values: blocks of keys pass between them, so that scores never lie on chip whole."""
        unit = self.unit
        tokens, copies, rows = self._heads(operator)
        batch, context, queries = (largest(each) for each in (operator.batch, operator.context, operator.tokens))
        keys = largest(operator.flops) / (4.0 * batch * operator.heads * operator.head_dim * queries)
        width = operator.head_dim * ACTIVATION_BYTES
        times = unit.turns(rows)
        read = copies * keys * width
        # Generation reads the cache from memory. A prompt's keys are its own: of this pass, or of the passes before,
        # which either stay on chip or have gone to memory.
        earlier = not operator.decode and self.part < 1
        streamed = read if operator.decode or (earlier and not self.stationary) else 0.0
        resident = copies * context * width if earlier and self.stationary else 0.0
        operand = Operand(read, times, resident_bytes=resident, streamed_bytes=streamed)
        elements = copies * rows * keys
        scores = elements * ACTIVATION_BYTES
        block = scores * min(1.0, TILE_TOKENS / keys)
        self._read(copies * rows * width + 2 * copies * tokens * width, operator.name)
        self.stages.append(
            product_stage(
                unit, f"{operator.name} scores", rows, keys, operator.head_dim, copies=copies, operand=operand
            )
        )
        self._write(f"{operator.name} scores", scores, block)
        self._read(scores, operator.name)
        # Scale, maximum, difference and sum beside the exponential: the online softmax.
        self.stages.append(vector_stage(unit, f"{operator.name} softmax", elements, 4.0 * elements, elements, scores))
        self._write(f"{operator.name} weights", scores, block)
        self._read(scores, operator.name)
        self.stages.append(
            product_stage(
                unit, f"{operator.name} values", rows, operator.head_dim, keys, copies=copies, operand=operand
            )
        )
        self._write(operator.name, copies * rows * width)

    def _heads(self, operator: Attention) -> tuple[float, int, float]:
        """Tokens of a sequence in one pass, key-value heads of all its sequences, and rows of queries that share one.

        Of one sequence up to its tile of tokens; what is left of a tile are more sequences.
        """
        queries = largest(operator.tokens)
        tokens = min(queries, self.rows)
        sequences = max(1, round(largest(operator.batch) * queries * self.part / tokens))
        return tokens, sequences * operator.kv_heads, tokens * operator.heads // operator.kv_heads

    def _collective(self, operator: Collective) -> None:
        latency, seconds = (largest(each) for each in self.exchange(operator))
        size = largest(operator.payload_bytes) * self.part
        # In the token stream all collectives share the link at the same time.
        streams = sum(isinstance(other, Collective) for other in self.decoder.operators) if self.stationary else 1
        added = size / ACTIVATION_BYTES
        self._read(size, operator.name)
        stage = vector_stage(self.unit, operator.name, added, added, 0.0, 2 * size)
        exchange = Exchange(size, streams * (seconds - latency) * self.part, latency)
        self.stages.append(Stage(stage.name, stage.blocks, stage.block_seconds, exchange=exchange))
        self._write(operator.name, size)

    def _write(self, name: str, size: float, held: float | None = None) -> None:
        self.unread.append((len(self.written), size))
        self.written.append((name, size, size if held is None else held, len(self.stages) - 1, []))

    def _read_outside(self, size: float, name: str) -> int:
        """The next stage reads what comes from before: its number among the tensors."""
        self.written.append((f"{name} input", size, size, OUTSIDE, [len(self.stages)]))
        return len(self.written) - 1

    def _read(self, size: float, name: str) -> list[int]:
        """The next stage reads the newest tensors that nobody has; what they do not have comes from before.

        Returns which.
        """
        reader = len(self.stages)
        found: list[int] = []
        while size > 0.5:
            if not self.unread:
                return [*found, self._read_outside(size, name)]
            tensor, left = self.unread.pop()
            own, whole, _, source, readers = self.written[tensor]
            if left > size + 0.5:  # the rest is a tensor of its own: the residual beside what is normalised
                self.written[tensor] = (own, size, size, source, readers)
                self.unread.append((len(self.written), left - size))
                self.written.append((f"{own}, kept", whole - size, whole - size, source, []))
            readers.append(reader)
            found.append(tensor)
            size -= left
        return found
