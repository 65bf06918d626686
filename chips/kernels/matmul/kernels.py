"""The library's kernels for many products at once, and the fastest for each of them.

A kernel is a tile shape and a number of parts of k. Hundreds could run a product: first no kernel is priced but a time
that none of a tile's kernels can go below, so that most tiles are ruled out; those left are priced one by one. Belongs
here: what one kernel takes, and which is the fastest. What a call of the library costs is in ``price``, what a tile
needs from one streaming multiprocessor in ``tiles``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from chips.energy import ZEROS
from chips.kernels.matmul.tiles import ACCUMULATOR_BYTES, OUTPUT_BYTES, Floats, Tiles
from chips.spec import Gpu

Places = NDArray[np.intp]
FEW_SPLITS = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
"""Parts of k that even out the last wave where there are almost as many tiles as the chip takes at once. Others fill
the chip once, with one or with all resident tiles."""
POWER_WINDOW = 0.75e-3
"""Seconds in which a benchmark's repeated call meets the power limit: on an H100, 60 us do not and 2 ms do."""
INSTRUCTION_BYTES = 32.0
"""Of a row of an operand tile, that one matrix instruction takes: 16 elements of 16 bits (mma and wgmma, PTX ISA)."""
SMALL_PRODUCT = 2.0**21
"""Multiply-adds below which the library takes other kernels: on an A100 times step down there, whatever the shape, and
on an L40S the first kernel with a divided k is the one of a product of exactly so many."""
LONG_DEPTH = 8192
"""k above which the library divides it in products of any size, on an L40S; up to it, as the rest of a rule says."""
FEW_PAIRS = 500
"""Of products and tiles, that are priced one and all: it takes less than to rule some of them out."""
ROUNDING = 1e-9
"""What sums in another order can put a lower bound above a time, relative to it."""


@dataclass(frozen=True)
class Products:
    """Products of ``count`` times m x n x k each, arrays over shapes; bytes of an activation and a weight in memory.

    ``splits``: whether the library's kernels may divide k. ``weights_in_turn`` as in ``price.price_matmul``.
    """

    chip: Gpu
    m: Floats
    n: Floats
    k: Floats
    count: Floats
    element: float
    weight_element: float
    weights_in_turn: Floats
    splits: bool

    @cached_property
    def activation_bytes(self) -> Floats:
        return self.count * self.m * self.k * self.element

    @cached_property
    def weight_bytes(self) -> Floats:
        return self.count * self.n * self.k * self.weight_element

    @cached_property
    def output_bytes(self) -> Floats:
        return self.count * self.m * self.n * OUTPUT_BYTES

    @cached_property
    def flops(self) -> Floats:
        return 2.0 * self.count * self.m * self.n * self.k

    @cached_property
    def steps(self) -> Floats:
        """Over k."""
        return np.ceil(self.k * self.element / self.chip.generation.matmul.step_bytes)

    @cached_property
    def most_splits(self) -> Floats:
        """Parts of k, at most."""
        coefficients = self.chip.generation.matmul
        whole = self.small & (self.k <= LONG_DEPTH) & (not coefficients.small_splits)
        most = np.where(whole, 1, coefficients.most_splits if self.splits else 1)
        return np.clip(np.floor(self.steps / coefficients.least_steps), 1.0, most)

    @cached_property
    def kept_bytes(self) -> float:
        """Of what the kernel before has written, in L2."""
        return self.chip.generation.matmul.activation_share * self.chip.on_chip.l2_bytes

    @cached_property
    def once_bytes(self) -> Floats:
        """That come from HBM if every byte of the operands is read once."""
        kept = self.chip.generation.matmul.weight_share * self.chip.on_chip.l2_bytes
        turns = self.weights_in_turn
        kept_weights = np.where(turns > 0.0, kept / np.maximum(turns, 1.0), 0.0)
        return missing_bytes(self.activation_bytes, self.kept_bytes) + missing_bytes(self.weight_bytes, kept_weights)

    @cached_property
    def write_seconds(self) -> Floats:
        """In which HBM takes what L2 does not hold of the result."""
        coefficients = self.chip.generation.matmul
        written = missing_bytes(self.output_bytes, coefficients.output_share * self.chip.on_chip.l2_bytes)
        return written / (self.chip.memory.bandwidth * coefficients.write_efficiency)

    @cached_property
    def small(self) -> NDArray[np.bool_]:
        """For which the library takes other kernels."""
        return (self.flops < 2.0 * SMALL_PRODUCT) & (self.m > 1.0)

    @cached_property
    def small_seconds(self) -> Floats:
        """That small products last longer, in a kernel that the library takes for them; not those of few rows."""
        coefficients = self.chip.generation.matmul
        least_side = min(coefficients.tile_sides)
        slower = self.small & (np.minimum(self.m, self.n) > least_side)
        return np.where(slower, coefficients.small_product_seconds, 0.0)

    def start(self, tiles: Tiles) -> float:
        """Seconds until the first operands are there."""
        latency = self.chip.generation.matmul.memory_latency_cycles
        return tiles.startup_seconds + latency / self.chip.compute.highest_clock_hz


@dataclass(frozen=True)
class Kernels:
    """Kernels, one after the other, each for the product at ``place``.

    Seconds: ``work`` of the busiest streaming multiprocessor, its ``chain`` of dependent steps, ``l2``, ``hbm``,
    ``reduction`` of the parts, ``store`` of a tile. ``read_bytes`` from HBM; ``worked``: operations, of 16 bits.
    ``unlimited``: seconds of the whole, had HBM and what it feeds never to wait for each other, nor for power.
    """

    place: Places
    work: Floats
    chain: Floats
    l2: Floats
    hbm: Floats
    reduction: Floats
    store: Floats
    read_bytes: Floats
    worked: Floats
    unlimited: Floats

    def __getitem__(self, chosen: Places | NDArray[np.bool_]) -> Kernels:
        """Some of them."""
        return Kernels(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def fastest(products: Products, tiles: Tiles) -> tuple[Kernels, Floats]:
    """The fastest kernel of every product, and its seconds."""
    result_tiles = products.count[:, None] * np.ceil(products.m[:, None] / tiles.rows)
    result_tiles = result_tiles * np.ceil(products.n[:, None] / tiles.columns)
    if tiles.rows.size > 1 and result_tiles.size > FEW_PAIRS:
        # What the tile of the least bound reaches, no other tile needs to be priced above.
        least = least_seconds(products, tiles, result_tiles)
        kernels = _kernels(products, tiles, result_tiles, np.arange(products.m.size), np.argmin(least, axis=1))
        reached = _least_of_each(kernels, _seconds(products, kernels)) * (1.0 + ROUNDING)
        kernels = _kernels(products, tiles, result_tiles, *np.nonzero(least <= reached[:, None]))
        kernels = kernels[kernels.unlimited <= reached[kernels.place]]
    else:
        kernels = _kernels(products, tiles, result_tiles, *np.indices(result_tiles.shape).reshape(2, -1))
    seconds = _seconds(products, kernels)
    found = np.flatnonzero(seconds == _least_of_each(kernels, seconds)[kernels.place])
    _, chosen = np.unique(kernels.place[found], return_index=True)
    return kernels[found[chosen]], seconds[found[chosen]]


def least_seconds(products: Products, tiles: Tiles, result_tiles: Floats) -> Floats:
    """What no kernel of a tile can go below, shape (products, tiles); ``result_tiles``: how many tiles a result has."""
    chip, coefficients = products.chip, products.chip.generation.matmul
    clock, units = chip.compute.highest_clock_hz, chip.compute.units
    steps, start = products.steps[:, None], products.start(tiles)
    busiest = np.maximum(tiles.multiply, tiles.feed)
    work = result_tiles * (steps * busiest + tiles.store) / (units * clock)
    l2 = result_tiles * steps * (tiles.load_bytes / (coefficients.l2_bytes_per_clock * clock))
    l2 = l2 + (products.output_bytes / (tiles.result_rate * clock))[:, None]
    written = np.maximum(products.write_seconds - start, 0.0)
    hbm = (products.once_bytes / chip.streaming_bandwidth + written)[:, None]
    longest = np.maximum(np.maximum(work, l2), hbm)
    together = longest + unhidden(chip, work + l2 + hbm - longest)
    whole = np.ceil(result_tiles / (units * tiles.resident)) * (steps * tiles.step + tiles.store) / clock
    parts = np.ceil(steps / products.most_splits[:, None]) * tiles.step + tiles.store
    chain = np.minimum(whole, parts / clock + coefficients.reduction_seconds)
    return (start + products.small_seconds)[:, None] + np.maximum(together, chain)


def _kernels(products: Products, tiles: Tiles, result_tiles: Floats, place: Places, tile: Places) -> Kernels:
    """All kernels of pairs of a product and a tile, each number of parts of k once; ordered as the pairs are."""
    chip, coefficients = products.chip, products.chip.generation.matmul
    clock, units = chip.compute.highest_clock_hz, chip.compute.units
    split = _splits(products, tiles, result_tiles[place, tile], place, tile)
    again = np.zeros(split.shape, bool)
    for number in range(1, split.shape[1]):
        again[:, number] = (split[:, :number] == split[:, number, None]).any(axis=1)
    pair, which = np.nonzero(~again)
    place, tile, split = place[pair], tile[pair], split[pair, which]
    count, steps = products.count[place], products.steps[place]
    rows, columns, resident = tiles.rows[tile], tiles.columns[tile], tiles.resident[tile]
    steps_each = np.ceil(steps / split)
    items = result_tiles[place, tile] * split

    # One streaming multiprocessor: its share of the items, as fast as its engines, or as its chains of dependent
    # steps where few items run side by side. A last wave lasts as long as a full one: with fewer items side by side,
    # each waits for its own operands.
    rounds = np.ceil(items / (units * resident))
    per_unit = np.where(rounds > 1.0, rounds * resident, np.ceil(items / units))
    busiest, store = np.maximum(tiles.multiply, tiles.feed)[tile], tiles.store[tile]
    work = per_unit * (steps_each * busiest + store) / clock
    chain = rounds * (steps_each * tiles.step[tile] + store) / clock
    on_unit = np.maximum(work, chain)

    # The whole chip: L2 delivers every operand tile, HBM what L2 does not hold, and takes the result. What the kernel
    # before has written still leaves L2 while this one starts, as its own result will.
    start = products.start(tiles)
    l2 = items * steps_each * tiles.load_bytes[tile] / (coefficients.l2_bytes_per_clock * clock)
    l2 = l2 + products.output_bytes[place] / (tiles.result_rate * clock)
    outgrown = (products.activation_bytes + products.weight_bytes > products.kept_bytes)[place]
    panels = _panels(items / count, units * resident, rows * columns) * count / split
    again_bytes = np.where(outgrown, panels * products.k[place], 0.0) * (products.element + products.weight_element) / 2
    read_bytes = np.maximum(products.once_bytes[place], again_bytes)
    hbm = read_bytes / chip.streaming_bandwidth + np.maximum(products.write_seconds[place] - start, 0.0)

    # Partial sums of a split k are written and read back.
    partial_bytes = ACCUMULATOR_BYTES / OUTPUT_BYTES * products.output_bytes[place] * split
    partial_rate = coefficients.partial_bytes_per_clock * clock
    reduction = np.where(split > 1.0, coefficients.reduction_seconds + 2.0 * partial_bytes / partial_rate, 0.0)

    longest = np.maximum(np.maximum(on_unit, l2), hbm)
    unlimited = longest + unhidden(chip, on_unit + l2 + hbm - longest) + reduction
    unlimited += start + products.small_seconds[place]
    tile_flops = items * steps_each * (coefficients.step_bytes / products.element * rows * columns * 2.0)
    worked = (products.flops[place] * (1.0 - ZEROS) + tile_flops * ZEROS) * products.element / 2.0
    return Kernels(place, work, chain, l2, hbm, reduction, store / clock, read_bytes, worked, unlimited)


def _seconds(products: Products, kernels: Kernels) -> Floats:
    """Of each of the kernels."""
    events, on_unit = products.chip.events, np.maximum(kernels.work, kernels.chain)
    whole = kernels.unlimited + starved(products.chip, np.maximum(on_unit, kernels.l2), kernels.hbm)
    moved = kernels.read_bytes + products.output_bytes[kernels.place]
    joules = kernels.worked * events.flop.sum() + moved * events.memory_byte.sum()
    window: Floats = np.where(products.weights_in_turn > 0.0, POWER_WINDOW, 0.0)[kernels.place]
    seconds: Floats = whole + events.slower_clock(on_unit, joules, whole, window)
    return seconds


def _least_of_each(kernels: Kernels, seconds: Floats) -> Floats:
    """The least of the ``seconds`` of each product's kernels, which lie together."""
    if not seconds.size:
        return seconds
    starts = np.flatnonzero(np.diff(kernels.place, prepend=-1))
    return np.minimum.reduceat(seconds, starts)


def _splits(products: Products, tiles: Tiles, result_tiles: Floats, place: Places, tile: Places) -> Floats:
    """Parts of k that the library tries: a few, and as many as fill the chip once, with one or all resident tiles."""
    units = products.chip.compute.units
    filling = np.floor(units / result_tiles)
    fuller = np.floor(units * tiles.resident[tile] / result_tiles)
    few = np.broadcast_to(FEW_SPLITS, (result_tiles.size, FEW_SPLITS.size))
    split = np.concatenate([few, filling[:, None], fuller[:, None]], axis=1)
    possible: Floats = np.clip(split, 1.0, products.most_splits[place, None])
    return possible


def _panels(each: Floats, together: Floats, area: Floats) -> Floats:
    """Rows and columns of operands that waves of tiles read, each wave anew; nothing where one wave takes a product.

    ``each``: tiles of a product, of which up to ``together`` run at once, each of ``area`` elements. The tiles of a
    wave lie side by side in a square, as the library's order of blocks has them, so that they share rows of one operand
    and columns of the other; the next wave finds those of the last one gone from L2.
    """
    wave = np.minimum(each, together)
    panels: Floats = np.where(each > wave, each / wave * 2.0 * np.sqrt(wave * area), 0.0)
    return panels


def unhidden(chip: Gpu, others: Floats) -> Floats:
    """Seconds that the busiest engine waits for the others, which work for ``others`` seconds together beside it."""
    coefficients = chip.generation.matmul
    waiting: Floats = coefficients.exposed * others + np.sqrt(coefficients.wait_seconds * others)
    return np.minimum(waiting, others)


def starved(chip: Gpu, on_chip: Floats, hbm: Floats) -> Floats:
    """Seconds lost where HBM and what it feeds are about equally busy: ``on_chip`` and ``hbm`` seconds of work.

    The operand tiles in flight are a buffer of finitely many instructions' operands, now and then full or empty. The
    busier side then works (1 - u^K) / (1 - u^(K+1)) of the time, with u the lesser over the greater time and K the
    buffer's places, one of them in use: the M/M/1/K queue (Kleinrock 1975, Queueing Systems I, section 3.6).
    """
    coefficients = chip.generation.matmul
    places = 1 + round(coefficients.stages * coefficients.step_bytes / INSTRUCTION_BYTES)
    greater = np.maximum(on_chip, hbm)
    ratio = np.minimum(on_chip, hbm) / greater
    power, powers = ratio, np.ones_like(ratio)
    for digit in bin(places)[3:]:  # 1 + u + ... + u^(K-1), doubled for every binary digit of K
        powers = powers + powers * power
        power = power * power
        if digit == "1":
            powers = powers * ratio + 1.0
            power = power * ratio
    lost: Floats = greater * power / powers
    return lost


def missing_bytes(operand_bytes: Floats, kept_bytes: Floats | float) -> Floats:
    """Bytes of an operand that come from HBM although L2 keeps ``kept_bytes``: none of one that fits.

    Of a larger one, the least recently used rows are gone when they come up again: at twice the size nothing is left.
    """
    return np.clip(2.0 * (operand_bytes - kept_bytes), 0.0, operand_bytes)
