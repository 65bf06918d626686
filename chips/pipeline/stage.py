"""The parts of a metapipeline: stages and the buffers between them.

Belongs here: what one part is and which values make sense. When they run is in ``chips.pipeline.metapipeline``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from chips.pipeline.max_plus import IntArray

if TYPE_CHECKING:
    from chips.pipeline.metapipeline import Metapipeline


@dataclass(frozen=True, eq=False)
class Stage:
    """One step of every iteration.

    ``work``: picoseconds of one iteration on one unit; an int64 array with an entry an iteration; or a metapipeline,
    which fills and drains within each iteration. ``row_par``: units that share each iteration's work.
    ``latency_ps``: from first element in to first element out, where control is streaming.
    ``engine``: stages of one name take turns on it, in the order of the program. ``lag``: iterations by which this
    stage runs behind on it (software pipelining: with lag 1, the next iteration's stages of lag 0 go first).
    """

    name: str
    work: int | IntArray | Metapipeline
    row_par: int = 1
    latency_ps: int = 0
    engine: str = ""
    lag: int = 0

    def __post_init__(self) -> None:
        if self.row_par < 1 or self.lag < 0 or self.latency_ps < 0:
            raise ValueError(
                f"Stage '{self.name}' has row_par {self.row_par}, lag {self.lag} and latency {self.latency_ps} ps; "
                "row_par is at least 1, the others at least 0."
            )
        if isinstance(self.work, int | np.ndarray) and np.any(np.asarray(self.work) < 0):
            raise ValueError(f"Stage '{self.name}' has negative work; it takes at least 0 picoseconds.")

    @cached_property
    def duration_ps(self) -> int | IntArray:
        """Picoseconds of one iteration: its work over its units, rounded up."""
        work = self.work if isinstance(self.work, int | np.ndarray) else self.work.total_ps
        return -(-work // self.row_par)


@dataclass(frozen=True)
class Buffer:
    """What ``source`` writes and ``target`` reads, with room for the values of ``depth`` iterations.

    A slot is taken when its writer starts and free when its reader has finished: with depth 1 neighbours alternate.
    Default: the Spatial compiler's rule, the stages it crosses plus one (neighbours: 2, a double buffer).
    ``carried``: the target reads what was written so many iterations ago (a loop-carried value). ``latency_ps``: how
    much longer than its source's end it takes until the target may start; of what is there at the beginning, too.
    """

    source: str
    target: str
    depth: int | None = None
    carried: int = 0
    latency_ps: int = 0

    def __post_init__(self) -> None:
        if self.latency_ps < 0:
            raise ValueError(
                f"The buffer from '{self.source}' to '{self.target}' has a latency of {self.latency_ps} ps; it is at "
                "least 0."
            )
        if self.carried < 0 or (self.depth is not None and self.depth < max(self.carried, 1)):
            raise ValueError(
                f"The buffer from '{self.source}' to '{self.target}' has depth {self.depth} and is carried over "
                f"{self.carried} iterations; the depth is at least 1 and at least that."
            )
