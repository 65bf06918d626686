"""Rows added up in two orders: as they lie, and as each says where the next one is.

Both move the same bytes and do the same sums. Of the first, every address is known before; of the second, only the
first one.
"""

from __future__ import annotations

from chips.tiles.language import Tensor, empty, fill, load_tile, metapipe, same_sides, store_tile


def stream(nodes: Tensor, following: Tensor, total: Tensor) -> None:
    """total = the sum of all rows of ``nodes``, in the order in which they lie; ``following`` is read beside them."""
    width = same_sides((nodes, 1), (total, 1))
    found = empty((1, width))
    found.write(fill((1, width), 0.0))
    for i in metapipe(same_sides((nodes, 0), (following, 0))):
        load_tile(following, (1, 1), at=(i, 0))
        found.write(found.read() + load_tile(nodes, (1, width), at=(i, 0)))
    store_tile(total, found.read(), at=(0, 0))


def linked_list(nodes: Tensor, following: Tensor, total: Tensor) -> None:
    """total = the sum of as many rows of ``nodes`` as there are, from row 0 on; ``following``: the row after each."""
    width = same_sides((nodes, 1), (total, 1))
    found, place = empty((1, width)), empty((1, 1))
    found.write(fill((1, width), 0.0))
    place.write(fill((1, 1), 0.0))
    for _ in metapipe(same_sides((nodes, 0), (following, 0))):
        row = place.read()
        place.write(load_tile(following, (1, 1), at=(row, 0)))
        found.write(found.read() + load_tile(nodes, (1, width), at=(row, 0)))
    store_tile(total, found.read(), at=(0, 0))
