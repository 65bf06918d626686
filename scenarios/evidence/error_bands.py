"""How far measured tables are from their predictions, family by family: what ``bands.toml`` holds.

Belongs here: from predicted tables to spreads, and the file they are written into. How they become the band of a
result is in ``scenarios.bands``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chips.spec import load_gpu
from results.words import PARTS
from scenarios.bands import (
    COVERAGE,
    DATAFLOW,
    OVERHEAD_PARTS,
    PER_OPERATOR,
    PERSISTENT,
    TRAINING,
    UNMEASURED,
    WATTS,
    Spread,
    Spreads,
    kernel_band,
    kernel_spreads,
    kind_of_run,
)
from scenarios.errors import ScenarioError
from scenarios.evidence.held_out import held_out
from scenarios.evidence.tables import Predictions
from scenarios.workload.operators import largest

Floats = NDArray[np.float64]

FAMILIES = {
    "matmul": r"(?P<chip>[^_]+)_gemm_.*",
    "attention_prefill": r"(?P<chip>[^_]+)_attention_prefill_.*",
    "attention_decode": r"(?P<chip>[^_]+)_attention_decode_.*",
    "allreduce": r"(?P<chip>[^_]+)_collectives, AllReduce .*",
}
FEW = 10  # rows from which no percentile can be read: the band then comes from their mean square
LEAST_RATIO = 1e-3
HEADER = """\
# Written by `loopline accuracy -o docs/accuracy.md --spreads scenarios/bands.toml`; never by hand.
# Measured over predicted time: low and high hold 8 of 10 rows. [kernels]: rows that no fit has seen, by the generation
# of their chip; "unmeasured": a chip predicted with the coefficients of another generation. [runs]: what is left of
# the error of published runs, over the time that they do not spend in those kernels; training: over all of it; watts:
# of whole boards.
"""


def compute_spreads(tables: Sequence[Predictions], left_out: Sequence[Predictions]) -> Spreads:
    """Spreads from predicted ``tables``; ``left_out``: tables predicted with the coefficients of another generation.

    Families and runs that no table holds are not there.
    """
    kernels: dict[str, dict[str, Spread]] = {}
    for family, pattern in FAMILIES.items():
        by_generation: dict[str, list[Predictions]] = {}
        for table in tables:
            match = re.fullmatch(pattern, table.table)
            if match and np.isfinite(table.predicted).any():
                generation = load_gpu(match["chip"]).generation.name
                by_generation.setdefault(generation, []).append(table)
        others = [table for table in left_out if re.fullmatch(pattern, table.table)]
        for generation, found in (by_generation | ({UNMEASURED: others} if others else {})).items():
            kernels.setdefault(generation, {})[family] = _kernel_spread(found)
    runs: dict[str, Spread] = {}
    for table in tables:
        if table.table == "inference" and UNMEASURED in kernels:
            runs |= _run_spreads(table, Spreads(kernels=kernels, runs={}))
        if re.fullmatch(r"energy_.*, watts", table.table):
            runs[WATTS] = _spread(table.measured / table.predicted, table.table.split(", ")[0])
        if table.table == TRAINING:
            runs[TRAINING] = _spread(table.measured / table.predicted, TRAINING)
    return Spreads(kernels=kernels, runs=runs)


def as_toml(spreads: Spreads) -> str:
    """The text of ``bands.toml``."""
    sections = [
        (f"kernels.{generation}.{family}", spread)
        for generation, families in spreads.kernels.items()
        for family, spread in families.items()
    ]
    sections += [(f"runs.{kind}", spread) for kind, spread in spreads.runs.items()]
    return HEADER + "".join(
        f"\n[{name}]\nlow = {spread.low:.3f}\nhigh = {spread.high:.3f}\nrows = {spread.rows}\n"
        f'tables = "{spread.tables}"\n'
        for name, spread in sections
    )


def write_spreads(spreads: Spreads, path: Path) -> None:
    """``spreads`` into ``path``. Raises ScenarioError where they are not all there, OutputError where it is no file."""
    from results.atomic_file import written_beside

    families = spreads.kernels.get(UNMEASURED, {})
    missing = [
        name
        for name in (*FAMILIES, PER_OPERATOR, PERSISTENT, DATAFLOW, TRAINING, WATTS)
        if name not in {*families, *spreads.runs}
    ]
    if missing:
        raise ScenarioError(f"{path}: no table tells the spread of {missing[0]}; bands need the project's own tables.")
    with written_beside(path) as beside:
        beside.write_text(as_toml(spreads), encoding="utf-8")


def _kernel_spread(tables: Sequence[Predictions]) -> Spread:
    ratios, names = [], []
    for table in tables:
        unseen = held_out(table.rows, table.table)
        ratios.append(table.measured[unseen] / table.predicted[unseen])
        names.append(table.table.split(", ")[0])
    return _spread(np.concatenate(ratios), ", ".join(dict.fromkeys(names)))


def _spread(ratio: Floats, tables: str = "inference") -> Spread:
    """The percentiles that hold ``COVERAGE`` of the rows; of few rows, what a t-distribution with their mean square
    and as many degrees of freedom holds."""
    ratio = ratio[np.isfinite(ratio)]
    if ratio.size < FEW:
        width = _t_quantile(ratio.size) * float(np.sqrt(np.mean(np.log(ratio) ** 2)))
        low, high = np.exp(-width), np.exp(width)
    else:
        low, high = np.quantile(ratio, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Spread(low=round(float(low), 3), high=round(float(high), 3), rows=ratio.size, tables=tables)


def _t_quantile(degrees: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + COVERAGE) / 2, degrees))


def _run_spreads(table: Predictions, known: Spreads) -> dict[str, Spread]:
    """Of each kind of run, measured over predicted time of what is no kernel.

    Beyond the bands of its kernels; where few runs are published, these bands are not taken off: all of their error
    counts.
    """
    runs: dict[str, list[_Run]] = {kind: [] for kind in (PER_OPERATOR, PERSISTENT, DATAFLOW)}
    for prices, measured in zip(table.runs, table.measured[np.isfinite(table.predicted)], strict=True):
        point, outcomes = prices.points[0], prices.outcomes
        parts = {part: sum(largest(outcome.parts[part]) for outcome in outcomes) for part in PARTS}
        below, above = kernel_band(parts, kernel_spreads(point.chip, point.phase, known))
        overhead = sum(parts[part] for part in OVERHEAD_PARTS)
        kind = kind_of_run(point.chip, point.strategy)
        runs[kind].append(_Run(float(measured) - sum(parts.values()), largest(below), largest(above), overhead))
    return {
        kind: _spread(np.array([run.ratio(len(found) < FEW) for run in found])) for kind, found in runs.items() if found
    }


class _Run(NamedTuple):
    """A published run, seconds: measured less predicted, the band of its kernels below and above, its overhead."""

    slower: float
    below: float
    above: float
    overhead: float

    def ratio(self, whole_error: bool) -> float:
        """Measured over predicted overhead, had all else been as predicted or, unless ``whole_error``, in its band."""
        below, above = (0.0, 0.0) if whole_error else (self.below, self.above)
        beyond = max(0.0, self.slower - above) - max(0.0, -self.slower - below)
        # An overhead that would have to be negative explains nothing: it counts as none left.
        return max(1.0 + beyond / self.overhead, LEAST_RATIO)
