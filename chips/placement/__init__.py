"""Placement: a fused kernel laid out on a dataflow chip, and what part of it a GPU's thread block cluster holds.

program.py        stages, buffers, passes: a fused kernel before it has a place
allocation.py     how many compute and memory units each stage gets
mesh.py           the on-chip network: routes and what every link carries
placing.py        who sits where, and what flows between them
sections.py       the fewest kernels that hold a program which one cannot
placed.py         all of it: ``place(program, chip)``
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
    product_stage,
    turns,
    vector_stage,
)
from chips.placement.sections import sections

__all__ = [
    "OUTSIDE",
    "Buffer",
    "Exchange",
    "FusedProgram",
    "Operand",
    "PlacedKernel",
    "Placement",
    "Stage",
    "TooLarge",
    "fits",
    "place",
    "product_stage",
    "sections",
    "turns",
    "vector_stage",
]
