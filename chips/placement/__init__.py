"""Placement: a fused kernel laid out on a dataflow chip, and what part of it a GPU's thread block cluster holds.

program.py        stages, buffers, passes: a fused kernel before it has a place
unit.py           what one compute unit does with a block of work
allocation.py     how many compute and memory units each stage gets
mesh.py           the on-chip network and what every link carries
placing.py        who sits where, and what flows between them
routing.py        which flows get routes of their own, past links that are too busy
sections.py       the fewest kernels that hold a program which one cannot
placed.py         all of it: ``place(program, chip)``
tile_program.py   a program of the tile language, to be placed like a decoder
thread_blocks.py  the same program on a GPU: what the shared memory of a thread block cluster holds
"""

from chips.placement.allocation import fits
from chips.placement.placed import PlacedKernel, Placement, place
from chips.placement.program import (
    OUTSIDE,
    Buffer,
    Exchange,
    FusedProgram,
    Operand,
    Stage,
    TooLarge,
)
from chips.placement.sections import kernel_count, sections
from chips.placement.thread_blocks import ClusterKernel, cluster_kernels
from chips.placement.tile_program import tile_program
from chips.placement.unit import ComputeUnit, product_stage, vector_stage

__all__ = [
    "OUTSIDE",
    "Buffer",
    "ClusterKernel",
    "ComputeUnit",
    "Exchange",
    "FusedProgram",
    "Operand",
    "PlacedKernel",
    "Placement",
    "Stage",
    "TooLarge",
    "cluster_kernels",
    "fits",
    "kernel_count",
    "place",
    "product_stage",
    "sections",
    "tile_program",
    "vector_stage",
]
