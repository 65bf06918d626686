"""When requests come: clients who wait for their answers (a closed loop), or a stream that waits for nobody (open)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenarios.errors import ScenarioError
from scenarios.quantities import parse_seconds
from scenarios.serving.lengths import Drawn, read_lengths

NUMBER = r"(\d*\.?\d+(?:e[+-]?\d+)?)"
STREAM = re.compile(rf"(poisson|gamma|even)={NUMBER}(?:/s)?(?:,cv={NUMBER})?")
SPREAD = re.compile(r"closed,spread=(.+)")
RATES = (1e-6, 1e6)
FORMS = (
    "closed, closed,spread=5s, poisson=8/s, gamma=8/s,cv=2, even=8/s, or trace=FILE.csv (its column arrival_s, "
    "TIMESTAMP or timestamp)"
)


@dataclass(frozen=True)
class Arrivals:
    """How requests come.

    ``kind``: closed: each of the clients sends its next request when it has seen the end of its last one, the first
    ones evenly over ``spread_seconds``. poisson, gamma, even: ``rate`` a second on average, with gaps between them
    whose standard deviation is ``variation`` of their mean (1 for poisson, 0 for even). trace: at the times of the
    ``rows`` of the file at ``path``.
    """

    kind: str = "closed"
    rate: float = 0.0
    variation: float = 1.0
    spread_seconds: float = 0.0
    path: Path | None = None
    rows: Drawn | None = None

    @classmethod
    def parse(cls, text: str) -> Arrivals:
        """What a user types. Raises ScenarioError."""
        text = text.strip()
        if text == "closed":
            return cls()
        if spread := SPREAD.fullmatch(text):
            return cls(spread_seconds=parse_seconds(spread[1], "--arrivals closed,spread="))
        if text.startswith("trace="):
            path = Path(text.removeprefix("trace="))
            rows = read_lengths(path)
            if rows.arrivals is None:
                raise ScenarioError(f"{path}: has no column arrival_s, TIMESTAMP or timestamp.")
            return cls("trace", path=path, rows=rows)
        found = STREAM.fullmatch(text)
        if found is None or (found[3] is not None) != (found[1] == "gamma"):
            raise ScenarioError(f"--arrivals {text:.80}: expected {FORMS}.")
        rate, variation = float(found[2]), float(found[3] or (found[1] == "poisson"))
        least, most = RATES
        if not least <= rate <= most or not (found[1] != "gamma" or 0.01 <= variation <= 100):
            raise ScenarioError(
                f"--arrivals {text:.80}: a rate is from {least:g} to {most:g} requests/s, a cv from 0.01 to 100."
            )
        return cls(found[1], rate, variation)

    @property
    def is_closed(self) -> bool:
        """Whether clients wait for their answers."""
        return self.kind == "closed"

    def times(self, count: int, chance: np.random.Generator) -> NDArray[np.float64]:
        """When each of ``count`` requests of a stream is sent, seconds from the first. Raises ScenarioError."""
        if self.rows is not None and self.rows.arrivals is not None:
            found = self.rows.arrivals
            if len(found) < count:
                raise ScenarioError(f"{self.path}: has {len(found)} requests; --requests asks for {count}.")
            return np.asarray(found[:count])
        if self.kind == "even":
            gaps = np.full(count, 1.0 / self.rate)
        else:
            shape = 1.0 / self.variation**2  # of gamma; 1 is the exponential gap of Poisson arrivals
            gaps = chance.gamma(shape, 1.0 / (shape * self.rate), count)
        gaps[:1] = 0.0
        times: NDArray[np.float64] = np.cumsum(gaps)
        return times
