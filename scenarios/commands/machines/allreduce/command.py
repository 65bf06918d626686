"""``loopline allreduce``: what an AllReduce costs on a chip's links, or between MPI ranks. Parses and dispatches."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from scenarios.commands.executors import TimeoutOption, check_timeout
from scenarios.commands.output import Json, check_files, show, write

PAYLOADS = ("8KiB", "64KiB", "1MiB", "1GiB")
RANK_PAYLOADS = PAYLOADS[:3]  # real ranks have real buffers


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
    timeout: TimeoutOption = 60.0,
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
    from cluster.launchers import rank_here
    from collectives.all_reduce import SCHEDULE
    from scenarios.commands.machines.allreduce import view
    from scenarios.commands.machines.allreduce.between_ranks import carry_out
    from scenarios.commands.machines.allreduce.priced import between_points, compared, priced
    from scenarios.commands.machines.allreduce.trace import write_trace_of
    from scenarios.quantities import parse_bytes

    between_ranks = executor == "mpi" or calibrate or rank_here() is not None
    if rank_here():
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (to the end): a mistake is rank 0's to tell
    check_files(plot=plot, trace=trace)
    _check(executor, timeout, library, mode, compare, calibrate, between_ranks, trace)
    payloads = [parse_bytes(text) for text in payload or (RANK_PAYLOADS if between_ranks else PAYLOADS)]
    if between_ranks:
        found = carry_out(chip, count, payloads, algorithm, compare=compare, calibrate=calibrate, timeout=timeout)
        if not found:
            return
        records, view_as = found, view.print_calibration if calibrate else view.print_rows
    elif compare:
        records, view_as = compared(chip, count or [8], payloads, algorithm), view.print_comparison
    else:
        records, view_as = priced(chip, count or [8], payloads, algorithm, library, mode), view.print_rows
    if json:
        show(records, json=True)
    else:
        view_as(records)
    if calibrate:
        write(plot, partial(view.draw_calibration, records))
    elif plot is not None:
        drawn = SCHEDULE if compare or between_ranks else library
        curves = between_points(chip, records, payloads, algorithm, drawn, mode, compare=compare)
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
    from collectives.all_reduce import SCHEDULE
    from scenarios.errors import ScenarioError

    if executor not in ("local", "mpi"):
        raise ScenarioError(f"--executor {executor}: expected local or mpi.")
    check_timeout(timeout)
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
