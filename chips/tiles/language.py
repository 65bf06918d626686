"""The tile language: what a program says. Run, it computes NumPy values; traced, it leaves operations and loops.

    def scale(x: Tensor, y: Tensor) -> None:
        for i in metapipe(cdiv(x.shape[0], 64)):
            tile = load_tile(x, (64, x.shape[1]), at=(i, 0))
            store_tile(y, tile * 2.0, at=(i, 0))

A program is an ordinary Python function. ``run`` gives its tensors values; ``trace`` gives them shapes only, and runs
the body of every ``metapipe`` once, at its middle iteration. How a trace becomes stages is in ``chips.tiles.compiler``.
"""

from __future__ import annotations

import builtins
import math
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from results.errors import LooplineError

Array = NDArray[np.floating]
Shape = tuple[int, int]
Kind = Literal["load", "store", "matmul", "vector", "constant", "transpose", "buffer", "write", "read"]
HERE = __file__


class TileError(LooplineError, ValueError):
    """A mistake in a tile program; the message begins with its file and line."""


@dataclass(eq=False, repr=False)
class Loop:
    """One ``metapipe`` of a trace. ``grid``: its iterations are independent, so that thread blocks may share them."""

    iterations: int
    parent: Loop | None
    place: str
    grid: bool = False
    body: list[Operation | Loop] = field(default_factory=list)

    def ancestors(self) -> list[Loop]:
        """This loop and those around it, outermost first."""
        return [*(self.parent.ancestors() if self.parent else []), self]


@dataclass(eq=False, repr=False)
class Operation:
    """One operation of a trace. ``flop``: in the matrix unit; ``vector``: instructions over elements, outside it;
    ``exponentials`` apart. ``depth``: what an explicit buffer asks for. ``shared_by``: thread blocks a load serves.
    ``addressed``: a load whose place is itself a value on the chip. ``inside``: of a load or store, the part of its
    tiles that lies in the tensor, over all tiles that cover it."""

    kind: Kind
    name: str
    place: str
    loop: Loop
    shape: Shape
    inputs: tuple[Operation, ...]
    flop: int = 0
    vector: int = 0
    exponentials: int = 0
    row_par: int | None = None
    depth: int | None = None
    shared_by: int = 1
    memory: int | None = None
    inside: float = 1.0
    addressed: bool = False
    carried: list[Operation] = field(default_factory=list)


@dataclass(eq=False, repr=False)
class Trace:
    """What one program does: its outermost loop (one iteration: the program itself) and all operations in order."""

    name: str
    root: Loop
    loop: Loop
    operations: list[Operation] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)


_active: ContextVar[Trace | None] = ContextVar("trace", default=None)


@dataclass(eq=False, repr=False)
class Tensor:
    """A matrix in the chip's memory: ``value`` while the program runs, only ``shape`` while it is traced."""

    name: str
    shape: Shape
    value: Array | None = None
    stores: list[Operation] = field(default_factory=list)


@dataclass(frozen=True, eq=False, repr=False)
class Tile:
    """A matrix on the chip. Arithmetic is element by element; a side of 1 is repeated to fit."""

    shape: Shape
    value: Array | None = None
    made_by: Operation | None = None

    def __add__(self, other: Tile | float) -> Tile:
        return map(np.add, self, other)

    def __sub__(self, other: Tile | float) -> Tile:
        return map(np.subtract, self, other)

    def __mul__(self, other: Tile | float) -> Tile:
        return map(np.multiply, self, other)

    def __truediv__(self, other: Tile | float) -> Tile:
        return map(np.divide, self, other)


def metapipe(iterations: int, grid: bool = False) -> Iterator[int]:
    """A pipelined loop: the stages of its body work on different iterations. Use it in ``for``, without ``break``."""
    if iterations < 1:
        raise TileError(f"{_place()}: a metapipe of {iterations} iterations; it needs at least 1.")
    trace = _active.get()
    if trace is None:
        yield from range(iterations)
        return
    loop = Loop(iterations, trace.loop, _place(), grid)
    trace.loop.body.append(loop)
    trace.loop = loop
    yield iterations // 2
    trace.loop = loop.parent or trace.root


def cdiv(size: int, tile: int) -> int:
    """Tiles that cover ``size`` rows or columns, the last of them masked where it ends beyond."""
    return -(-size // tile)


def same_sides(*sides: tuple[Tensor, int]) -> int:
    """The size that sides of tensors share, each given as (tensor, axis). Raises TileError where they differ.

    A tile that ends beyond one tensor and not beyond another would else be masked in silence.
    """
    (first, axis), *others = sides
    for tensor, own in others:
        if tensor.shape[own] != first.shape[axis]:
            what = ("rows", "columns")
            raise TileError(
                f"{_place()}: '{tensor.name}' has {tensor.shape[own]} {what[own]} where '{first.name}' has "
                f"{first.shape[axis]} {what[axis]}; they must agree."
            )
    return first.shape[axis]


def load_tile(
    tensor: Tensor, shape: Shape, at: tuple[int | Tile, int], row_par: int | None = None, shared_by: int = 1
) -> Tile:
    """Copy one tile of ``tensor`` onto the chip: the one in row ``at[0]`` and column ``at[1]`` of its tiling.

    The row may be a tile of one element, which has been loaded or computed: the load then waits for it, and where that
    comes from the iteration before, for all of the memory's latency. Others run ahead, as their places are known.

    A tile that ends beyond the tensor is masked: zeros lie there. It is computed with as long as a whole one, and only
    what lies in the tensor is moved.
    """
    row, column = at
    address = row if isinstance(row, Tile) else None
    rows, columns = _window(tensor, shape, (_row(row), column))
    value = None
    if tensor.value is not None:
        inside = tensor.value[rows, columns]
        beyond = [(0, whole - there) for whole, there in zip(shape, inside.shape, strict=True)]
        value = np.pad(inside, beyond) if inside.shape != shape else inside
    made = _record(
        "load", f"load {tensor.name}", shape, *([] if address is None else [address]), row_par=row_par,
        shared_by=shared_by, memory=id(tensor), after=tuple(tensor.stores), inside=_inside(tensor, shape),
        addressed=address is not None,
    )  # fmt: skip
    return Tile(shape, value, made)


def store_tile(tensor: Tensor, tile: Tile, at: Shape, row_par: int | None = None) -> None:
    """Copy a tile into ``tensor``'s row ``at[0]`` and column ``at[1]`` of tiles, what ends beyond it left out."""
    rows, columns = _window(tensor, tile.shape, at)
    if tensor.value is not None and tile.value is not None:
        inside = tensor.value[rows, columns]
        inside[:] = tile.value[: inside.shape[0], : inside.shape[1]]
    made = _record(
        "store",
        f"store {tensor.name}",
        tile.shape,
        tile,
        row_par=row_par,
        memory=id(tensor),
        inside=_inside(tensor, tile.shape),
    )
    if made is not None:
        tensor.stores.append(made)


def matmul(a: Tile, b: Tile, add_to: Tile | None = None, row_par: int | None = None) -> Tile:
    """The matrix product, added to ``add_to`` in the matrix unit's own accumulators."""
    shape = (a.shape[0], b.shape[1])
    if a.shape[1] != b.shape[0]:
        raise TileError(
            f"{_place()}: matmul of tiles of {_size(a.shape)} and {_size(b.shape)}; "
            f"{a.shape[1]} and {b.shape[0]} must agree."
        )
    if add_to is not None and add_to.shape != shape:
        raise TileError(f"{_place()}: matmul gives {_size(shape)}, add_to is {_size(add_to.shape)}; they must agree.")
    value = None
    if a.value is not None and b.value is not None:
        value = a.value @ b.value
        value = value if add_to is None or add_to.value is None else value + add_to.value
    inputs = (a, b) if add_to is None else (a, b, add_to)
    flop = 2 * math.prod(shape) * a.shape[1]
    return Tile(shape, value, _record("matmul", "matmul", shape, *inputs, flop=flop, row_par=row_par))


def map(function: Callable[..., Array], *tiles: Tile | float, operations: int = 1, row_par: int | None = None) -> Tile:
    """``function`` over elements, ``operations`` vector instructions each; sides of 1 are repeated to fit."""
    given = [tile for tile in tiles if isinstance(tile, Tile)]
    sides = [{tile.shape[axis] for tile in given} - {1} for axis in (0, 1)]
    if any(len(side) > 1 for side in sides):
        sizes = " and ".join(_size(tile.shape) for tile in given)
        raise TileError(f"{_place()}: tiles of {sizes} cannot be combined by element; sides must agree or be 1.")
    shape = (max(sides[0], default=1), max(sides[1], default=1))
    value = None
    if builtins.all(tile.value is not None for tile in given):
        value = function(*(tile.value if isinstance(tile, Tile) else tile for tile in tiles))
    name = getattr(function, "__name__", "map")
    vector = operations * math.prod(shape)
    return Tile(shape, value, _record("vector", name, shape, *given, vector=vector, row_par=row_par))


def exp(tile: Tile, row_par: int | None = None) -> Tile:
    """The exponential of every element, in the special-function unit."""
    value = None if tile.value is None else np.exp(tile.value)
    count = math.prod(tile.shape)
    return Tile(tile.shape, value, _record("vector", "exp", tile.shape, tile, exponentials=count, row_par=row_par))


def reduce(function: np.ufunc, tile: Tile, axis: int = 1, row_par: int | None = None) -> Tile:
    """Reduce rows (axis 1) or columns (axis 0) to one element each, by ``np.add`` or ``np.maximum``."""
    shape = (tile.shape[0], 1) if axis == 1 else (1, tile.shape[1])
    value = None if tile.value is None else function.reduce(tile.value, axis=axis, keepdims=True)
    count = math.prod(tile.shape)
    return Tile(shape, value, _record("vector", function.__name__, shape, tile, vector=count, row_par=row_par))


def transpose(tile: Tile) -> Tile:
    """Rows become columns: a change of the access pattern, made where the tile is read."""
    shape = (tile.shape[1], tile.shape[0])
    return Tile(shape, None if tile.value is None else tile.value.T, _record("transpose", "transpose", shape, tile))


def fill(shape: Shape, value: float) -> Tile:
    """A tile of one constant."""
    values = None if _active.get() else np.full(shape, value)
    return Tile(shape, values, _record("constant", "fill", shape))


class TileBuffer:
    """On-chip memory for one tile that a program writes and reads, from iteration to iteration if it is outside."""

    def __init__(self, shape: Shape) -> None:
        trace = _active.get()
        self.shape = shape
        self._tile: Tile | None = None
        self._loop = trace.loop if trace else None
        self._reads: list[Operation] = []

    def write(self, tile: Tile) -> None:
        """Replace what the buffer holds. Raises TileError on another shape."""
        if tile.shape != self.shape:
            raise TileError(f"{_place()}: a tile of {_size(tile.shape)} is written to a buffer of {_size(self.shape)}.")
        made = _record("write", "write", tile.shape, tile)
        self._tile = Tile(tile.shape, tile.value, made)
        for read in self._reads:
            if made is None or self._loop is None:
                continue
            shared = _shared(read.loop, made.loop)
            if shared is not self._loop and self._loop in shared.ancestors():
                read.carried.append(made)

    def read(self) -> Tile:
        """What was written last. Raises TileError before the first write."""
        if self._tile is None:
            raise TileError(f"{_place()}: a buffer of {_size(self.shape)} is read before it is written.")
        made = _record("read", "read", self.shape, self._tile)
        if made is not None:
            self._reads.append(made)
        return Tile(self.shape, self._tile.value, made)


def empty(shape: Shape) -> TileBuffer:
    """A buffer that nothing has been written to yet."""
    return TileBuffer(shape)


def buffer(tile: Tile, depth: int = 2) -> Tile:
    """An explicit buffer: the stage ends here, and ``depth`` tiles fit between it and the next (2: double)."""
    if depth < 1:
        raise TileError(f"{_place()}: a buffer of depth {depth}; it needs at least 1.")
    return Tile(tile.shape, tile.value, _record("buffer", "buffer", tile.shape, tile, depth=depth))


def run(program: Callable[..., None], **arrays: Array) -> None:
    """Compute: the tensors are ``arrays``, those that the program stores to are changed in place."""
    program(**{name: Tensor(name, (array.shape[0], array.shape[1]), array) for name, array in arrays.items()})


def trace(program: Callable[..., None], **shapes: Shape) -> Trace:
    """What the program does on tensors of ``shapes``, without computing it. Raises TileError on its mistakes."""
    root = Loop(1, None, "")
    found = Trace(getattr(getattr(program, "func", program), "__name__", "program"), root, root)
    found.tensors = [Tensor(name, shape) for name, shape in shapes.items()]
    token = _active.set(found)
    try:
        program(**{tensor.name: tensor for tensor in found.tensors})
    finally:
        _active.reset(token)
    if found.loop is not root:
        raise TileError(f"{found.loop.place}: this metapipe is left before its end.")
    return found


def _record(
    kind: Kind, name: str, shape: Shape, *tiles: Tile, after: tuple[Operation, ...] = (), flop: int = 0,
    vector: int = 0, exponentials: int = 0, row_par: int | None = None, depth: int | None = None, shared_by: int = 1,
    memory: int | None = None, inside: float = 1.0, addressed: bool = False,
) -> Operation | None:  # fmt: skip
    place = _place()
    if row_par is not None and row_par < 1:
        raise TileError(f"{place}: row_par is {row_par}; it is at least 1.")
    active = _active.get()
    if active is None:
        return None
    inputs = (*(tile.made_by for tile in tiles if tile.made_by is not None), *after)
    made = Operation(
        kind, name, place, active.loop, shape, inputs, flop, vector, exponentials, row_par, depth, shared_by, memory,
        inside, addressed,
    )  # fmt: skip
    active.loop.body.append(made)
    active.operations.append(made)
    return made


def _shared(first: Loop, second: Loop) -> Loop:
    """The innermost loop around both."""
    common = [loop for loop in first.ancestors() if loop in second.ancestors()]
    return common[-1]


def _window(tensor: Tensor, shape: Shape, at: Shape) -> tuple[slice, slice]:
    rows, columns = (size * index for size, index in zip(shape, at, strict=True))
    if min(at) < 0 or rows >= tensor.shape[0] or columns >= tensor.shape[1]:
        raise TileError(
            f"{_place()}: tile {at} of {_size(shape)} begins at {_size((rows, columns))}, outside of '{tensor.name}', "
            f"which is {_size(tensor.shape)}."
        )
    return slice(rows, rows + shape[0]), slice(columns, columns + shape[1])


def _row(at: int | Tile) -> int:
    """The row that an address says; while a program is traced, any. Raises TileError where it is not one element."""
    if not isinstance(at, Tile):
        return at
    if at.shape != (1, 1):
        raise TileError(f"{_place()}: a tile of {_size(at.shape)} is used as an address, which is one element.")
    return 0 if at.value is None else int(at.value[0, 0])


def _inside(tensor: Tensor, shape: Shape) -> float:
    """Elements of a tensor over those of the tiles that cover it."""
    return math.prod(side / (cdiv(side, tile) * tile) for side, tile in zip(tensor.shape, shape, strict=True))


def _place() -> str:
    """File and line of the user's program that called the language."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == HERE and frame.f_back is not None:
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _size(shape: Shape) -> str:
    return f"{shape[0]} x {shape[1]}"
