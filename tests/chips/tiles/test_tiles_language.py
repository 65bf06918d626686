"""Mistakes in a tile program are answered with its file and line, whether it runs or is traced."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from chips.tiles.language import (
    Loop,
    Tensor,
    TileError,
    buffer,
    empty,
    fill,
    load_tile,
    matmul,
    metapipe,
    run,
    store_tile,
    trace,
    transpose,
)
from chips.tiles.stages import bodies


def bad_product(a: Tensor) -> None:
    tile = load_tile(a, (8, 16), at=(0, 0))
    matmul(tile, tile)


def bad_sum(a: Tensor) -> None:
    load_tile(a, (8, 16), at=(0, 0)) + load_tile(a, (4, 16), at=(0, 0))


def read_first(a: Tensor) -> None:
    empty((8, 8)).read()


def outside(a: Tensor) -> None:
    load_tile(a, (8, 16), at=(2, 0))


def wrong_write(a: Tensor) -> None:
    empty((8, 8)).write(load_tile(a, (8, 16), at=(0, 0)))


def no_units(a: Tensor) -> None:
    load_tile(a, (8, 16), at=(0, 0), row_par=0)


def no_loop(a: Tensor) -> None:
    for _ in metapipe(0):
        pass


MISTAKES = [
    (bad_product, 2, "matmul of tiles of 8 x 16 and 8 x 16; 16 and 8 must agree"),
    (bad_sum, 1, "tiles of 8 x 16 and 4 x 16 cannot be combined"),
    (read_first, 1, "a buffer of 8 x 8 is read before it is written"),
    (outside, 1, r"tile \(2, 0\) of 8 x 16 begins at 16 x 0, outside of 'a', which is 16 x 16"),
    (wrong_write, 1, "a tile of 8 x 16 is written to a buffer of 8 x 8"),
    (no_units, 1, "row_par is 0; it is at least 1"),
    (no_loop, 1, "a metapipe of 0 iterations"),
]


@pytest.mark.parametrize(("program", "offset", "message"), MISTAKES)
def test_mistake_names_its_line(program: Callable[..., None], offset: int, message: str) -> None:
    place = rf"^test_tiles_language.py:{program.__code__.co_firstlineno + offset}: {message}"
    with pytest.raises(TileError, match=place):
        run(program, a=np.zeros((16, 16)))
    with pytest.raises(TileError, match=place):
        trace(program, a=(16, 16))


def test_metapipe_left_by_break_is_refused() -> None:
    def early(a: Tensor) -> None:
        for i in metapipe(2):
            load_tile(a, (8, 16), at=(i, 0))
            break

    with pytest.raises(TileError, match="this metapipe is left before its end"):
        trace(early, a=(16, 16))


def test_dataflow_gives_stages_buffers_and_carried_values() -> None:
    """Load, multiply and add over iterations: the sum is carried, the explicit buffer keeps its depth."""

    def accumulate(a: Tensor, b: Tensor) -> None:
        total = empty((8, 8))
        total.write(fill((8, 8), 0.0))
        for i in metapipe(4):
            tile = load_tile(a, (8, 8), at=(i, 0))
            product = buffer(matmul(tile, transpose(tile)), depth=3)
            total.write(total.read() + product)
            total.write(matmul(total.read(), product))
        store_tile(b, total.read(), at=(0, 0))

    found = trace(accumulate, a=(32, 8), b=(8, 8))
    inner = next(item for item in found.root.body if isinstance(item, Loop))
    body = bodies(found)[id(inner)]
    assert [step.name for step in body.steps] == ["load a", "matmul", "vector (add)", "matmul 2"]
    links = {(link.source, link.target): (link.depth, link.carried) for link, _ in body.passes}
    assert links == {
        ("load a", "matmul"): (None, 0),
        ("matmul", "vector (add)"): (3, 0),
        ("matmul", "matmul 2"): (3, 0),
        ("vector (add)", "matmul 2"): (None, 0),
        ("matmul 2", "vector (add)"): (None, 1),
    }
    outer = bodies(found)[id(found.root)]
    assert [step.name for step in outer.steps] == ["loop", "store b"]
