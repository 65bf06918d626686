"""Joules of every event on a chip, and the clock that its power limit allows: one mechanism for energy and for time.

An event is an operation, a byte that moves, or a second that passes. What an event takes is told by cause
(``results.words.CAUSES``): arithmetic, data on the chip, off-chip memory, links, control (instructions, registers, the
clock), and static power, which time costs. Arrays of joules have the causes but static as axis 0, so that joules add up
like times do. Belongs here: what one event takes on a chip. How many events there are is for what counts them: kernels
(``chips.kernels``) and operators (``scenarios.energy``).
"""

from __future__ import annotations

from functools import lru_cache
from math import log
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict

from chips.frozen import Frozen, Source
from chips.quantity import Fraction, Joules, Nanometres
from results.text_file import read_toml
from results.words import CAUSES

Floats = NDArray[np.float64]
TABLES = Path(__file__).parent / "catalog" / "energy"
DYNAMIC = CAUSES[:-1]
"""What events take, beside what time does: axis 0 of all arrays of joules."""
ARITHMETIC, ON_CHIP, HBM, LINKS, CONTROL = range(len(DYNAMIC))
MemoryKind = Literal["hbm2", "hbm2e", "hbm3", "hbm3e", "gddr6", "gddr7", "ddr3", "ddr4", "ddr5"]
NODES = (45.0, 7.0)
FLOP_BYTES = 0.27
"""Bytes of operands and sums a 16-bit operation moves within a GPU's matrix unit: 64 x 256 sums in fp32 read and
written, (64 + 256) x 16 operands read, in an instruction of 64 x 256 x 16 multiply-adds (wgmma, PTX ISA)."""
WARP_OPERAND_BYTES = 0.17
"""That an operation reads beyond these where each warp multiplies operands from its registers: (16 + 8) x 16 values for
16 x 8 x 16 multiply-adds (mma.sync, PTX ISA)."""
INSTRUCTION_OVERHEAD = 0.22
"""Of a matrix instruction beside its arithmetic and operands: fetch, decode, sequencing [recalled: Dally, Hot Chips
2023, HMMA]."""
ZEROS = 0.67
"""Of an operation's joules, where its operands are padding: an 8192-cube of zeros runs at 894 TFLOP/s and one of random
numbers at 785 on an H200, whose power goes with the clock's cube: (785 / 894)^3."""


class ProcessEnergy(NamedTuple):
    """Joules of arithmetic and on-chip memory at one process node, at nominal voltage."""

    int8_multiply: float
    int32_add: float
    bf16_multiply: float
    fp32_add: float
    fp32_multiply: float
    sram_32kb_byte: float
    sram_1mb_byte: float

    def multiply_add(self, precision: str) -> float:
        """Of a multiply-accumulate: products of 16 or fewer bits of floating point are added in fp32, of int8 in int32.

        A floating-point multiplier's joules go with the square of its mantissa; FP8's is a fourth of bf16's [inferred].
        """
        if precision == "int8":
            return self.int8_multiply + self.int32_add
        multiply = {"bf16": self.bf16_multiply, "fp8": self.bf16_multiply / 4.0, "fp32": self.fp32_multiply}[precision]
        return multiply + self.fp32_add


@lru_cache
def process_energy(nanometres: float) -> ProcessEnergy:
    """Joules at a process node: on the straight line through both published nodes, in logarithms [inferred]."""
    tables = read_toml(TABLES / "processes.toml")
    older, newer = (tables[f"{node:g}"] for node in NODES)
    place = log(nanometres / NODES[1]) / log(NODES[0] / NODES[1])
    return ProcessEnergy(**{name: newer[name] * (older[name] / newer[name]) ** place for name in newer})


@lru_cache
def memory_joules_per_byte(kind: MemoryKind) -> float:
    """Of a byte between such memory and the chip's controller."""
    return float(read_toml(TABLES / "memories.toml")[kind])


class ChipEnergy(Frozen):
    """What every chip's file says of its energy."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    process_nm: Nanometres
    """the process node, as its foundry names it, nm."""
    static_power_share: Fraction
    """of the power that the chip is designed for, spent whatever runs: leakage, clocks, memory that is kept."""
    joules_per_link_byte: Annotated[Joules, Source("9 pJ a bit: SerDes of a board, 8 to 10 (approximate)")] = 72e-12
    """of a byte sent to another chip."""


class GpuEnergy(ChipEnergy):
    """What events take on a GPU at its highest clock, fitted to measured clocks and watts."""

    joules_per_flop: Joules
    """a 16-bit operation of the matrix unit, with the on-chip traffic it causes."""
    joules_per_instruction: Joules
    """a lane's share of a vector instruction, with its registers."""
    joules_per_chip_byte: Joules
    """of a byte on its way over L2 and the crossbar to a streaming multiprocessor."""
    least_voltage: Annotated[Fraction, Source("[inferred] lower than any measured clock asks for")] = 0.5
    """the lowest at which the chip runs, of that at its highest clock."""


class ArrayEnergy(ChipEnergy):
    """What events take on an array of units: arithmetic and on-chip memory are those of its process node."""

    joules_per_hop_byte: Annotated[
        Joules, Source("[inferred] a millimetre of wire, 0.08 pJ a bit [recalled: Dally], and a switch")
    ] = 1e-12
    """of a byte from one unit of the mesh to its neighbour."""


class Events(NamedTuple):
    """What one event of each kind takes on a chip, joules by cause (of ``DYNAMIC``); its static and greatest watts, and
    the lowest of its voltages over the highest."""

    flop: Floats
    """a 16-bit operation of the matrix units."""
    instruction: Floats
    """an operation on vector lanes."""
    memory_byte: Floats
    """a byte between off-chip memory and the units that use it."""
    chip_byte: Floats
    """a byte between units of the chip."""
    link_byte: Floats
    """a byte sent to another chip."""
    register_byte: Floats
    """a byte between the registers and the matrix units, beside what an operation moves."""
    static_watts: float
    power_watts: float
    least_voltage: float = 0.0

    def joules(
        self,
        flops: ArrayLike = 0.0,
        instructions: ArrayLike = 0.0,
        memory_bytes: ArrayLike = 0.0,
        chip_bytes: ArrayLike = 0.0,
        link_bytes: ArrayLike = 0.0,
        register_bytes: ArrayLike = 0.0,
    ) -> Floats:
        """What so many events take: (causes, ...). ``flops`` in 16-bit operations, narrower ones by their width."""
        flops, instructions, memory_bytes = np.asarray(flops), np.asarray(instructions), np.asarray(memory_bytes)
        found = [
            self.flop[ARITHMETIC] * flops + self.instruction[ARITHMETIC] * instructions,
            self.flop[ON_CHIP] * flops
            + self.instruction[ON_CHIP] * instructions
            + self.memory_byte[ON_CHIP] * memory_bytes
            + self.chip_byte[ON_CHIP] * np.asarray(chip_bytes)
            + self.register_byte[ON_CHIP] * np.asarray(register_bytes),
            self.memory_byte[HBM] * memory_bytes,
            self.link_byte[LINKS] * np.asarray(link_bytes),
            self.flop[CONTROL] * flops + self.instruction[CONTROL] * instructions,
        ]
        return np.array(np.broadcast_arrays(*found))

    def within_limit(self, joules: Floats, seconds: ArrayLike) -> Floats:
        """``joules`` spent in ``seconds``, of which the chip can draw no more than its limit: its clock is lower then.

        With the clock falls the voltage, and with it what an event on the chip takes; not what memory and links take.
        """
        own, others = joules[ARITHMETIC] + joules[ON_CHIP] + joules[CONTROL], joules[HBM] + joules[LINKS]
        left = (self.power_watts - self.static_watts) * np.asarray(seconds) - others
        share = np.clip(left / np.where(own > 0, own, 1.0), 0.0, 1.0)
        return np.array([row if place in (HBM, LINKS) else row * share for place, row in enumerate(joules)])

    def slower_clock(self, busy: Floats, joules: Floats, seconds: Floats, window: Floats | float) -> Floats:
        """Seconds that ``busy`` of ``seconds`` take longer because ``joules`` in them, all causes together, would
        exceed the power limit.

        The limit is one of an average: a call as short as ``window`` meets half of it, a load that lasts (0) all.
        Dynamic power goes with the cube of the clock, since the voltage follows it. Once the voltage is at its least,
        events take what they take, and last until the limit has allowed that.
        """
        met = seconds / (seconds + window)
        allowed = self.power_watts - self.static_watts
        beyond = np.maximum(1.0, joules / seconds / allowed)
        at_least = joules * self.least_voltage**2 / allowed - seconds
        slower: Floats = np.maximum(busy * (np.cbrt(beyond) - 1.0), at_least) * met
        return slower


def _by_cause(**joules: float) -> Floats:
    return np.array([joules.get(cause, 0.0) for cause in DYNAMIC])


@lru_cache
def gpu_events(energy: GpuEnergy, memory: MemoryKind, power_watts: float, design_watts: float) -> Events:
    """Events of a GPU. The sums are the measured ones; the process node tells arithmetic and data apart from the rest.

    A matrix operation's arithmetic and operands are in the proportion of the node's table; what they take beyond it is
    the voltage of the highest clock, which a vector instruction's arithmetic has too.
    """
    node = process_energy(energy.process_nm)
    arithmetic, data = node.multiply_add("bf16") / 2.0, FLOP_BYTES * node.sram_32kb_byte
    voltage = energy.joules_per_flop / (1.0 + INSTRUCTION_OVERHEAD) / (arithmetic + data)
    lane = min(voltage * node.multiply_add("fp32"), energy.joules_per_instruction)
    on_chip = energy.joules_per_chip_byte
    return Events(
        _by_cause(
            arithmetic=voltage * arithmetic,
            on_chip=voltage * data,
            control=voltage * (arithmetic + data) * INSTRUCTION_OVERHEAD,
        ),
        _by_cause(arithmetic=lane, control=energy.joules_per_instruction - lane),
        _by_cause(hbm=memory_joules_per_byte(memory), on_chip=on_chip),
        _by_cause(on_chip=on_chip),
        _by_cause(links=energy.joules_per_link_byte),
        _by_cause(on_chip=voltage * node.sram_32kb_byte),
        energy.static_power_share * design_watts,
        power_watts,
        energy.least_voltage,
    )


@lru_cache
def array_events(
    energy: ArrayEnergy,
    memory: MemoryKind,
    power_watts: float,
    precision: str,
    flop_bytes: float,
    hops: float,
    unit: tuple[str, ...],
) -> Events:
    """Events of an array of units, which no instruction steers: control is what its clock and its ports take.

    ``precision``: of the units. ``flop_bytes``: of an operation, that enter from memory units beside it. ``hops``: of
    the mesh from off-chip memory to a unit; between units of a pipeline a byte takes one. ``unit``: the memory beside a
    unit, by the published sizes that it lies between.
    """
    node = process_energy(energy.process_nm)
    memory_unit, hop = sum(getattr(node, size) for size in unit) / len(unit), energy.joules_per_hop_byte
    through = 2.0 * memory_unit + hop  # written and read
    return Events(
        _by_cause(arithmetic=node.multiply_add(precision) / 2.0, on_chip=flop_bytes * (memory_unit + hop)),
        _by_cause(arithmetic=node.multiply_add("fp32"), on_chip=4.0 * flop_bytes * (memory_unit + hop)),
        _by_cause(hbm=memory_joules_per_byte(memory), on_chip=through + (hops - 1.0) * hop),
        _by_cause(on_chip=through),
        _by_cause(links=energy.joules_per_link_byte),
        _by_cause(on_chip=memory_unit),
        energy.static_power_share * power_watts,
        power_watts,
    )
