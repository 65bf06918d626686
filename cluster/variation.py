"""How the chips of a cluster differ: stragglers, slow links, failed chips, and the spread between chips of one make.

Here: what a user says about it (``Variation``), and what follows for each chip (``Slowdown``). A chip is never faster
than its datasheet: spread is drawn as |normal|, so a result stays above its physical bound. Draws are by chip: chip 3
of 4 and chip 3 of 8 are the same chip, in every run and on every executor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Factors = NDArray[np.float64]
Resource = Literal["clock", "memory"]


EXPECTED = (
    "expected items of clock=SPREAD, memory=SPREAD, seed=NUMBER, straggler=FRACTION@CHIP, slow-link=FRACTION@CHIP and "
    "failed=CHIP, with commas between"
)
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Slow:
    """One chip for which something takes ``fraction`` longer than the datasheet says: 0.1 is 10% longer."""

    chip: int
    fraction: float


@dataclass(frozen=True, eq=False)
class Slowdown:
    """By which factor each chip takes longer; arrays of shape (chips,), each at least 1.

    ``clock``: for what its units compute; ``memory``: for what crosses its off-chip memory; ``link``: for bytes over
    its links to other chips.
    """

    clock: Factors
    memory: Factors
    link: Factors

    def __post_init__(self) -> None:
        shapes = {self.clock.shape, self.memory.shape, self.link.shape}
        if len(shapes) > 1 or len(self.clock.shape) != 1:
            raise ValueError(f"A slowdown has one factor a chip; the shapes are {sorted(shapes)}.")
        least = min(float(factors.min()) for factors in (self.clock, self.memory, self.link))
        if least < 1.0:
            raise ValueError(f"A slowdown of {least} is faster than the datasheet; each is at least 1.")

    @classmethod
    def whole_chips(cls, factors: Factors) -> Slowdown:
        """Chips on which everything takes ``factors`` longer, except what crosses links."""
        return cls(factors, factors, np.ones_like(factors))

    @property
    def chips(self) -> int:
        return int(self.clock.size)


@dataclass(frozen=True)
class Variation:
    """How chips differ from their datasheet, to be drawn for any number of them; chips count from 0.

    As text (``parse``, ``str``): ``clock=0.02,memory=0.01,seed=1,straggler=0.1@3,slow-link=1@2,failed=5``.

    ``clock`` and ``memory``: standard deviation of the normal draw whose absolute value is by how much longer a chip's
    units and its memory take. ``stragglers``: chips on which both take longer, by that fraction; ``slow_links``: chips
    whose links do; ``failed``: chips that are gone.
    """

    clock: float = 0.0
    memory: float = 0.0
    seed: int = 0
    stragglers: tuple[Slow, ...] = ()
    slow_links: tuple[Slow, ...] = ()
    failed: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Variation:
        """The variation that a text names. Raises ValueError in one sentence for what it does not understand."""
        spread: dict[str, float] = {}
        seed = 0
        slow: dict[str, list[Slow]] = {"straggler": [], "slow-link": []}
        failed: list[int] = []
        for item in filter(None, text.split(",")):
            name, _, value = item.strip().partition("=")
            if name in ("clock", "memory"):
                spread[name] = _number(item, value, float)
            elif name == "seed":
                seed = _number(item, value, int)
            elif name in slow:
                fraction, at, chip = value.partition("@")
                slow[name].append(Slow(_number(item, chip if at else "", int), _number(item, fraction, float)))
            elif name == "failed":
                failed.append(_number(item, value, int))
            else:
                raise ValueError(f"'{item.strip()}' is not understood; {EXPECTED}.")
        return cls(
            **spread,
            seed=seed,
            stragglers=_ordered(slow["straggler"]),
            slow_links=_ordered(slow["slow-link"]),
            failed=tuple(sorted(set(failed))),
        )

    def __str__(self) -> str:
        items = [f"{name}={value:g}" for name, value in (("clock", self.clock), ("memory", self.memory)) if value]
        items += [f"seed={self.seed}"] if items and self.seed else []
        items += [f"straggler={slow.fraction:g}@{slow.chip}" for slow in self.stragglers]
        items += [f"slow-link={slow.fraction:g}@{slow.chip}" for slow in self.slow_links]
        items += [f"failed={chip}" for chip in self.failed]
        return ",".join(items)

    @property
    def named_chips(self) -> set[int]:
        """The chips that are named one by one."""
        return {slow.chip for slow in self.stragglers + self.slow_links} | set(self.failed)

    def slowdown(self, chips: Sequence[int]) -> Slowdown | None:
        """The factors of the ``chips`` that work together, by their number; None where all are alike."""
        if not chips:
            return None
        present = np.asarray(chips)
        spread = [self._drawn(stream, sigma, present) for stream, sigma in enumerate((self.clock, self.memory))]
        straggling, link = np.ones(present.size), np.ones(present.size)
        for factors, slow_ones in ((straggling, self.stragglers), (link, self.slow_links)):
            for slow in slow_ones:
                factors[present == slow.chip] *= 1.0 + slow.fraction
        slowdown = Slowdown(spread[0] * straggling, spread[1] * straggling, link)
        alike = all(np.all(factors == 1.0) for factors in (slowdown.clock, slowdown.memory, slowdown.link))
        return None if alike else slowdown

    def _drawn(self, stream: int, sigma: float, chips: NDArray[np.int64]) -> Factors:
        if sigma == 0.0:
            return np.ones(chips.size)
        draws = np.random.default_rng([self.seed, stream]).standard_normal(int(chips.max()) + 1)
        return 1.0 + sigma * np.abs(draws[chips])


def _number(item: str, text: str, kind: type[Number]) -> Number:
    try:
        number = kind(text)
    except ValueError:
        raise ValueError(f"'{item.strip()}' is not understood; {EXPECTED}.") from None
    if not 0 <= number < np.inf:
        raise ValueError(f"'{item.strip()}' has {number}; it must be 0 or more: no chip is faster than its datasheet.")
    return number


def _ordered(slow: list[Slow]) -> tuple[Slow, ...]:
    return tuple(sorted(slow, key=lambda one: (one.chip, one.fraction)))
