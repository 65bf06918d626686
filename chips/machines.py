"""Kinds of machines that run the same multiply-adds: what each pays beside arithmetic, and what its programmer says.

A scalar CPU pays an instruction an operation, a vector unit shares it between lanes, a matrix unit between thousands of
operations, and an array that is configured, or can do one thing, pays none. All are held to one process node and one
kind of memory, so that only the architecture differs. Figures stand in ``catalog/energy/machines.toml``.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from chips.catalog_file import validate
from chips.energy import INSTRUCTION_OVERHEAD, TABLES, MemoryKind, memory_joules_per_byte, process_energy
from chips.frozen import Frozen
from results.text_file import read_toml

INSTRUCTION_45_NM = 70e-12
"""Joules of a CPU instruction beside its arithmetic: fetch, decode, register file (Horowitz, ISSCC 2014, 45 nm)."""
WARP_LANES = 32
"""Lanes that share an instruction where no matrix unit computes: CUDA programming guide."""
MATRIX_LANES = 1024
"""Multiply-adds of one instruction, above which a matrix unit computes them."""
Amount = Annotated[float, Field(ge=0, le=1e6)]


class Machine(Frozen):
    """One kind of machine, as its section says."""

    title: str
    say: str
    instruction_lanes: Annotated[int, Field(ge=0, le=2**24)]
    instructions: Amount
    operand_bytes: Amount
    sram: Literal["sram_32kb_byte", "sram_1mb_byte"]
    arithmetic: Amount


class Work(NamedTuple):
    """What is computed: multiply-adds, other operations of lanes, bytes that cross off-chip memory."""

    multiply_adds: float
    lane_operations: float
    memory_bytes: float

    @property
    def operations(self) -> float:
        """A multiply-add counts two."""
        return 2.0 * self.multiply_adds + self.lane_operations


class Spent(NamedTuple):
    """Joules by what they are for; static power is not among them, since it goes with time."""

    instruction: float
    on_chip: float
    memory: float
    arithmetic: float

    @property
    def joules(self) -> float:
        return sum(self)


@cache
def machines() -> dict[str, Machine]:
    """All kinds by name, in the order of what their programmers must say. Raises CatalogError for a broken file."""
    path = TABLES / "machines.toml"
    return {name: validate(Machine, table, path) for name, table in read_toml(path).items()}


def spent_on(machine: Machine, work: Work, nanometres: float, memory: MemoryKind, precision: str = "bf16") -> Spent:
    """What the machine takes for ``work`` at a process node, with this memory."""
    node = process_energy(nanometres)
    # Fetching and decoding are reads of small memories and logic beside them: they shrink as those do.
    instruction = INSTRUCTION_45_NM * node.sram_32kb_byte / process_energy(45).sram_32kb_byte
    lanes = machine.instruction_lanes
    arithmetic = work.multiply_adds * node.multiply_add(precision) + work.lane_operations * node.fp32_add
    moved = machine.operand_bytes * (work.multiply_adds + work.lane_operations) * getattr(node, machine.sram)
    issued = 0.0
    if lanes > MATRIX_LANES:
        # Its multiply-adds are steered by what a matrix instruction takes, all else by instructions of a warp.
        issued = INSTRUCTION_OVERHEAD * (work.multiply_adds * node.multiply_add(precision) + moved)
        issued += work.lane_operations * instruction / WARP_LANES
    elif lanes:
        issued = (work.multiply_adds * machine.instructions + work.lane_operations) * instruction / lanes
    memory_joules = work.memory_bytes * memory_joules_per_byte(memory)
    return Spent(issued, moved, memory_joules, arithmetic * machine.arithmetic)
