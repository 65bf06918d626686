"""Tile programs: one text that computes values (``run``) and becomes a metapipeline on a chip (``compile_program``).

language.py   what a program says: tiles, loads, products, buffers, metapipelines
stages.py     what a trace's loops consist of: stages, and the buffers that the dataflow needs
compiler.py   stages on a chip's engines, and their time
spatial.py    on a dataflow chip: units and memories for every stage
gpu.py        on a GPU: pipelines of thread blocks
warps.py      on a GPU: what a step takes of a block's warps, and what hides behind the rest
programs/     programs shipped with the simulator
"""

from chips.tiles.compiler import compile_program
from chips.tiles.language import (
    Tensor,
    Tile,
    TileError,
    buffer,
    cdiv,
    empty,
    exp,
    fill,
    load_tile,
    map,
    matmul,
    metapipe,
    reduce,
    run,
    same_sides,
    store_tile,
    trace,
    transpose,
)

__all__ = [
    "Tensor",
    "Tile",
    "TileError",
    "buffer",
    "cdiv",
    "compile_program",
    "empty",
    "exp",
    "fill",
    "load_tile",
    "map",
    "matmul",
    "metapipe",
    "reduce",
    "run",
    "same_sides",
    "store_tile",
    "trace",
    "transpose",
]
