"""Which algorithm is the fastest for which payloads, and where one overtakes another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from collectives.links import Links, fastest

LARGEST_BYTES = 2**40  # as far as is looked


@dataclass(frozen=True)
class Reign:
    """From ``first_bytes`` to ``last_bytes`` (None: as far as was looked, 1 TiB) ``algorithm`` is the fastest."""

    algorithm: str
    first_bytes: int
    last_bytes: int | None


def crossovers(links: Links, names: Sequence[str]) -> list[Reign]:
    """Which algorithm is the fastest for which payloads; each border is found to the byte.

    Looked for between powers of two: an algorithm that is the fastest only inside of one octave is not seen.
    """

    def best(payload: int) -> str:
        return fastest(links, payload, names)

    grid = [0, *(2**power for power in range(LARGEST_BYTES.bit_length()))]
    winners = [best(payload) for payload in grid]
    reigns = [Reign(winners[0], 0, None)]
    for (low, before), (high, after) in pairwise(zip(grid, winners, strict=True)):
        if before == after:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if best(middle) == before else (low, middle)
        reigns[-1] = Reign(before, reigns[-1].first_bytes, low)
        reigns.append(Reign(after, high, None))
    return reigns
