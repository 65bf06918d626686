"""What one compute unit does with a block of work: a PCU of a dataflow chip, a streaming multiprocessor of a GPU.

From here come the stages of a program. How many units a stage gets is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from chips.placement.program import Operand, Stage
from chips.spec import Dataflow, Gpu, Precision


@dataclass(frozen=True)
class ComputeUnit:
    """One unit. A block of a product is ``lanes`` columns, ``depth`` rows and ``lanes`` deep.

    The second operand of a product is as wide as the lanes and is read through a port of ``port_bytes_per_clock``; the
    first is ``depth`` rows narrow. ``block_cycles``: one block, at the efficiency that products reach.
    """

    lanes: int
    depth: int
    block_cycles: float
    special_functions_per_clock: float
    port_bytes_per_clock: float
    clock_hz: float

    @classmethod
    def of(cls, chip: Dataflow | Gpu, precision: Precision = "bf16") -> ComputeUnit:
        """The unit of ``chip``. On a dataflow chip a systolic array of lanes x depth multiply-accumulates a clock; on a
        GPU the depth is the rows of a matrix instruction."""
        compute, rate = chip.compute, chip.compute.matrix_flop_per_clock[precision]
        if isinstance(chip, Gpu):
            depth, efficiency = chip.generation.matmul.instruction_rows, chip.generation.matmul.matrix_efficiency
            port = chip.generation.matmul.load_bytes_per_clock
        else:
            depth, efficiency = max(1, rate // (2 * compute.vector_lanes)), chip.timing.matrix_efficiency
            port = chip.on_chip.port_bytes_per_clock
        cycles = 2 * depth * compute.vector_lanes**2 / (rate * efficiency)
        return cls(compute.vector_lanes, depth, cycles, compute.special_functions_per_clock, port, compute.clock_hz)

    def turns(self, rows: float) -> int:
        """Times that the wide operand is read for ``rows`` of the narrow one."""
        return ceil(rows / self.depth)


def product_stage(
    unit: ComputeUnit,
    name: str,
    rows: float,
    columns: float,
    depth: float,
    *,
    copies: int = 1,
    operand: Operand,
) -> Stage:
    """``copies`` products (rows, depth) x (depth, columns); ``operand``: of all of them, (depth, columns) each.

    The narrow operand is multicast to the units; ``operand.turns`` is ``unit.turns(rows)``.
    """
    seconds = operand.turns * unit.block_cycles / unit.clock_hz
    blocks = copies * ceil(columns / unit.lanes), ceil(depth / unit.lanes)
    return Stage(name, blocks, seconds, rows, copies, operand)


def vector_stage(
    unit: ComputeUnit, name: str, elements: float, operations: float, special: float, moved_bytes: float
) -> Stage:
    """Element-wise work on ``elements``: ``operations`` in the lanes, ``special`` functions beside them.

    Rates as the datasheet counts them (a multiply-accumulate is two operations). ``moved_bytes``: what goes in, or
    comes out if that is more; a port takes so many bytes a clock. A block is one vector of lanes.
    """
    cycles = operations / (2 * unit.lanes) + special / unit.special_functions_per_clock
    cycles = max(cycles, moved_bytes / unit.port_bytes_per_clock)
    blocks = max(1, ceil(elements / unit.lanes))
    return Stage(name, (blocks, 1), cycles / unit.clock_hz / blocks)
