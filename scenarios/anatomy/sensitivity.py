"""How an answer moves with each constant that it rests on and that nobody knows exactly.

A constant is uncertain where its source in the datasheet says that it was fitted, or is no more than inferred. Each is
moved by itself, by as much either way as measured rows of the fitted ones often tolerate (docs/accuracy.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from chips.catalog_file import CatalogError
from chips.changes import ChangedName, read_name
from chips.datasheet import Row, datasheet
from chips.spec import load_chip, values_of
from results.words import CONSTANT_FACTOR
from scenarios.errors import ScenarioError
from scenarios.inputs import Option, listed
from scenarios.point import Point
from scenarios.pricing import grid, price
from scenarios.strategies import STRATEGIES
from scenarios.workload.model import Model

UNCERTAIN = ("fitted", "[inferred", "[approx", "[recalled", "unpublished")
MOST_POINTS = 60
MOVED = ("chip", "count", "strategy", "launch")
"""In which points may differ whose constants are moved together."""


def sensitivities(
    model: str | Model,
    chips: str | Sequence[str],
    count: int | Sequence[int] = 1,
    *,
    strategy: str | Sequence[str] = tuple(STRATEGIES),
    **options: Option | Sequence[Option],
) -> list[dict[str, object]]:
    """A record for each point and uncertain constant of its chip: ``seconds``, and what they are with less and more.

    ``value`` of the ``constant`` in ``unit``, with its ``source``; ``seconds_less`` with 1/1.25 of it, ``seconds_more``
    with 1.25 times it, of a share with no more than the whole. Arguments as ``compare``, of which chips, counts,
    strategies and launches may be lists. Raises as it does, and ScenarioError for other lists.
    """
    records: list[dict[str, object]] = []
    for name in listed(chips):
        points = list(grid(model, name, count, strategy=strategy, **options))
        check_points(points)
        rows = list(_uncertain(name))
        variants = [
            (row, _changed(name, row, 1 / CONSTANT_FACTOR), _changed(name, row, CONSTANT_FACTOR)) for row in rows
        ]
        asked = [name, *(variant for _, less, more in variants for variant in (less, more) if variant != name)]
        changed = [point for each in asked for point in grid(model, each, count, strategy=strategy, **options)]
        times = price(changed).frame()["seconds"].to_numpy(np.float64).reshape(len(asked), len(points))
        seconds = dict(zip(asked, times, strict=True))
        for place, point in enumerate(points):
            whole = seconds[name][place]
            for row, less, more in variants if np.isfinite(whole) else ():
                records.append(
                    {
                        "chip": point.chip.name,
                        "count": point.count,
                        "strategy": point.strategy,
                        "launch": point.launch,
                        "seconds": float(whole),
                        "constant": _key(row),
                        "value": row["value"],
                        "unit": row["unit"],
                        "source": row["source"],
                        "seconds_less": float(seconds[less][place]),
                        "seconds_more": float(seconds[more][place]),
                    }
                )
    return records


def check_points(points: Sequence[Point]) -> None:
    """Raise ScenarioError where points of one chip are too many, or differ in more than ``MOVED``."""
    by_chip: dict[str, list[Point]] = {}
    for point in points:
        by_chip.setdefault(point.chip.name, []).append(point)
    for own in by_chip.values():
        if len(own) > MOST_POINTS:
            raise ScenarioError(
                f"--sensitivity prices each row of a chip anew for every constant; it takes {MOST_POINTS} of them, not "
                f"{len(own)}."
            )
        if len({tuple(value for key, value in vars(point).items() if key not in MOVED) for point in own}) > 1:
            raise ScenarioError(
                "--sensitivity is told of one model, phase, batch, context and so on; only chips, counts, strategies "
                "and launches may be lists beside it."
            )


def _uncertain(chip: str) -> Iterator[Row]:
    """The values of a datasheet that may be off, but for those that were asked for; energy is another question.

    Whole numbers are choices, such as parts of k, where the chip has no other.
    """
    values = values_of(load_chip(chip))
    for row in datasheet(chip):
        value = values.get(_key(row))
        told = any(word in row["source"] for word in UNCERTAIN)
        if told and isinstance(value, float) and value > 0.0 and "energy" not in row["section"]:
            yield row


def _key(row: Row) -> str:
    return row["key"] if row["section"] == "chip" else f"{row['section']}.{row['key']}"


def _changed(chip: str, row: Row, factor: float) -> str:
    """The name of the chip with that constant moved, or its own where its datasheet cannot hold any such value."""
    base, changes = read_name(chip)
    value = float(row["value"])  # type: ignore[arg-type]  # numbers alone are uncertain
    for moved in (value * factor, 1.0) if factor > 1.0 > value else (value * factor,):
        name = str(ChangedName(base, changes | {_key(row): float(f"{moved:.6g}")}))
        try:
            load_chip(name)
        except CatalogError:
            continue
        return name
    return chip
