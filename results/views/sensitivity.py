"""Which constants move an answer, and how far: what ``scenarios.anatomy.sensitivity`` found, chosen and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from results.printed_table import Column, print_line, print_table
from results.words import CONSTANT_FACTOR

Records = Sequence[Mapping[str, Any]]
MOST = 12
"""Constants of a chip and count that are shown."""
LEAST_MOVED = 0.005
"""Of a row's time; constants that move all rows by less are none that anybody has to know better."""


def by_chips(records: Records) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """The records of each chip and count, under "h100 x8"."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        found.setdefault(f"{record['chip']} x{record['count']}", []).append(record)
    return list(found.items())


def strategies_of(records: Records) -> list[tuple[str, str]]:
    """Strategies with their launches, in order of appearance."""
    return list(dict.fromkeys((record["strategy"], record["launch"]) for record in records))


def effect(record: Mapping[str, Any]) -> tuple[float, float]:
    """By what share the time of a row changes with less of the constant, and with more of it."""
    return record["seconds_less"] / record["seconds"] - 1.0, record["seconds_more"] / record["seconds"] - 1.0


def moving_most(records: Records) -> list[str]:
    """The constants that move any row of one chip and count, the one that moves a row most first."""
    moved: dict[str, float] = {}
    for record in records:
        moved[record["constant"]] = max(moved.get(record["constant"], 0.0), *map(abs, effect(record)))
    return sorted((name for name in moved if moved[name] >= LEAST_MOVED), key=lambda name: -moved[name])[:MOST]


def print_sensitivities(records: Records, stream: TextIO) -> None:
    """A table a chip and count: a row a constant, a column a strategy, whose time changes by so much either way."""
    factors = f"1/{CONSTANT_FACTOR} and with {CONSTANT_FACTOR}"
    print_line(f"What moves the answer: % of a row's time with {factors} of an uncertain constant", stream)
    for chips, own in by_chips(records):
        shown = moving_most(own)
        if not shown:
            print_line(f"{chips}: none moves a row by {LEAST_MOVED:.1%}.", stream)
            continue
        of = {(row["constant"], row["strategy"], row["launch"]): row for row in own}
        first = {row["constant"]: row for row in reversed(own)}
        columns = [
            Column(chips, shown, right=False),
            Column("value", [f"{first[name]['value']:.3g} {first[name]['unit']}".strip() for name in shown], 1),
        ]
        for strategy, launch in strategies_of(own):
            cells = [" ".join(f"{100 * share:+.1f}" for share in effect(of[name, strategy, launch])) for name in shown]
            columns.append(Column(f"{strategy}\n{launch}", cells, right=True))
        print_table(columns, stream, [len(shown) - 1])
