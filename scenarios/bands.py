"""The band of a predicted time: how far measurements of such times have been from predictions of them.

Belongs here: how the parts of a row compose into ``seconds_low`` and ``seconds_high``, and when two strategies are too
close to be told apart. What each family of parts is off by is data, in ``bands.toml``, which ``loopline
accuracy`` writes from the measured tables (``scenarios.evidence.error_bands``).

A band holds the measurement in about 8 of 10 cases. It composes so:

* ``matmul_s``, ``attention_s`` and ``allreduce_s`` may each be off by what held-out rows of their tables were. Within
  a family the error does not average out: every decoder runs the same kernels, so one error is made in all of them.
  Families were fitted apart, so their errors are independent: their half-widths add as the root of their squares.
* Launches, filling and draining, and the small operators have no table of their own. They carry what is left of the
  error of published runs once their kernels' bands are taken off, chosen so that 8 of 10 runs lie inside.
* A chip of which nobody measured a kernel says so (``kernel_source``). Of a measured generation, it has the errors of
  its sibling, half as large again; of another, and a dataflow chip, those of a chip that was left out whole.
* Joules are watts times seconds: they carry the error of measured watts, and that of the time that static power is
  spent in; both are independent.
* A training step has the errors of its kernels on that chip, or those of published steps and layers as a whole (which
  have theirs in them, and are half as large again where nobody measured the chip) where these are wider. Those steps
  ran a kernel an operator; other strategies have the errors of their own launches beside.

Two strategies on the same chips share their kernels, so they share the kernels' errors: if products take 10% longer
than predicted, they do so in both. Only the part of a family that one strategy has more of counts for the difference.
Launches are shared in the same way between two persistent strategies, and independent between those and
``per_operator``, whose launches are other events. Errors between chips are not compared: they share too little.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import combinations
from math import hypot
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from chips.catalog_file import validate
from chips.spec import ChipBase, Gpu
from results.text_file import read_toml
from results.words import KERNEL_SOURCES
from scenarios.strategies import strategy_on
from scenarios.workload.operators import Quantity

if TYPE_CHECKING:
    import pandas as pd

SPREADS = Path(__file__).parent / "bands.toml"
COVERAGE = 0.8
OVERHEAD_PARTS = ("other", "launch", "host", "dependency", "fill_drain")
MEASURED, SIBLING, UNMEASURED = KERNEL_SOURCES
SIBLING_WIDTH = 1.5  # published runs of H800 and A100 40 GB are off 1.6 and 1.1 times as much as of H100 and A100
PER_OPERATOR, PERSISTENT, DATAFLOW, TRAINING = "per_operator", "persistent", "dataflow", "training"
WATTS = "watts"


class Spread(BaseModel):
    """Measured over predicted time: ``low`` and ``high`` hold 8 of 10 of ``rows`` rows of ``tables``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: PositiveFloat
    high: PositiveFloat
    rows: PositiveInt
    tables: str

    @property
    def below(self) -> float:
        """What a predicted second may be too long, s."""
        return max(0.0, 1.0 - self.low)

    @property
    def above(self) -> float:
        """What a predicted second may be too short, s."""
        return max(0.0, self.high - 1.0)

    def widened(self, times: float) -> Spread:
        """The same of errors that are so many times larger, as ratios."""
        return self.model_copy(update={"low": self.low**times, "high": self.high**times})

    @property
    def widest(self) -> float:
        """The larger of ``below`` and ``above``."""
        return max(self.below, self.above)


class Spreads(BaseModel):
    """``kernels``: by generation (or ``unmeasured``) and family; ``runs``: of what is no kernel, by kind of run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kernels: dict[str, dict[str, Spread]]
    runs: dict[str, Spread]


@cache
def spreads(path: Path = SPREADS) -> Spreads:
    """The spreads of the installed data file. Raises CatalogError where it is not readable."""
    return validate(Spreads, read_toml(path), path)


def kind_of_run(chip: ChipBase, strategy: str) -> str:
    """Whose launches these are: of kernels an operator, of a persistent kernel, or of a dataflow chip."""
    if not isinstance(chip, Gpu):
        return DATAFLOW
    return PERSISTENT if strategy_on(chip, strategy).fuses else PER_OPERATOR


def kernel_spreads(chip: ChipBase, phase: str, known: Spreads) -> dict[str, Spread]:
    """The spread of each part that has tables, on this chip; a request's attention is mostly that of decode, a training
    step's that of prefill."""
    source = kernel_source(chip, known)
    families = known.kernels[chip.generation.name if isinstance(chip, Gpu) and source != UNMEASURED else UNMEASURED]
    attention = "attention_prefill" if phase in ("prefill", "train") else "attention_decode"
    chosen = {"matmul": families["matmul"], "attention": families[attention], "allreduce": families["allreduce"]}
    if source == SIBLING:
        return {part: spread.widened(SIBLING_WIDTH) for part, spread in chosen.items()}
    return chosen


def kernel_source(chip: ChipBase, known: Spreads | None = None) -> str:
    """Whose kernels were measured, a word of ``KERNEL_SOURCES``: the chip's, a sibling's, or of none of its kind."""
    if not isinstance(chip, Gpu) or chip.generation.name not in (known or spreads()).kernels:
        return UNMEASURED
    return MEASURED if chip.kernels_measured else SIBLING


def step_spread(chip: ChipBase, known: Spreads) -> Spread:
    """The spread of a training step as a whole, on this chip."""
    steps = known.runs[TRAINING]
    return steps if kernel_source(chip, known) == MEASURED else steps.widened(SIBLING_WIDTH)


def kernel_band(parts: Mapping[str, Quantity], kernels: Mapping[str, Spread]) -> tuple[Quantity, Quantity]:
    """How far below and above the prediction a run may come by its kernels alone, seconds."""
    below = [parts[part] * spread.below for part, spread in kernels.items()]
    above = [parts[part] * spread.above for part, spread in kernels.items()]
    return np.sqrt(sum(each * each for each in below)), np.sqrt(sum(each * each for each in above))


def band(
    chip: ChipBase, strategy: str, phase: str, parts: Mapping[str, Quantity], bound_seconds: Quantity
) -> tuple[Quantity, Quantity]:
    """(``seconds_low``, ``seconds_high``) of a row whose ``parts`` (by name, without ``_s``) are seconds.

    The lower end is never below the physical bound. Arrays of points side by side have arrays as bands.
    """
    known, whole = spreads(), sum(parts.values())
    below: Quantity
    above: Quantity
    below, above = kernel_band(parts, kernel_spreads(chip, phase, known))
    kind = kind_of_run(chip, strategy)
    if phase == "train":
        steps = step_spread(chip, known)
        below, above = np.maximum(below, whole * steps.below), np.maximum(above, whole * steps.above)
    if phase != "train" or kind != PER_OPERATOR:
        run, overhead = known.runs[kind], sum(parts[part] for part in OVERHEAD_PARTS)
        below, above = below + overhead * run.below, above + overhead * run.above
    return np.maximum(whole - below, np.minimum(bound_seconds, whole)), whole + above


def energy_band(
    by_cause: Mapping[str, Quantity], seconds: Quantity, low: Quantity, high: Quantity
) -> tuple[Quantity, Quantity]:
    """(``joules_low``, ``joules_high``) of joules ``by_cause`` in ``seconds``, whose band is ``low`` to ``high``."""
    run, whole, static = spreads().runs[WATTS], sum(by_cause.values()), by_cause["static"]
    below = np.hypot(whole * run.below, static * (1.0 - low / seconds))
    above = np.hypot(whole * run.above, static * (high / seconds - 1.0))
    return np.maximum(whole - below, 0.0), whole + above


def too_close(results: pd.DataFrame, chips: Mapping[str, ChipBase]) -> list[str]:
    """A line for each pair of strategies in ``results`` that the errors they do not share could swap, with where.

    ``chips``: the chips of the frame by name. Rows that do not fit are left out.
    """
    from results.schema import SETTING

    found: dict[str, dict[str, str]] = {}
    for (name, count, *_), rows in results[results["fits"]].groupby(["chip", "count", *SETTING], sort=False):
        for (_, one), (_, other) in combinations(rows.iterrows(), 2):
            if abs(one["seconds"] - other["seconds"]) < _unsure(chips[str(name)], one, other):
                places = found.setdefault(f"{one['strategy']} and {other['strategy']}", {})
                places[str(name)] = f"{places.get(str(name), name)} x{count}"
    return [f"{pair}: {', '.join(places.values())}" for pair, places in found.items()]


def _unsure(chip: ChipBase, one: pd.Series, other: pd.Series) -> float:
    """Seconds by which the difference of two strategies may be wrong, from what they do not share."""
    known, phase = spreads(), str(one["phase"])
    kinds = [kind_of_run(chip, row["strategy"]) for row in (one, other)]
    steps = step_spread(chip, known).widest if phase == "train" else 0.0
    terms = [
        (one[f"{part}_s"] - other[f"{part}_s"]) * max(spread.widest, steps)
        for part, spread in kernel_spreads(chip, phase, known).items()
    ]
    overheads = [
        sum(row[f"{part}_s"] for part in OVERHEAD_PARTS) * max(known.runs[kind].widest, steps)
        for row, kind in zip((one, other), kinds, strict=True)
    ]
    together = all(strategy_on(chip, row["strategy"]).fuses for row in (one, other))
    return hypot(*terms, *([overheads[0] - overheads[1]] if together else overheads))
