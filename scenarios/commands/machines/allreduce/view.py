"""What ``loopline allreduce`` shows: tables and pictures. What is shown is computed elsewhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from results.table import print_records
from results.units import format_bytes, format_seconds, percent, three_digits

if TYPE_CHECKING:
    from results.pictures.collectives import Curve

Record = dict[str, object]
POINTS_AN_OCTAVE = 4  # of a curve


def print_rows(records: Sequence[Record]) -> None:
    """A line for each AllReduce; with what it took in real time where ranks carried it out."""

    def heading(record: Record) -> str:
        return f"{record['chip']} x{record['count']}, {record['runs_as']}"

    for group in dict.fromkeys(map(heading, records)):
        print(group)
        print_records([_line(record) for record in records if heading(record) == group], sys.stdout)


def _line(record: Record) -> Record:
    seconds, bound = number(record, "seconds"), number(record, "bound_seconds")
    line: Record = {
        "bytes": format_bytes(whole(record, "bytes")),
        "time": format_seconds(seconds),
        "algorithm": record["algorithm"],
        "algbw\nGB/s": _rate(record, "algorithm_bytes_per_s"),
        "busbw\nGB/s": _rate(record, "bus_bytes_per_s"),
        "lower\nbound": format_seconds(bound),
        "of\nbound": percent(bound / seconds) if seconds else "-",
        "limited\nby": record["limiter"],
    }
    if "real_seconds" in record:
        line |= {"sum": "right", "really\ntook": format_seconds(number(record, "real_seconds"))}
    return line


def print_comparison(records: Sequence[Record]) -> None:
    """A line for each algorithm, a column for each payload, fastest marked; then which is the fastest up to where."""
    for count in dict.fromkeys(whole(record, "count") for record in records):
        group = [record for record in records if record["count"] == count]
        payloads = dict.fromkeys(whole(record, "bytes") for record in group)
        best = {size: min(number(each, "seconds") for each in group if each["bytes"] == size) for size in payloads}
        print(f"{group[0]['chip']} x{count}: algorithms as schedules on the links (* the fastest)")
        lines = []
        for name in dict.fromkeys(str(record["algorithm"]) for record in group):
            line: Record = {"algorithm": name}
            for record in group:
                if record["algorithm"] == name:
                    seconds, size = number(record, "seconds"), whole(record, "bytes")
                    line[format_bytes(size)] = format_seconds(seconds) + (" *" if seconds == best[size] else "")
            lines.append(line)
        bounds = {format_bytes(whole(each, "bytes")): format_seconds(number(each, "bound_seconds")) for each in group}
        print_records([*lines, {"algorithm": "lower bound"} | bounds], sys.stdout)
        reigns = [f"{name} {_range(first, last)}" for first, last, name in _reigns(group)]
        print(f"fastest: {', '.join(reigns)}\n")


def print_calibration(records: Sequence[Record]) -> None:
    """The links as measured, then a line for each algorithm and payload, measured beside predicted."""
    first = records[0]
    for what, latency, bandwidth in (
        ("ping-pong of two ranks", "ping_pong_latency_seconds", "ping_pong_bytes_per_s"),
        (f"all {first['count']} ranks at once", "latency_seconds", "bytes_per_s"),
    ):
        print(f"a step, {what}: {format_seconds(number(first, latency))} + bytes / {_rate(first, bandwidth)} GB/s")
    print(f"starting: {format_seconds(number(first, 'start_seconds'))}")
    print(f"each further message of a step: {format_seconds(number(first, 'message_seconds'))}")
    per_byte = number(first, "reduce_seconds_per_byte")
    print(f"adding: {f'bytes / {three_digits(1e-9 / per_byte)} GB/s' if per_byte else 'too fast to measure'}\n")
    lines = [
        {
            "bytes": format_bytes(whole(record, "bytes")),
            "algorithm": record["algorithm"],
            "measured": format_seconds(number(record, "measured_seconds")),
            "predicted": format_seconds(number(record, "predicted_seconds")),
            "predicted / measured": three_digits(number(record, "predicted_over_measured")),
        }
        for record in records
    ]
    print_records(lines, sys.stdout)
    errors = [abs(number(record, "predicted_over_measured") - 1) for record in records]
    print(f"\nmean error {percent(sum(errors) / len(errors))}")


def draw(points: Sequence[Record], dense: Sequence[Record], path: Path, *, by_algorithm: bool) -> None:
    """Time against bytes: ``dense`` as curves, ``points`` as marks, the lower bound, and where algorithms cross."""
    from results.pictures.collectives import collectives_picture

    groups = list(dict.fromkeys((record["chip"], record["count"]) for record in points))
    title = "AllReduce on " + ", ".join(f"{chip} ×{count}" for chip, count in groups)
    borders = [first for first, _, _ in _reigns(points)][1:] if len(groups) == 1 else []
    collectives_picture(list(_curves(points, dense, by_algorithm)), title, borders).save(path)


def draw_calibration(records: Sequence[Record], path: Path) -> None:
    """Measured against predicted, a mark for each algorithm and payload."""
    from results.pictures.collectives import predictions_picture

    marks: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        pair = number(record, "predicted_seconds"), number(record, "measured_seconds")
        marks.setdefault(str(record["algorithm"]), []).append(pair)
    payloads = sorted({whole(record, "bytes") for record in records})
    title = f"AllReduce between {records[0]['count']} MPI ranks, {', '.join(map(format_bytes, payloads))}"
    predictions_picture(marks, title).save(path)


def dense_payloads(payloads: Sequence[int]) -> list[int]:
    """Payloads for curves, from the smallest to the largest of those given; those given included."""
    low, high = max(min(payloads), 1), max(payloads)
    steps = math.ceil(POINTS_AN_OCTAVE * math.log2(high / low)) if high > low else 0
    between = [round(low * (high / low) ** (step / steps)) for step in range(steps + 1)] if steps else []
    return sorted({*between, *payloads} - {0})


def _curves(points: Sequence[Record], dense: Sequence[Record], by_algorithm: bool) -> Iterator[Curve]:
    """A curve for each algorithm, or for what a library picks from payload to payload; and the bounds."""
    from results.pictures.collectives import Curve

    groups = list(dict.fromkeys((record["chip"], record["count"]) for record in points))

    def name(record: Record) -> str:
        what = str(record["algorithm"] if by_algorithm else record["runs_as"])
        return what if len(groups) == 1 else f"{record['chip']} ×{record['count']}, {what}"

    for title in dict.fromkeys(map(name, dense)):
        line, marks = ([each for each in rows if name(each) == title] for rows in (dense, points))
        yield Curve(title, _pairs(line, "seconds"), _pairs(marks, "seconds"))
    for chip, count in groups:
        line = [each for each in dense if (each["chip"], each["count"]) == (chip, count)]
        title = "lower bound" if len(groups) == 1 else f"{chip} ×{count}, lower bound"
        yield Curve(title, sorted(set(_pairs(line, "bound_seconds"))), [], is_bound=True)


def _pairs(records: Sequence[Record], field: str) -> list[tuple[float, float]]:
    return [(number(record, "bytes"), number(record, field)) for record in records]


def _reigns(records: Sequence[Record]) -> list[tuple[int, int | None, str]]:
    """(first byte, last byte, algorithm) of each algorithm's payloads, in order."""
    found = {
        (first, last, str(record["algorithm"]))
        for record in records
        for first, last in cast(list[tuple[int, int | None]], record.get("fastest_for", []))
    }
    return sorted(found, key=lambda reign: reign[0])


def _range(first: int, last: int | None) -> str:
    if last is None:
        return f"from {format_bytes(first)} on" if first else "always"
    return f"up to {format_bytes(last)}" if not first else f"from {format_bytes(first)} to {format_bytes(last)}"


def number(record: Record, field: str) -> float:
    return float(cast(float, record[field]))


def whole(record: Record, field: str) -> int:
    return int(cast(int, record[field]))


def _rate(record: Record, field: str) -> str:
    return three_digits(number(record, field) / 1e9)
