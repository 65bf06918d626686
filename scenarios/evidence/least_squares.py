"""Constants of a chip from measured times, by nonlinear least squares, with confidence intervals.

Minimised is the sum over rows of (ln(predicted / measured) / spread)**2, which weighs a microsecond and a second
alike, by ``scipy.optimize.least_squares`` with a loss that grows linearly for outliers. The unknowns are the logarithms
of the constants, bounded to a factor of ``REACH`` either way and to what a datasheet may say. The catalog's values are
prior knowledge: a normal prior of width ``PRIOR`` in the logarithm keeps a constant that the rows say little about
where it was, instead of letting it wander.

The 95% intervals are the wider of two: the curvature of what is minimised (H^-1, rows independent), and the sandwich
H^-1 (sum of g g') H^-1 over ``BLOCKS`` blocks of neighbouring rows with gradients g, which holds where the model's own
error is alike in neighbouring shapes (White 1980; Liang and Zeger 1986).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import exp, log
from typing import cast

import numpy as np
from annotated_types import Le
from numpy.typing import NDArray
from pydantic import BaseModel

from chips.catalog_file import Key
from chips.generation import GpuGeneration
from chips.spec import Gpu

Floats = NDArray[np.float64]
REACH = 4.0
PRIOR = 0.5
OUTLIER = 3.0
LEAST_SPREAD = 0.005
BLOCKS = 20
Z_95 = 1.96
STEP = 1e-3
MOST_STEPS = 40
MOST_ROUNDS = 8  # the spread of the rows, by which they are weighed, is what the fit leaves
SETTLED = 0.02


@dataclass(frozen=True)
class FittedConstant:
    """A constant of the generation: ``before`` in the catalog, ``value`` fitted, and its 95% confidence interval."""

    key: Key
    before: float
    value: float
    low: float
    high: float

    @property
    def name(self) -> str:
        """The key as it is written: ``matmul.matrix_efficiency``."""
        return ".".join(self.key)


def with_constants(chip: Gpu, values: Mapping[Key, float]) -> Gpu:
    """The chip with other coefficients of its generation, by key. Raises ValidationError for one out of its range."""
    data = chip.generation.model_dump()
    for key, value in values.items():
        place = reduce(lambda table, part: table[part], key[:-1], data)
        place[key[-1]] = round(value) if isinstance(place[key[-1]], int) else value
    return chip.model_copy(update={"generation": GpuGeneration.model_validate(data)})


def fit_constants(
    chip: Gpu, candidates: Sequence[Key], predict: Callable[[Gpu], Floats], measured: Floats
) -> tuple[FittedConstant, ...]:
    """Those of ``candidates`` on which the rows depend, fitted.

    ``predict``: seconds of all rows on a chip; ``measured``: the same as measured, shape (rows,).
    """
    from scipy.optimize import least_squares

    start = predict(chip)
    keys = [key for key in candidates if not np.allclose(predict(_scaled(chip, key, 0.9)), start, rtol=1e-6, atol=0.0)]
    if not keys:
        return ()
    before = np.array([_value(chip, key) for key in keys])
    most = np.array([_most(key) for key in keys])
    lower = np.full(len(keys), -log(REACH))
    upper = np.minimum(log(REACH), np.log(most / before))

    def misfit(logs: Floats) -> Floats:
        values = np.minimum(before * np.exp(logs), most)
        return np.log(predict(with_constants(chip, dict(zip(keys, map(float, values), strict=True)))) / measured)

    def slopes(logs: Floats) -> Floats:
        """d misfit / d logs, one-sided: away from the upper bound."""
        here, columns = misfit(logs), []
        for number in range(len(keys)):
            step = -STEP if logs[number] + STEP > upper[number] else STEP
            moved = logs.copy()
            moved[number] += step
            columns.append((misfit(moved) - here) / step)
        return np.stack(columns, axis=1)

    logs = np.minimum(0.0, upper - STEP)
    spread = _spread(misfit(logs))
    for _ in range(MOST_ROUNDS):
        found = least_squares(
            lambda at, spread=spread: np.concatenate([misfit(at) / spread, at / PRIOR]),
            logs,
            jac=lambda at, spread=spread: np.concatenate([slopes(at) / spread, np.eye(len(keys)) / PRIOR]),
            bounds=(lower, upper),
            loss="soft_l1",
            f_scale=OUTLIER,
            max_nfev=MOST_STEPS,
        )
        logs = np.minimum(found.x, upper - 1e-9)
        before_spread, spread = spread, _spread(misfit(logs))
        if abs(spread / before_spread - 1) < SETTLED:
            break
    width = Z_95 * _deviations(misfit(logs), slopes(logs), _spread(misfit(logs)))
    return tuple(
        FittedConstant(
            key,
            float(was),
            float(min(was * exp(at), limit)),
            float(was * exp(at - wide)),
            float(min(was * exp(at + wide), limit)),
        )
        for key, was, at, wide, limit in zip(keys, before, logs, width, most, strict=True)
    )


def _deviations(misfit: Floats, slopes: Floats, spread: float) -> Floats:
    """Standard deviations of the logarithms."""
    weight = 1.0 / np.sqrt(1.0 + (misfit / spread / OUTLIER) ** 2)  # of each row, by the loss
    scaled, errors = slopes / spread, weight * misfit / spread
    inverse = np.linalg.inv(scaled.T @ (weight[:, None] * scaled) + np.eye(slopes.shape[1]) / PRIOR**2)
    blocks = np.array_split(np.arange(len(misfit)), min(BLOCKS, len(misfit)))
    gradients = np.stack([scaled[rows].T @ errors[rows] for rows in blocks])
    gradients = gradients - gradients.mean(axis=0)  # their sum is what the prior pulls against
    middle = gradients.T @ gradients * len(blocks) / max(1, len(blocks) - 1)
    return np.sqrt(np.maximum(np.diag(inverse), np.diag(inverse @ middle @ inverse)))


def _spread(misfit: Floats) -> float:
    """Standard deviation of a normal distribution with the same median distance from zero."""
    return max(LEAST_SPREAD, 1.4826 * float(np.median(np.abs(misfit))))


def _scaled(chip: Gpu, key: Key, factor: float) -> Gpu:
    return with_constants(chip, {key: factor * _value(chip, key)})


def _value(chip: Gpu, key: Key) -> float:
    return float(reduce(getattr, key, chip.generation))  # type: ignore[arg-type]


def _most(key: Key) -> float:
    """What the model of the generation limits this coefficient to."""
    owner: type[BaseModel] = GpuGeneration
    for part in key[:-1]:
        owner = cast(type[BaseModel], owner.model_fields[part].annotation)
    limits = [limit.le for limit in owner.model_fields[key[-1]].metadata if isinstance(limit, Le)]
    return float(limits[0]) if limits else np.inf  # type: ignore[arg-type]
