"""``loopline allreduce`` priced here: the records of what was asked, and those between them for curves."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict

from collectives.all_reduce import compare_allreduce, price_allreduce
from scenarios.commands.machines.allreduce.view import Record, dense_payloads, whole
from scenarios.quantities import check_count


def priced(
    chip: str, counts: Sequence[int], payloads: list[int], algorithms: list[str] | None, library: str | None, mode: str
) -> list[Record]:
    """What the library runs, or what is asked for: a record for each count, algorithm and payload."""
    for count in counts:
        check_count("--count", count)
    rows = (
        price_allreduce(chip, count, payloads, algorithms=algorithms, library=library, mode=mode) for count in counts
    )
    return [asdict(row) for of_count in rows for row in of_count]


def compared(chip: str, counts: Sequence[int], payloads: list[int], algorithms: list[str] | None) -> list[Record]:
    """All algorithms that the chips can run, and the payloads for which each is the fastest, [first, last] in bytes."""
    records: list[Record] = []
    for count in counts:
        check_count("--count", count)
        found = compare_allreduce(chip, count, payloads, algorithms)
        for reason in found.left_out:
            print(f"left out: {reason}", file=sys.stderr)
        for row in found.rows:
            mine = [reign for reign in found.reigns if reign.algorithm == row.algorithm]
            fastest_for = [[reign.first_bytes, reign.last_bytes] for reign in mine]
            records.append(asdict(row) | {"fastest_for": fastest_for})
    return records


def between_points(
    chip: str,
    points: list[Record],
    payloads: list[int],
    algorithms: list[str] | None,
    library: str | None,
    mode: str,
    *,
    compare: bool,
) -> list[Record]:
    """The same priced for more payloads; of a comparison, the algorithms that each count compares."""
    dense: list[Record] = []
    for count in dict.fromkeys(whole(point, "count") for point in points):
        names = dict.fromkeys(str(point["algorithm"]) for point in points if point["count"] == count)
        chosen = list(names) if compare else algorithms
        dense += priced(chip, [count], dense_payloads(payloads), chosen, library, mode)
    return dense
