"""The warps of a thread block: what a step of a tile program takes of them, and how much of it hides behind the rest.

A matrix instruction is either asynchronous (``wgmma``: the matrix unit reads shared memory while the warps go on) or a
warp's own (``mma.sync``: the warp reads operands into its registers and hands them over). Belongs here: one step on one
streaming multiprocessor; how steps follow each other is in ``chips.tiles.gpu``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, prod

from chips.kernels.matmul.tiles import ACCUMULATOR_BYTES, SHARED_BYTES_PER_CLOCK
from chips.spec import Gpu
from chips.tiles.compiler import ELEMENT_BYTES, tile_bytes
from chips.tiles.language import Operation

WARP_THREADS = 32
LEAST_ROWS = 16
"""Rows of one ``mma.sync`` (PTX ISA, m16n8k16)."""
SCHEDULERS = 4
"""Of a streaming multiprocessor; a thread block has a warp for each at least."""
THREAD_REGISTERS = 255
"""Most 32-bit registers of a thread: CUDA programming guide."""


@dataclass(frozen=True)
class Warps:
    """How a thread block is cut into warps: ``rows`` of its products each, and ``resident`` blocks side by side."""

    rows: int
    resident: int


@dataclass
class Cycles:
    """Clock cycles of operations on the engines of one streaming multiprocessor.

    ``matrix``: in the matrix unit. ``handing``: of warps that read operands and hand them to it, where matrix
    instructions are a warp's own.
    """

    load: float = 0.0
    matrix: float = 0.0
    handing: float = 0.0
    vector: float = 0.0
    store: float = 0.0

    def consumers(self, chip: Gpu, asynchronous: bool, resident: int, beside: bool = True) -> float:
        """Matrix and vector work of one thread block, beside the others that are resident.

        Asynchronous: the shorter hides behind the longer, up to the generation's ``overlap``, if registers hold the
        products of two iterations (``beside``); else they take turns. Synchronous: handing
        over and vector work are both done by the warps, in turn. Where the matrix unit is slower than they hand over,
        they wait for it; another block's warps use that wait. So a block takes as long as the matrix unit, the warps'
        own work, or its share of the chain of both, whichever is longest.
        """
        if asynchronous and not beside:
            return self.matrix + self.vector
        if asynchronous:
            return self.matrix + self.vector - chip.generation.attention.overlap * min(self.matrix, self.vector)
        chain = max(self.matrix, self.handing) + self.vector
        return max(self.matrix, self.handing + self.vector, chain / resident)


def warps_of(operations: list[Operation], blocks: int, chip: Gpu, asynchronous: bool) -> Warps:
    """Warps for all ``operations`` of a thread block, where a streaming multiprocessor has ``blocks`` of them to do.

    Warps share a tile by rows, so that a row's softmax stays in one warp (Dao 2023, section 3.3): as many rows as
    leave the accumulators of every product in a thread's registers. Registers and shared memory decide how many
    blocks are resident; one whose loads run ahead asynchronously takes the shared memory alone.
    """
    products = [operation for operation in operations if operation.flop]
    rows = max((operation.shape[0] for operation in products), default=LEAST_ROWS)
    columns = sum(operation.shape[1] for operation in products)
    held = columns * ACCUMULATOR_BYTES / WARP_THREADS
    most = THREAD_REGISTERS * ACCUMULATOR_BYTES
    fits = [side for side in (4, 2) if side * LEAST_ROWS * held <= most and side * LEAST_ROWS * SCHEDULERS <= rows]
    each = LEAST_ROWS * max(fits, default=1)
    if asynchronous:
        return Warps(each, 1)
    registers = ceil(rows / each) * WARP_THREADS * most
    shared = sum(tile_bytes(operation) for operation in operations if operation.kind == "load")
    resident = min(
        blocks, chip.on_chip.register_bytes // registers, chip.on_chip.shared_bytes // shared if shared else blocks
    )
    return Warps(each, max(int(resident), 1))


def two_iterations_fit(operations: list[Operation], chip: Gpu) -> bool:
    """Whether registers (or tensor memory) hold the products of one iteration while the softmax of another runs.

    What is added up from iteration to iteration is there once, other products twice.
    """
    products = [operation for operation in operations if operation.flop]
    held = sum(
        prod(product.shape) * (1 if len(product.inputs) > 2 and product.inputs[2].kind != "load" else 2)
        for product in products
    )
    return held * ACCUMULATOR_BYTES <= max(chip.on_chip.register_bytes, chip.on_chip.tensor_bytes)


def cycles_of(
    operations: list[Operation], chip: Gpu, asynchronous: bool, rows: int, times: Callable[[Operation], int]
) -> Cycles:
    """Clock cycles of operations, each run ``times``, by warps of ``rows`` rows."""
    coefficients, attention, compute = chip.generation.matmul, chip.generation.attention, chip.compute
    exponentials = any(operation.exponentials for operation in operations)
    efficiency = attention.matrix_efficiency if exponentials and asynchronous else coefficients.matrix_efficiency
    # Warps share products that no row-wise work follows in squares, as matrix-product libraries do.
    reader = rows if any(operation.kind == "vector" for operation in operations) else coefficients.instruction_rows
    found = Cycles()
    for operation in operations:
        runs = times(operation)
        if operation.kind == "load":
            found.load += runs * tile_bytes(operation) / coefficients.load_bytes_per_clock
        elif operation.kind == "store":
            found.store += runs * tile_bytes(operation) / coefficients.store_bytes_per_clock
        elif operation.flop:
            found.matrix += runs * operation.flop / (compute.matrix_flop_per_clock["bf16"] * efficiency)
            handing = operation.flop / chip.on_chip.warp_matrix_flop_per_clock
            found.handing += runs * max(handing, _operand_bytes(operation, reader) / SHARED_BYTES_PER_CLOCK)
        found.vector += runs * operation.vector / compute.vector_lanes
        found.vector += runs * operation.exponentials / compute.special_functions_per_clock
    return found


def _operand_bytes(product: Operation, rows: int) -> int:
    """Bytes that warps of ``rows`` rows read from shared memory: all of the right operand each, and their rows.

    A left operand that the warps have computed is in their registers.
    """
    left, right = (prod(operand.shape) * ELEMENT_BYTES for operand in product.inputs[:2])
    return ceil(product.shape[0] / rows) * right + (left if product.inputs[0].kind == "load" else 0)
