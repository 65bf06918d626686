"""Systolic arrays: a grid of multiply-accumulate elements through which operands move, one element a clock.

Here: the array as a machine (``SystolicArray.run`` under a watch moves real operands, cycle by cycle) and its closed
forms: clocks (``SystolicArray.cycles``), and the same values and busy elements without moving anything, where nobody
watches. Memories that feed an array, and chips around one, do not belong here.

With a stationary operand ("weight" holds tiles of b, "input" holds tiles of a transposed) a tile falls down the
columns, one row a clock; then the other operand enters at the left, row i delayed by i clocks, and moves right, while
partial sums move down and leave at the bottom. With a stationary output, a enters at the left and b at the top, and
sums stay. A matrix larger than the array is cut into tiles ("folds"), which follow one another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Dataflow = Literal["weight", "output", "input"]
Matrix = NDArray[Any]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cycle:
    """What sits in the elements at one clock, arrays (rows, columns) that the array goes on to change: copy to keep.

    ``held`` is the stationary operand in use, or else the one coming in (with a stationary output: what moves down),
    ``moving`` what moves right, ``sums`` the partial sums after this clock, ``busy`` where operands of the product met.
    """

    number: int
    held: Matrix
    moving: Matrix
    sums: Matrix
    busy: Bools


@dataclass(frozen=True, slots=True)
class Run:
    """A product as the array computed it: ``product`` (m, n), clocks, and the share of busy elements at each clock."""

    product: Matrix
    cycles: int
    utilisation: NDArray[np.float64]


Watch = Callable[[Cycle], None]


@dataclass(frozen=True, slots=True)
class Folds:
    """Where each tile lies and when it moves: arrays over the folds, in their order.

    ``row`` and ``column`` are the tile's first indices, ``height`` and ``width`` its size; ``load`` is the clock
    at which its first value enters the array to stay, ``stream`` that of its first moving operand.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    height: NDArray[np.int64]
    width: NDArray[np.int64]
    load: NDArray[np.int64]
    stream: NDArray[np.int64]
    cycles: int


@dataclass(frozen=True, slots=True)
class SystolicArray:
    """A systolic array of ``rows`` x ``columns`` multiply-accumulate elements.

    ``double_buffered``: the next tile comes in while this one computes (TPU v1); without, folds run one after the
    other (as SCALE-Sim counts them). ``trimmed``: a fold ends when its last useful result is out; without, a partial
    tile takes as long as a whole one. Results of a stationary output leave on wires of their own, which costs no
    clock (so does SCALE-Sim).
    """

    rows: int
    columns: int
    dataflow: Dataflow = "weight"
    double_buffered: bool = False
    trimmed: bool = False

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1:
            raise ValueError(f"An array of {self.rows}x{self.columns} elements has none; both sides are at least 1.")
        if self.dataflow not in ("weight", "output", "input"):
            raise ValueError(f"Unknown dataflow '{self.dataflow}'; there are weight, output and input.")

    def cycles(self, m: int, k: int, n: int) -> int:
        """Clocks of (m, k) x (k, n), from the first value that enters to the last result that leaves. Closed form.

        A fold loads for L = rows clocks (0 with a stationary output), then streams s operands past the far corner:
        s + rows + columns - 2 clocks. Serial folds add up; double-buffered ones follow every max(s, L) clocks.
        """
        tall, wide, stream = self._sizes(m, k, n)
        down, across = -(-tall // self.rows), -(-wide // self.columns)
        load = self._load
        last_width = wide - (across - 1) * self.columns if self.trimmed else self.columns
        # Of a partial tile with a stationary operand, sums still travel down all rows; only the columns can be spared.
        trims_rows = self.trimmed and self.dataflow == "output"
        last_height = tall - (down - 1) * self.rows if trims_rows else self.rows
        if not self.double_buffered:
            heights = (down - 1) * self.rows + last_height
            widths = (across - 1) * self.columns + last_width
            return down * across * (load + stream - 2) + heights * across + widths * down
        period, folds = max(stream, load), down * across
        # The last fold ends last, unless trimming lets an earlier and larger one be overtaken.
        ends = [(folds - 1, last_height, last_width)]
        if down > 1:
            ends.append((folds - 2, self.rows, last_width))
        if across > 1:
            ends.append((folds - down - 1, last_height, self.columns))
            if down > 1:
                ends.append((folds - down - 2, self.rows, self.columns))
        return load + stream - 2 + max(number * period + height + width for number, height, width in ends)

    def run(self, a: Matrix, b: Matrix, watch: Watch | None = None) -> Run:
        """What the array makes of a (m, k) and b (k, n): their product, the clocks, and how busy it is at each.

        int8 operands accumulate in int32 (wrapping as NumPy does), float operands are rounded to bf16 and accumulate
        in float32: rows of a tile from the top down, then tile by tile. For a ``watch``, which sees every clock,
        operands move through the elements; with a stationary input it sees the transposed product b.T x a.T, which is
        what the array computes. Without one the same sums are added in the same order, all elements at once: equal to
        the last bit. Raises ValueError for shapes that do not match and for other types.
        """
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0] or 0 in (*a.shape, b.shape[1]):
            raise ValueError(f"Shapes {a.shape} and {b.shape} do not multiply; expected (m, k) and (k, n), none empty.")
        a, b = _operands(a), _operands(b)
        if a.dtype != b.dtype:
            raise ValueError("One operand is int8 and the other is float; expected two of a kind.")
        m, k, n = *a.shape, b.shape[1]
        folds = self._folds(m, k, n)
        if watch is None:
            made = _in_order(a, b, k if self.dataflow == "output" else self.rows)
            busy = _busy(folds, self._sizes(m, k, n)[2])
            return Run(made, folds.cycles, busy / (self.rows * self.columns))
        if self.dataflow == "output":
            return _run_output_stationary(self, a, b, folds, watch)
        if self.dataflow == "weight":
            return _run_stationary(self, a, b, folds, watch)
        run = _run_stationary(self, b.T, a.T, folds, watch)
        return Run(run.product.T, run.cycles, run.utilisation)

    @property
    def _load(self) -> int:
        return 0 if self.dataflow == "output" else self.rows

    def _sizes(self, m: int, k: int, n: int) -> tuple[int, int, int]:
        """What is laid along the rows, along the columns, and streamed."""
        if min(m, k, n) < 1:
            raise ValueError(f"A product of ({m}, {k}) and ({k}, {n}) is empty; m, k and n are at least 1.")
        return {"weight": (k, n, m), "input": (k, m, n), "output": (m, n, k)}[self.dataflow]

    def _folds(self, m: int, k: int, n: int) -> Folds:
        """The schedule, fold by fold: tiles of one column of tiles after the other."""
        tall, wide, stream = self._sizes(m, k, n)
        column, row = (
            grid.ravel()
            for grid in np.meshgrid(np.arange(0, wide, self.columns), np.arange(0, tall, self.rows), indexing="ij")
        )
        height, width = np.minimum(self.rows, tall - row), np.minimum(self.columns, wide - column)
        tail_rows = height if self.trimmed and self.dataflow == "output" else np.full_like(height, self.rows)
        tail = tail_rows + (width if self.trimmed else self.columns) - 2
        serial = self._load + stream + tail
        length = np.full_like(serial, max(stream, self._load)) if self.double_buffered else serial
        begin = np.asarray(np.cumsum(length) - length, np.int64)
        start = begin + self._load
        # With double buffers a tile may come in as soon as the one before it has begun to be used.
        load = np.maximum(start - length, 0) if self.double_buffered else begin
        return Folds(row, column, height, width, load, start, int((start + stream + tail).max()))


def round_to_bf16(values: Matrix) -> NDArray[np.float32]:
    """``values`` rounded to the nearest bf16 (ties to even), kept as float32. NaN stays NaN."""
    single = np.asarray(values, np.float32)
    bits = single.view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return np.where(np.isnan(single), single, rounded)


def _operands(matrix: Matrix) -> Matrix:
    """In the type of the accumulators, whose values the products are exact in: int32 of int8, float32 of bf16."""
    if matrix.dtype == np.int8:
        return matrix.astype(np.int32)
    if matrix.dtype in (np.float16, np.float32, np.float64):
        return round_to_bf16(matrix)
    raise ValueError(f"The array computes in int8 or bf16, not {matrix.dtype}; pass int8 or float arrays.")


def _in_order(a: Matrix, b: Matrix, height: int) -> Matrix:
    """a (m, k) times b (k, n), summed as the elements do: along ``height`` of k at a time, then over these sums."""
    product = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    added = np.empty_like(product)
    for begin in range(0, a.shape[1], height):
        sums = np.zeros_like(product)
        for column, row in zip(a.T[begin : begin + height], b[begin : begin + height], strict=True):
            np.multiply(column[:, None], row, out=added)
            sums += added
        product += sums
    return product


def _busy(folds: Folds, stream: int) -> NDArray[np.int64]:
    """Busy elements at each clock: of a fold, element (i, j) from i + j clocks after its first, for ``stream`` clocks.

    Element by element, row by row and column by column these are runs of ones, so that third differences are eight
    numbers a fold.
    """
    change = np.zeros(folds.cycles + 3, np.int64)
    for clocks, down, across in product((0, 1), repeat=3):
        sign = -1 if (clocks + down + across) % 2 else 1
        np.add.at(change, folds.stream + clocks * stream + down * folds.height + across * folds.width, sign)
    return change.cumsum().cumsum().cumsum()[: folds.cycles]


def _run_stationary(array: SystolicArray, moving: Matrix, held: Matrix, folds: Folds, watch: Watch) -> Run:
    """``moving`` (s, k) passes tiles of ``held`` (k, w) that stay; sums move down, and leave at the bottom."""
    rows, columns, stream = array.rows, array.columns, moving.shape[0]
    fold_at = _fold_at(folds, folds.stream, stream)
    load_at = _fold_at(folds, folds.load, rows)
    row, column = np.arange(rows), np.arange(columns)
    padded = np.zeros((stream, -(-moving.shape[1] // rows) * rows), moving.dtype)
    padded[:, : moving.shape[1]] = moving
    tiles = np.zeros((padded.shape[1], -(-held.shape[1] // columns) * columns), held.dtype)
    tiles[: held.shape[0], : held.shape[1]] = held
    product = np.zeros((stream, tiles.shape[1]), moving.dtype)

    falling, waiting, weights, right, sums, products = (np.zeros((rows, columns), moving.dtype) for _ in range(6))
    in_use, first, useful, used = (np.zeros((rows, columns), np.bool_) for _ in range(4))
    busy_count = np.zeros(folds.cycles, np.int64)
    for clock in range(folds.cycles):
        # Operands enter at the left, row i delayed by i clocks; ``first`` marks where a new tile takes over.
        right[:, 1:] = right[:, :-1]
        first[:, 1:] = first[:, :-1]
        useful[:, 1:] = useful[:, :-1]
        fold, step = _entering(fold_at, folds.stream, clock - row)
        there = fold >= 0
        right[:, 0] = np.where(there, padded[step, folds.row[fold] + row], 0)
        first[:, 0] = there & (step == 0)
        useful[:, 0] = there & (row < folds.height[fold])
        np.copyto(weights, waiting, where=first)
        if first.any():
            changed, at = np.nonzero(first)
            tile = fold_at[clock - changed - at]
            used[changed, at] = at < folds.width[tile]
        # Partial sums move down one row, gaining one product at each.
        np.multiply(weights, right, out=products)
        products[1:] += sums[:-1]
        sums, products = products, sums
        fold, step = _entering(fold_at, folds.stream, clock - (rows - 1) - column)
        leaving = fold >= 0
        product[step[leaving], folds.column[fold[leaving]] + column[leaving]] += sums[-1, leaving]
        # The next tile falls, its last row first; a column that is full waits for its first operand.
        fold, step = _entering(load_at, folds.load, clock - column)
        loading = fold >= 0
        if loading.any():
            falling[1:] = falling[:-1]
            falling[0] = np.where(loading, tiles[folds.row[fold] + rows - 1 - step, folds.column[fold] + column], 0)
            full = loading & (step == rows - 1)
            waiting[:, full] = falling[:, full]
        np.logical_and(useful, used, out=in_use)
        busy_count[clock] = np.count_nonzero(in_use)
        coming = np.where(loading & (step < rows - 1), falling, waiting)
        watch(Cycle(clock, np.where(in_use, weights, coming), right, sums, in_use))
    return Run(product[:, : held.shape[1]], folds.cycles, busy_count / (rows * columns))


def _run_output_stationary(array: SystolicArray, a: Matrix, b: Matrix, folds: Folds, watch: Watch) -> Run:
    """a moves right, b moves down, sums stay until their tile is finished."""
    rows, columns, stream = array.rows, array.columns, a.shape[1]
    fold_at = _fold_at(folds, folds.stream, stream)
    row, column = np.arange(rows), np.arange(columns)
    left = np.zeros((-(-a.shape[0] // rows) * rows, stream), a.dtype)
    left[: a.shape[0]] = a
    top = np.zeros((stream, -(-b.shape[1] // columns) * columns), b.dtype)
    top[:, : b.shape[1]] = b
    product = np.zeros((left.shape[0], top.shape[1]), a.dtype)

    right, down, sums = (np.zeros((rows, columns), a.dtype) for _ in range(3))
    first, last, useful_right, useful_down = (np.zeros((rows, columns), np.bool_) for _ in range(4))
    busy_count = np.zeros(folds.cycles, np.int64)
    for clock in range(folds.cycles):
        for moved in (right, first, last, useful_right):
            moved[:, 1:] = moved[:, :-1]
        for moved in (down, useful_down):
            moved[1:] = moved[:-1]
        fold, step = _entering(fold_at, folds.stream, clock - row)
        there = fold >= 0
        right[:, 0] = np.where(there, left[folds.row[fold] + row, step], 0)
        first[:, 0], last[:, 0] = there & (step == 0), there & (step == stream - 1)
        useful_right[:, 0] = there & (row < folds.height[fold])
        fold, step = _entering(fold_at, folds.stream, clock - column)
        there = fold >= 0
        down[0] = np.where(there, top[step, folds.column[fold] + column], 0)
        useful_down[0] = there & (column < folds.width[fold])
        sums[first] = 0
        sums += right * down
        i, j = np.nonzero(last)
        finished = fold_at[clock - i - j]
        product[folds.row[finished] + i, folds.column[finished] + j] = sums[i, j]
        busy = useful_right & useful_down
        busy_count[clock] = np.count_nonzero(busy)
        watch(Cycle(clock, down, right, sums, busy))
    return Run(product[: a.shape[0], : b.shape[1]], folds.cycles, busy_count / (rows * columns))


def _fold_at(folds: Folds, start: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """The fold whose operands enter the corner element at each clock, -1 for none."""
    at = np.full(int(start[-1]) + length, -1)
    at[(start[:, None] + np.arange(length)).ravel()] = np.repeat(np.arange(len(start)), length)
    return np.pad(at, (0, max(0, folds.cycles - len(at))), constant_values=-1)


def _entering(
    fold_at: NDArray[np.int64], start: NDArray[np.int64], clocks: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The fold that ``clocks`` fall into (-1 for none), and how many of its operands have entered before."""
    fold = np.where(clocks >= 0, fold_at[np.maximum(clocks, 0)], -1)
    return fold, np.where(fold >= 0, clocks - start[fold], 0)
