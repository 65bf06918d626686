"""``loopline schedule``: collectives as data, on links of one's own: proved, priced, and drawn step by step."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.commands.output import Json, check_files, show, write

if TYPE_CHECKING:
    from chips.clock.time import IntArray
    from collectives.proof import Proof

TOPOLOGIES = "switch | fully_connected | ring | line | torus:4x4 | mesh:4x4 | fat_tree:8x4"
LATE = re.compile(r"(\d+)=(.+)")
DRAWN_RANKS, DRAWN_SCHEDULES = 64, 6


def schedule(
    algorithms: Annotated[list[str] | None, typer.Argument(help="ring, swing, ... (default: all)")] = None,
    operation: Annotated[
        str, typer.Option(help="all_reduce | reduce_scatter | all_gather | broadcast | all_to_all | send_receive")
    ] = "all_reduce",
    count: Annotated[
        list[int] | None, typer.Option("--count", "--ranks", help="Ranks (default: all of the topology, or 8).")
    ] = None,
    payload: Annotated[
        list[str] | None, typer.Option("--bytes", help="As nccl-tests counts it: 65536, 64KiB, 1MB (default: 1MiB)")
    ] = None,
    topology: Annotated[str, typer.Option(help=TOPOLOGIES)] = "switch",
    bandwidth: Annotated[
        str, typer.Option(help="Bytes/s one way: of a port, of a link of a ring or torus, of all links of a mesh.")
    ] = "50GB",
    latency: Annotated[str, typer.Option(help="Of a message; of a ring, torus or tree, of a hop.")] = "1us",
    oversubscription: Annotated[float, typer.Option(help="Of a fat tree, at each level above the leaves.")] = 1.0,
    forwarding: Annotated[
        bool, typer.Option("--forwarding/--neighbours-only", help="Whether ranks of a ring or torus pass messages on.")
    ] = True,
    step_cost: Annotated[str, typer.Option(help="Software cost of a step on every rank.")] = "0us",
    late: Annotated[list[str] | None, typer.Option(help="Stragglers: rank=time, as in --late 3=20us 5=1ms")] = None,
    json: Json = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw every rank's steps into this .png or .svg file.")] = None,
) -> None:
    """Prove and price collectives as schedules on any links: what each costs, and where a straggler is felt.

    loopline schedule --topology torus:4x4 --bytes 1MiB

    loopline schedule ring double_binary_tree --late 3=20us --plot straggler.png

    loopline schedule --operation all_to_all --topology fat_tree:8x4
    """
    from collectives.proof import Question, algorithms_of, prove, step_clocks
    from collectives.step_times import Costs
    from collectives.topology_name import named_topology
    from results.errors import LooplineError
    from scenarios.errors import ScenarioError
    from scenarios.quantities import check_count, parse_bandwidth, parse_bytes, parse_seconds

    check_files(plot=plot)
    kind, names = algorithms_of(operation, algorithms)
    costs, delay = Costs(parse_seconds(step_cost, "--step-cost")), parse_seconds(latency, "--latency")
    rate = parse_bandwidth(bandwidth, "--bandwidth")
    questions = []
    counts: list[int | None] = [*count] if count else [None]
    for ranks, size in product(counts, payload or ["1MiB"]):
        if ranks is not None:
            check_count("--count", ranks)
        links = named_topology(topology, ranks, rate, delay, oversubscription, forwarding)
        ready = ready_times(late or [], links.ranks if ranks is None else ranks)
        questions.append(Question(links, parse_bytes(size), costs, ready))
    drawn = len(names) * len(questions)
    if plot is not None and (drawn > DRAWN_SCHEDULES or max(len(each.ready_ps) for each in questions) > DRAWN_RANKS):
        raise ScenarioError(f"at most {DRAWN_SCHEDULES} schedules between {DRAWN_RANKS} ranks are drawn, not {drawn}.")
    rows, panels = [], []
    for question, name in product(questions, names):
        try:
            made, row = prove(kind, name, question)
        except LooplineError as error:
            if algorithms:
                raise ScenarioError(f"{name} on {topology} of {len(question.ready_ps)} ranks: {error}") from None
            print(f"left out {name}: {error}", file=sys.stderr)
            continue
        rows.append(row)
        if plot is not None:
            panels.append(step_clocks(made, question))
    show([asdict(row) for row in rows], json=json, tables=[[_readable(row, bool(late)) for row in rows]])
    if plot is not None:
        from results.pictures.steps import Steps, steps_picture

        write(plot, steps_picture([Steps(*panel) for panel in panels]).save)


def ready_times(late: list[str], ranks: int) -> IntArray:
    """When every rank is ready, picoseconds, from ``rank=time``; those not named at 0. Raises ScenarioError."""
    import numpy as np

    from chips.clock.time import seconds_to_ps
    from scenarios.errors import ScenarioError
    from scenarios.quantities import parse_seconds

    ready = np.zeros(ranks, dtype=np.int64)
    for text in late:
        found = LATE.fullmatch(text)
        if found is None:
            raise ScenarioError(f"--late {text}: expected a rank and a time, as in 3=20us.")
        if int(found[1]) >= ranks:
            raise ScenarioError(f"--late {text}: there are {ranks} ranks, from 0 to {ranks - 1}.")
        ready[int(found[1])] = seconds_to_ps(parse_seconds(found[2], "--late"))
    return ready


def _readable(row: Proof, someone_is_late: bool) -> dict[str, object]:
    """In units for reading; lateness only where someone is late."""
    from results.units import format_bytes, format_seconds

    lateness = {"late by": format_seconds(row.lateness_seconds)} if someone_is_late else {}
    return {
        "algorithm": row.algorithm,
        "ranks": row.ranks,
        "bytes": format_bytes(row.bytes),
        "steps": row.steps,
        "chunks": row.chunks,
        "sent by a rank": format_bytes(row.sent_bytes),
        "first is done": format_seconds(row.first_seconds),
        "last is done": format_seconds(row.seconds),
        **lateness,
        "proved": row.verified,
    }
