"""``loopline allreduce``: what an AllReduce costs on a chip's links, or between MPI ranks. Parses and dispatches."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.commands.output import Json, check_files, write

if TYPE_CHECKING:
    from scenarios.commands.machines.allreduce.prices import Links
    from scenarios.commands.machines.allreduce.ranks import Record

Price = Callable[["Links", list[int], list[str] | None], list["Record"]]
PAYLOADS = ("8KiB", "64KiB", "1MiB", "1GiB")
RANK_PAYLOADS = PAYLOADS[:3]  # real ranks have real buffers
SCHEDULE = "schedule"


def allreduce(
    chip: Annotated[str, typer.Option(help="A GPU or dataflow chip of `loopline chips`, or a TOML file.")] = "h100",
    count: Annotated[
        list[int] | None, typer.Option("--count", "--ranks", help="Chips, or MPI ranks, that reduce (default: 8).")
    ] = None,
    payload: Annotated[
        list[str] | None,
        typer.Option("--bytes", help="A rank's buffer: 65536, 64KiB, 1MB, ... (default: 8KiB 64KiB 1MiB, 1GiB)"),
    ] = None,
    algorithm: Annotated[
        list[str] | None,
        typer.Option("--algorithm", help="ring | two_shot | ... (default: the one chosen for the size)"),
    ] = None,
    library: Annotated[
        str | None,
        typer.Option(
            help="Whose kernels: nccl | vllm | sglang | trtllm (default: of the chip's serving stack), or `schedule`: "
            "bare algorithms on the links."
        ),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="How a library's kernel is issued: graph (the kernel alone) | stream | eager")
    ] = "graph",
    compare: Annotated[
        bool, typer.Option("--compare", help="All algorithms side by side, as schedules, and where they cross.")
    ] = False,
    executor: Annotated[
        str, typer.Option(help="local: priced here | mpi: carried out by real ranks, which this command starts")
    ] = "local",
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Between MPI ranks: measure their links; measured beside predicted.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds without a sign of life after which MPI ranks are given up.")
    ] = 60.0,
    json: Json = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw time against bytes into this .png or .svg file.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Also write a Perfetto trace into this .json file.")] = None,
) -> None:
    """Price an AllReduce: time, bandwidth as nccl-tests defines it, algorithm, bound. Or run it between MPI ranks.

    loopline allreduce --chip h100 --count 8 --bytes 8KiB 64KiB 1MiB 1GiB

    loopline allreduce --chip h100 --count 8 --compare --plot crossovers.png

    loopline allreduce --executor mpi --ranks 8 --algorithm ring

    mpiexec -n 8 loopline allreduce --algorithm ring   # the same

    loopline allreduce --calibrate --ranks 4
    """
    from scenarios.commands.machines.allreduce import view
    from scenarios.commands.machines.allreduce.ranks import rank_here
    from scenarios.commands.machines.allreduce.trace import write_trace_of
    from scenarios.quantities import parse_bytes

    between_ranks = executor == "mpi" or calibrate or rank_here() is not None
    if rank_here():
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (to the end): a mistake is rank 0's to tell
    check_files(plot=plot, trace=trace)
    _check(executor, timeout, library, mode, compare, calibrate, between_ranks, trace)
    payloads = [parse_bytes(text) for text in payload or (RANK_PAYLOADS if between_ranks else PAYLOADS)]
    if between_ranks:
        records = _between_ranks(chip, count, payloads, algorithm, compare, calibrate, timeout)
        if not records:
            return
    else:
        price: Price = _compared if compare else partial(_priced, library=library, mode=mode)
        groups = [_group(chip, number) for number in count or [8]]
        records = [record for links in groups for record in price(links, payloads, algorithm)]
    if json:
        view.print_json(records)
    elif calibrate:
        view.print_calibration(records)
    elif compare and not between_ranks:
        view.print_comparison(records)
    else:
        view.print_rows(records)
    if plot is not None:
        if calibrate:
            write(plot, partial(view.draw_calibration, records))
        else:
            as_schedule = compare or between_ranks
            price = partial(_priced, library=SCHEDULE if as_schedule else library, mode=mode)
            curves = _curves(chip, records, view.dense_payloads(payloads), algorithm, price, compare)
            write(plot, partial(view.draw, records, curves, by_algorithm=compare or algorithm is not None))
    write(trace, partial(write_trace_of, records))


def _check(
    executor: str,
    timeout: float,
    library: str | None,
    mode: str,
    compare: bool,
    calibrate: bool,
    between_ranks: bool,
    trace: Path | None,
) -> None:
    """Raise ScenarioError for options that say nothing together."""
    from scenarios.errors import ScenarioError

    if executor not in ("local", "mpi"):
        raise ScenarioError(f"--executor {executor}: expected local or mpi.")
    if not timeout > 0 or math.isinf(timeout):
        raise ScenarioError(f"--timeout {timeout:g}: expected seconds above 0.")
    if (compare or between_ranks) and (library or SCHEDULE, mode) != (SCHEDULE, "graph"):
        raise ScenarioError(
            "--compare, --calibrate and MPI ranks take bare algorithms; leave out --library and --mode."
        )
    if compare and calibrate:
        raise ScenarioError("--calibrate has all algorithms already; leave out --compare.")
    if calibrate and trace is not None:
        raise ScenarioError("--trace shows simulated time, --calibrate measures real time; leave out one of them.")
    if library == SCHEDULE and mode != "graph":
        raise ScenarioError("--mode says how a library's kernel is issued; a bare schedule has none.")


def _group(chip: str, count: int) -> Links:
    from scenarios.commands.machines.allreduce.prices import links_of
    from scenarios.quantities import check_count

    check_count("--count", count)
    return links_of(chip, count)


def _priced(
    links: Links, payloads: list[int], algorithms: list[str] | None, library: str | None, mode: str
) -> list[Record]:
    """What the library runs, or what is asked for; a row for each algorithm and payload."""
    from scenarios.commands.machines.allreduce.prices import fastest, library_row, possible, schedule_row

    rows = []
    for name in algorithms or (None,):
        for payload in payloads:
            if library == SCHEDULE:
                row = schedule_row(links, payload, name or fastest(links, payload, possible(links)[0]))
            else:
                row = library_row(links, payload, library, mode, name)
            rows.append(asdict(row))
    return rows


def _compared(links: Links, payloads: list[int], algorithms: list[str] | None) -> list[Record]:
    """All algorithms that these chips can run; for which payloads each is the fastest, as [first, last] in bytes."""
    from scenarios.commands.machines.allreduce.prices import crossovers, possible, schedule_row

    names, reasons = possible(links)
    for reason in reasons if algorithms is None else []:
        print(f"left out: {reason}", file=sys.stderr)
    chosen = algorithms or names
    rows = [asdict(schedule_row(links, payload, name)) for name in chosen for payload in payloads]
    reigns = crossovers(links, chosen)
    return [
        row
        | {
            "fastest_for": [
                [reign.first_bytes, reign.last_bytes] for reign in reigns if reign.algorithm == row["algorithm"]
            ]
        }
        for row in rows
    ]


def _curves(
    chip: str, points: list[Record], payloads: list[int], algorithms: list[str] | None, price: Price, compare: bool
) -> list[Record]:
    """What is drawn between the points: the same, priced for more payloads; of a comparison, what was compared."""
    dense = []
    for count in dict.fromkeys(int(str(point["count"])) for point in points):
        compared = dict.fromkeys(str(point["algorithm"]) for point in points if point["count"] == count)
        dense += price(_group(chip, count), payloads, list(compared) if compare else algorithms)
    return dense


def _between_ranks(
    chip: str,
    count: list[int] | None,
    payloads: list[int],
    algorithms: list[str] | None,
    compare: bool,
    calibrate: bool,
    timeout: float,
) -> list[Record] | None:
    """The records of rank 0, and None on the others: of the ranks that run here, or of those that this starts."""
    from scenarios.commands.machines.allreduce import ranks
    from scenarios.commands.machines.allreduce.prices import fastest, make_schedule, possible
    from scenarios.errors import ScenarioError

    rank = ranks.rank_here()
    here = None if rank is None else ranks.join(timeout)
    given = set(count or [here or 8])
    if len(given) > 1 or (here and given != {here}):
        told = " ".join(map(str, count or []))
        raise ScenarioError(f"--ranks {told}: ranks run one number at a time" + (f", here {here}." if here else "."))
    links = _group(chip, given.pop())
    if calibrate and links.count < 2:
        raise ScenarioError("--calibrate sends messages to and fro; at least 2 ranks are needed.")
    for name in algorithms or []:
        make_schedule(links, name, 0)
        if calibrate and name == "in_switch":
            raise ScenarioError("in_switch: a switch cannot be measured, one of the ranks plays it; leave it out.")
    every = [name for name in possible(links)[0] if not (calibrate and name == "in_switch")]
    jobs = [
        (name, payload)
        for payload in payloads
        for name in algorithms or (every if compare or calibrate else [fastest(links, payload, every)])
    ]
    work = ranks.Work(chip, tuple(jobs), timeout, calibrate)
    if rank is not None:
        records = ranks.run_as_rank(work)
        return records if rank == 0 else None
    with _progress(None if calibrate else len(jobs), f"{links.count} ranks") as advance:
        return ranks.run_under_mpiexec(work, links.count, advance)


@contextmanager
def _progress(total: int | None, what: str) -> Iterator[Callable[[], None]]:
    """A bar on standard error, if that is a terminal; without a total it only moves."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
