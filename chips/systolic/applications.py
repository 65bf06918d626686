"""The six applications of the TPU v1 paper: layers as data (``applications.toml``), and their run on the machine."""

from __future__ import annotations

from copy import copy
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, TypeAdapter

from chips.catalog_file import CatalogError
from chips.clock.time import Time
from chips.clock.timeline import Buffer
from chips.energy import DYNAMIC
from chips.frozen import Frozen
from chips.spec import Systolic
from chips.systolic.tpu_v1 import Machine
from results.text_file import read_toml

FILE = Path(__file__).with_name("applications.toml")
MEASURED_BATCHES = 2

Kind = Literal["fc", "conv", "vector", "pool"]


class Layer(Frozen):
    """One layer. fc and conv: ``matrices`` x ``kernel`` products (inputs, outputs); others: ``operations`` passes."""

    kind: Kind
    inputs: PositiveInt = Field(1, description="default: no matrix")
    outputs: PositiveInt = Field(1, description="default: no matrix")
    matrices: PositiveInt = Field(1, description="default: one matrix")
    kernel: PositiveInt = Field(1, description="default: a 1 x 1 kernel")
    positions: PositiveInt = Field(1, description="default: one output an example")
    width: PositiveInt = Field(1, description="default: no elements")
    operations: PositiveInt = Field(1, description="default: one pass")

    @property
    def multiplies(self) -> bool:
        return self.kind in ("fc", "conv")

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs * self.matrices * self.kernel if self.multiplies else 0


class Block(Frozen):
    """Layers that follow one another, ``repeat`` times."""

    repeat: PositiveInt
    layers: list[Layer]


class Published(Frozen):
    """Tables 1 and 3 of Jouppi et al. 2017: layers of each kind, and counters in percent of all clocks."""

    layers: dict[Kind, int]
    weights: float
    ops_per_weight_byte: float
    tops: float
    active: float
    useful: float
    weight_stall: float
    weight_shift: float
    non_matrix: float


class Application(Frozen):
    """A network: its layers in order, the examples in a batch, and the bytes of an activation."""

    batch: PositiveInt
    operand_bytes: PositiveInt
    blocks: list[Block]
    published: Published

    @property
    def layers(self) -> list[Layer]:
        return [layer for block in self.blocks for _ in range(block.repeat) for layer in block.layers]

    @property
    def weights(self) -> int:
        return sum(layer.weights for layer in self.layers)

    @property
    def multiplies(self) -> int:
        """Multiply-accumulates of one batch, padding not counted."""
        return self.batch * sum(layer.weights * layer.positions for layer in self.layers)

    @property
    def input_bytes(self) -> int:
        """Of one batch."""
        first = self.layers[0]
        return self.batch * first.inputs * first.positions * self.operand_bytes

    def count(self, kind: Kind) -> int:
        return sum(layer.kind == kind for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Performance:
    """How an application runs, batch after batch: ``tops`` (a multiply-accumulate counts two), shares of all clocks.

    ``joules``: of a batch by cause (``results.words.CAUSES``), static power included.
    """

    seconds_per_batch: float
    tops: float
    active: float
    useful: float
    weight_stall: float
    weight_shift: float
    non_matrix: float
    unified_buffer_bytes: int
    joules: dict[str, float]

    @property
    def watts(self) -> float:
        """Mean power."""
        return sum(self.joules.values()) / self.seconds_per_batch


APPLICATIONS = TypeAdapter(dict[str, Application]).validate_python(read_toml(FILE))


def run(application: Application, chip: Systolic) -> Performance:
    """Run batches until they repeat; the time and the array's clocks of the last ones.

    Raises CatalogError where a layer's activations do not fit the unified buffer.
    """
    held = max(_activation_bytes(application, layer, chip) for layer in application.layers)
    if held > chip.unified_buffer_bytes:
        raise CatalogError(f"A layer keeps {held} bytes in the unified buffer of {chip.unified_buffer_bytes}.")
    machine = Machine(chip)
    inputs = machine.clock.buffer(2)
    _batch(application, machine, inputs)
    start, before, tiles = machine.array_free_ps, copy(machine.gaps), machine.tiles_read
    for _ in range(MEASURED_BATCHES):
        _batch(application, machine, inputs)
    period = machine.array_free_ps - start
    first = asdict(before)
    shares = {name: (spent - first[name]) / period for name, spent in asdict(machine.gaps).items()}
    seconds = period * 1e-12 / MEASURED_BATCHES
    return Performance(
        seconds_per_batch=seconds,
        tops=2.0 * application.multiplies / seconds / 1e12,
        unified_buffer_bytes=held,
        joules=_joules(
            application, chip, (machine.tiles_read - tiles) * machine.tile_bytes / MEASURED_BATCHES, seconds
        ),
        **shares,
    )


def _joules(application: Application, chip: Systolic, weight_bytes: float, seconds: float) -> dict[str, float]:
    """Of a batch: multiply-accumulates, wider operands as several, weights from memory, inputs from the host, time."""
    events = chip.events
    flops = 2.0 * application.multiplies * application.operand_bytes
    spent = events.joules(flops=flops, memory_bytes=weight_bytes, link_bytes=application.input_bytes)
    return dict(zip(DYNAMIC, spent.tolist(), strict=True)) | {"static": events.static_watts * seconds}


def _batch(application: Application, machine: Machine, inputs: Buffer) -> None:
    """One batch; its inputs come in while the batch before computes, into the other slot of ``inputs``."""
    last = application.layers[-1]
    ready = machine.read_host_memory(application.input_bytes, (inputs.acquire(),))
    for number, layer in enumerate(application.layers):
        ready = (_multiply if layer.multiplies else _pass)(application, layer, machine, ready)
        if number == 0:
            inputs.release(ready)
    outputs = (last.outputs if last.multiplies else last.width) * last.positions * application.operand_bytes
    machine.write_host_memory(application.batch * outputs, (ready,))


def _multiply(application: Application, layer: Layer, machine: Machine, ready: Time) -> Time:
    """A matrix layer, block by block of the accumulators. It starts when the layer before has been activated whole."""
    chip, operand_bytes = machine.chip, application.operand_bytes
    total = application.batch * layer.positions
    # As few blocks as the accumulators allow, and those equal: a short one would not cover its tiles' fetch.
    blocks = _pieces(total, ceil(total / ceil(total / machine.accumulator_rows)))
    finish = ready
    for _ in range(layer.matrices):
        for width in _pieces(layer.outputs, chip.columns):
            for rows in blocks:
                free = machine.acquire_accumulators()
                for _ in range(layer.kernel):
                    for height in _pieces(layer.inputs, chip.rows):
                        filled = height * width / (chip.rows * chip.columns)
                        tile = machine.read_weights()
                        finish = machine.matrix_multiply(tile, rows, operand_bytes, filled, (ready, free))
                finish = machine.activate(rows, operand_bytes, finish)
    return finish


def _pass(application: Application, layer: Layer, machine: Machine, ready: Time) -> Time:
    vectors = application.batch * layer.positions * layer.operations * ceil(layer.width / machine.chip.columns)
    return machine.vector(vectors, application.operand_bytes, (ready,))


def _pieces(length: int, most: int) -> list[int]:
    """``length`` cut into pieces of ``most``, the last one shorter."""
    full, rest = divmod(length, most)
    return [most] * full + [rest] * (rest > 0)


def _activation_bytes(application: Application, layer: Layer, chip: Systolic) -> int:
    """Inputs and outputs of a layer, in rows of the unified buffer that are as wide as the array."""
    widths = (layer.inputs, layer.outputs * layer.matrices) if layer.multiplies else (layer.width, layer.width)
    rows = sum(ceil(width / chip.columns) for width in widths)
    return application.batch * layer.positions * application.operand_bytes * rows * chip.columns
