"""A decoder as a fused program for placement: its operators as stages, its tensors as buffers.

A dataflow chip maps a decoder in one of two ways (``strategies/dataflow.py``). *Weight stream*: all tokens are on chip
and stages take turns while the weights pass once. *Token stream*: weights are on chip and tiles of tokens pass through
all stages at once. Both are built here from the same operators that everything else prices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

import numpy as np

from chips.placement import OUTSIDE, Buffer, Exchange, FusedProgram, Operand, Stage, product_stage, turns, vector_stage
from chips.spec import ELEMENT_BYTES
from scenarios.errors import ScenarioError
from scenarios.operators import ACTIVATION_BYTES, Attention, Collective, Elementwise, MatrixProduct, Operator, Step
from scenarios.strategies.dataflow_machine import TILE_TOKENS, DataflowMachine, all_reduce_seconds, tokens_of


def weight_stream(machine: DataflowMachine, step: Step) -> FusedProgram:
    """One decoder with all tokens on chip; every stage works on all of them while its weights pass."""
    return _Builder(machine, step, tokens_of(step), stationary=False).program("weight stream")


def token_stream(machine: DataflowMachine, step: Step) -> FusedProgram:
    """One decoder with its weights on chip; tiles of tokens pass through all stages at once."""
    return _Builder(machine, step, min(TILE_TOKENS, tokens_of(step)), stationary=True).program("token stream")


@dataclass
class _Builder:
    """Stages and buffers as they are found, operator by operator, for passes of ``rows`` tokens."""

    machine: DataflowMachine
    step: Step
    rows: int
    stationary: bool
    stages: list[Stage] = field(default_factory=list)
    written: list[tuple[str, float, float, int, list[int]]] = field(default_factory=list)
    """Name, bytes, how many of them are held at once, writer and readers of every tensor."""
    unread: list[tuple[int, float]] = field(default_factory=list)
    """(tensor, bytes) that nobody has read yet, oldest first."""

    @property
    def part(self) -> float:
        """Share of the operators' tokens that one pass takes."""
        return self.rows / tokens_of(self.step)

    def program(self, name: str) -> FusedProgram:
        for operator in self.step.decoder:
            self._add(operator)
        leaving = {tensor for tensor, _ in self.unread}
        buffers = tuple(
            Buffer(name, size, held, source, tuple(readers), len(self.stages) if index in leaving else max(readers))
            for index, (name, size, held, source, readers) in enumerate(self.written)
        )
        passes = ceil(1 / self.part)
        return FusedProgram(
            f"{name} of one decoder",
            tuple(self.stages),
            buffers,
            "pipelined" if self.stationary else "in turn",
            passes,
            self.step.kept_bytes / passes,
        )

    def _add(self, operator: Operator) -> None:
        match operator:
            case MatrixProduct():
                self._product(operator)
            case Attention():
                self._attention(operator)
            case Elementwise():
                read, written = operator.bytes_read * self.part, operator.bytes_written * self.part
                self._read(read, operator.name)
                self.stages.append(
                    vector_stage(
                        self.machine.chip,
                        operator.name,
                        written / ACTIVATION_BYTES,
                        operator.operations * self.part,
                        operator.special_functions * self.part,
                        max(read, written),
                    )
                )
                self._write(operator.name, written)
            case Collective():
                self._collective(operator)

    def _product(self, operator: MatrixProduct) -> None:
        if not operator.weights:
            raise ScenarioError(f"'{operator.name}' multiplies activations; placement knows forward passes only.")
        rows = operator.m * self.part
        size = operator.n * operator.k * ELEMENT_BYTES[operator.precision] * 1.0
        times = turns(self.machine.chip, rows, operator.precision)
        operand = (
            Operand(size, times, resident_bytes=size, loaded_bytes=size)
            if self.stationary
            else Operand(size, times, streamed_bytes=size)
        )
        self._read(rows * operator.k * ACTIVATION_BYTES, operator.name)
        self.stages.append(
            product_stage(
                self.machine.chip,
                operator.name,
                rows,
                operator.n,
                operator.k,
                precision=operator.precision,
                operand=operand,
            )
        )
        self._write(operator.name, rows * operator.n * ACTIVATION_BYTES)

    def _attention(self, operator: Attention) -> None:
        """Scores, softmax and values: blocks of keys pass between them, so that scores never lie on chip whole."""
        chip = self.machine.chip
        # Of one sequence up to its tile of tokens; what is left of a tile are more sequences.
        tokens = min(operator.tokens, self.rows)
        sequences = max(1, round(operator.batch * operator.tokens * self.part / tokens))
        copies, rows = sequences * operator.kv_heads, tokens * operator.heads // operator.kv_heads
        context = float(np.max(operator.context))
        keys = float(np.max(operator.flops)) / (
            4.0 * operator.batch * operator.heads * operator.head_dim * operator.tokens
        )
        width = operator.head_dim * ACTIVATION_BYTES
        times = turns(chip, rows)
        read = copies * keys * width
        # Generation reads the cache from memory; a prompt's keys are this pass's own, and stay on chip until it ends.
        streamed = read if operator.decode else 0.0
        resident = copies * context * width if self.stationary and not operator.decode else 0.0
        operand = Operand(read, times, resident_bytes=resident, streamed_bytes=streamed)
        elements = copies * rows * keys
        scores = elements * ACTIVATION_BYTES
        block = scores * min(1.0, TILE_TOKENS / keys)
        self._read(copies * rows * width + 2 * copies * tokens * width, operator.name)
        self.stages.append(
            product_stage(
                chip, f"{operator.name} scores", rows, keys, operator.head_dim, copies=copies, operand=operand
            )
        )
        self._write(f"{operator.name} scores", scores, block)
        self._read(scores, operator.name)
        # Scale, maximum, difference and sum beside the exponential: the online softmax.
        self.stages.append(vector_stage(chip, f"{operator.name} softmax", elements, 4.0 * elements, elements, scores))
        self._write(f"{operator.name} weights", scores, block)
        self._read(scores, operator.name)
        self.stages.append(
            product_stage(
                chip, f"{operator.name} values", rows, operator.head_dim, keys, copies=copies, operand=operand
            )
        )
        self._write(operator.name, copies * rows * width)

    def _collective(self, operator: Collective) -> None:
        latency, seconds = all_reduce_seconds(self.machine, operator)
        size = operator.payload_bytes * self.part
        # In the token stream all collectives share the link at the same time.
        streams = sum(isinstance(other, Collective) for other in self.step.decoder) if self.stationary else 1
        added = size / ACTIVATION_BYTES
        self._read(size, operator.name)
        stage = vector_stage(self.machine.chip, operator.name, added, added, 0.0, 2 * size)
        exchange = Exchange(size, streams * (seconds - latency) * self.part, latency)
        self.stages.append(Stage(stage.name, stage.blocks, stage.block_seconds, exchange=exchange))
        self._write(operator.name, size)

    def _write(self, name: str, size: float, held: float | None = None) -> None:
        self.unread.append((len(self.written), size))
        self.written.append((name, size, size if held is None else held, len(self.stages) - 1, []))

    def _read(self, size: float, name: str) -> None:
        """The next stage reads the newest tensors that nobody has; what they do not have comes from before."""
        reader = len(self.stages)
        while size > 0.5:
            if not self.unread:
                self.written.append((f"{name} input", size, size, OUTSIDE, [reader]))
                return
            tensor, left = self.unread.pop()
            own, whole, _, source, readers = self.written[tensor]
            if left > size + 0.5:  # the rest is a tensor of its own: the residual beside what is normalised
                self.written[tensor] = (own, size, size, source, readers)
                self.unread.append((len(self.written), left - size))
                self.written.append((f"{own}, kept", whole - size, whole - size, source, []))
            readers.append(reader)
            size -= left
