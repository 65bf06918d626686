"""What the outcome of points becomes in the results' schema: a record of one, or columns of many.

Every function here works on one point and on many of one kind side by side: then what differs between them is an array.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chips.clock.time import PICOSECONDS_PER_SECOND, Picoseconds
from results.words import PARTS
from scenarios.assignment import Assignment
from scenarios.bands import band, energy_band, kernel_source
from scenarios.energy import Dynamic, told
from scenarios.inputs import INPUTS
from scenarios.point import Point
from scenarios.strategies.label import Label
from scenarios.workload.flops import model_flops
from scenarios.workload.operators import Count, Quantity, largest

Record = dict[str, object]
Columns = dict[str, NDArray[Any]]

MISSING = {"str": "", "int64": 0, "float64": float("nan"), "bool": False}
"""What a column holds of a point that does not fit, by dtype."""


@dataclass
class Outcome:
    """What a point took: picoseconds by label, the lower bound of the same work, the bytes it had to stream, and the
    joules of its events on one chip.

    Of points side by side each is an array over them.
    """

    spent: dict[Hashable, Picoseconds] = field(default_factory=dict)
    bound_seconds: Quantity = 0.0
    stream_bytes: Quantity = 0.0
    joules: Dynamic = field(default_factory=dict)

    @property
    def ps(self) -> Picoseconds:
        return sum(self.spent.values())

    @property
    def seconds(self) -> float:
        """Of one point."""
        return largest(self.ps / PICOSECONDS_PER_SECOND)

    def of(self, place: int) -> Outcome:
        """That of one of several points or groups of chips side by side; of one alone, itself."""
        spent: dict[Hashable, Picoseconds] = {label: int(np.atleast_1d(ps)[place]) for label, ps in self.spent.items()}
        joules = {part: each[:, place] if each.ndim > 1 else each for part, each in self.joules.items()}
        return Outcome(spent, _one_of(self.bound_seconds, place), _one_of(self.stream_bytes, place), joules)

    @property
    def parts(self) -> dict[str, Quantity]:
        """Seconds of each of ``PARTS``, the columns of the results."""
        by_part: dict[str, Picoseconds] = dict.fromkeys(PARTS, 0)
        for label, ps in self.spent.items():
            if isinstance(label, Label):
                by_part[label.part] = by_part[label.part] + ps
        return {part: ps / PICOSECONDS_PER_SECOND for part, ps in by_part.items()}

    @property
    def limiter(self) -> str | NDArray[np.object_]:
        """What most of the time waited for."""
        waited: dict[str, Picoseconds] = {}
        for label, ps in self.spent.items():
            if isinstance(label, Label):
                waited[label.limiter] = waited.get(label.limiter, 0) + ps
        if not isinstance(self.ps, np.ndarray):
            return max(waited, key=lambda limiter: waited[limiter])
        most = np.argmax(np.stack(np.broadcast_arrays(*waited.values())), axis=0)
        names: NDArray[np.object_] = np.array(list(waited), dtype=object)
        chosen: NDArray[np.object_] = names[most]
        return chosen


def _one_of(quantity: Quantity, place: int) -> float:
    return float(quantity[place]) if isinstance(quantity, np.ndarray) else quantity


def figures(assignment: Assignment, outcome: Outcome, alike: Outcome, batch: Count, context: Count) -> Record:
    """The columns of what came out, of a point or of many that differ from it in ``batch`` and ``context``.

    ``alike``: the outcome if all chips were alike.
    """
    point = assignment.point
    seconds, parts = outcome.ps / PICOSECONDS_PER_SECOND, outcome.parts
    tokens = {"decode": 1, "request": point.output_tokens or 0}.get(point.phase, context)
    low, high = band(point.chip, point.strategy, point.phase, parts, outcome.bound_seconds)
    working = len(assignment.working)
    joules, by_part, by_cause = told(point.chip.events, working, parts, outcome.joules)
    least, most = energy_band(by_cause, seconds, low, high)
    frozen = bool(point.method.rank)
    flops = model_flops(point.model, point.phase, batch, context, point.output_tokens, frozen=frozen)
    return {
        "working": working,
        "seconds": seconds,
        "alike_s": alike.ps / PICOSECONDS_PER_SECOND,
        "seconds_low": np.minimum(low, seconds),
        "seconds_high": np.maximum(high, seconds),
        "tokens_per_s_user": tokens / seconds,
        "tokens_per_s": batch * tokens / seconds,
        "mfu": flops / (working * point.chip.peak_flops(point.quantization.multiplied)) / seconds,
        "roofline_fraction": outcome.stream_bytes / point.chip.memory.bandwidth / seconds,
        **{f"{part}_s": spent for part, spent in parts.items()},
        "bound_s": outcome.bound_seconds,
        "joules": joules,
        "joules_low": np.minimum(least, joules),
        "joules_high": np.maximum(most, joules),
        "watts": joules / seconds / working,
        "joules_per_token": joules / (batch * tokens),
        "tokens_per_joule": batch * tokens / joules,
        "energy_delay": joules * seconds,
        **{f"{part}_j": each for part, each in by_part.items()},
        **{f"{cause}_j": each for cause, each in by_cause.items()},
        "limiter": outcome.limiter,
        "kernels": kernel_source(point.chip),
        "fits": True,
        "reason": "",
    }


def unfit(count: int) -> Columns:
    """Columns of ``count`` points of which nothing is known yet: as if none fits."""
    from results.schema import COLUMNS

    types = {"str": object, "int64": np.int64, "float64": np.float64, "bool": np.bool_}
    return {name: np.full(count, MISSING[column.dtype], types[column.dtype]) for name, column in COLUMNS.items()}


def asked(points: Sequence[Point]) -> Columns:
    """Columns of points of which nothing is known but what they were asked to be."""
    columns = unfit(len(points))
    for row in INPUTS:
        if row.name in columns:
            columns[row.name][:] = [row.asked_of(point) for point in points]
    return columns
