"""``loopline schedule``: collectives as data, on links of one's own: proved, priced, and drawn step by step."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from scenarios.commands.output import Json, check_files, show, write

if TYPE_CHECKING:
    from chips.clock.time import IntArray
    from collectives.collective_time import Operation
    from collectives.schedule import Schedule
    from collectives.step_times import Costs
    from collectives.topology import Topology
    from results.pictures.steps import Steps

TOPOLOGIES = "switch | fully_connected | ring | line | torus:4x4 | mesh:4x4 | fat_tree:8x4"
LATE = re.compile(r"(\d+)=(.+)")
VERIFIED_BITS = 2**31  # ranks**2 * chunks up to which a schedule is proved: a quarter of a gibibyte of sets
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
        float, typer.Option(help="Bytes/s one way: of a port, of a link of a ring or torus, of all links of a mesh.")
    ] = 50e9,
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
    from collectives.step_times import Costs
    from scenarios.errors import ScenarioError
    from scenarios.quantities import parse_bytes, parse_seconds

    check_files(plot=plot)
    kind, names = _named(operation, algorithms)
    costs, delay = Costs(parse_seconds(step_cost, "--step-cost")), parse_seconds(latency, "--latency")
    questions = []
    counts: list[int | None] = [*count] if count else [None]
    for ranks, size in product(counts, payload or ["1MiB"]):
        links = make_topology(topology, ranks, bandwidth, delay, oversubscription, forwarding)
        ready = ready_times(late or [], links.ranks if ranks is None else ranks)
        questions.append(Question(links, parse_bytes(size), costs, ready))
    drawn = len(names) * len(questions)
    if plot is not None and (drawn > DRAWN_SCHEDULES or max(len(each.ready_ps) for each in questions) > DRAWN_RANKS):
        raise ScenarioError(f"at most {DRAWN_SCHEDULES} schedules between {DRAWN_RANKS} ranks are drawn, not {drawn}.")
    rows, panels = [], []
    for question, name in product(questions, names):
        try:
            made, row = _row(kind, name, question)
        except ValueError as error:
            if algorithms:
                raise ScenarioError(f"{name} on {topology} of {len(question.ready_ps)} ranks: {error}") from None
            print(f"left out {name}: {error}", file=sys.stderr)
            continue
        rows.append(row)
        if plot is not None:
            panels.append(_steps(made, question))
    show([asdict(row) for row in rows], json=json, tables=[[row.readable(bool(late)) for row in rows]])
    if plot is not None:
        from results.pictures.steps import steps_picture

        write(plot, steps_picture(panels).save)


class Question(NamedTuple):
    """What every algorithm is asked. ``ready_ps``: when each rank is ready, shape (ranks,)."""

    links: Topology
    payload_bytes: int
    costs: Costs
    ready_ps: IntArray


@dataclass(frozen=True)
class Row:
    """One schedule. ``sent_bytes``: by the rank that sends most; ``first_seconds``: when the first rank is done,
    ``seconds``: the last; ``lateness_seconds``: how much earlier the last would be done if all were ready at 0."""

    algorithm: str
    ranks: int
    bytes: int
    steps: int
    chunks: int
    sent_bytes: int
    first_seconds: float
    seconds: float
    lateness_seconds: float
    verified: str

    def readable(self, someone_is_late: bool) -> dict[str, object]:
        """In units for reading; lateness only where someone is late."""
        from results.units import format_bytes, format_seconds

        lateness = {"late by": format_seconds(self.lateness_seconds)} if someone_is_late else {}
        return {
            "algorithm": self.algorithm,
            "ranks": self.ranks,
            "bytes": format_bytes(self.bytes),
            "steps": self.steps,
            "chunks": self.chunks,
            "sent by a rank": format_bytes(self.sent_bytes),
            "first is done": format_seconds(self.first_seconds),
            "last is done": format_seconds(self.seconds),
            **lateness,
            "proved": self.verified,
        }


def make_topology(
    text: str, ranks: int | None, bandwidth: float, latency: float, oversubscription: float, forwarding: bool
) -> Topology:
    """The topology that ``text`` names. Raises ScenarioError, also where it and ``ranks`` do not fit."""
    from dataclasses import replace

    from collectives.topology import Topology, fat_tree, fully_connected, switched, torus
    from scenarios.errors import ScenarioError
    from scenarios.quantities import check_count

    if not bandwidth > 0:
        raise ScenarioError(f"--bandwidth is {bandwidth:g}; it must be above 0.")
    if not oversubscription >= 1:
        raise ScenarioError(f"--oversubscription is {oversubscription:g}; it must be at least 1.")
    if ranks is not None:
        check_count("--count", ranks)
    kind, _, shape = text.partition(":")
    if kind in ("torus", "mesh", "fat_tree"):
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape):
            raise ScenarioError(f"--topology {text}: expected its sides, as in {kind}:4x4.")
        sides = tuple(int(side) for side in shape.split("x"))
    else:
        sides = (8 if ranks is None else ranks,)
    match kind:
        case "switch":
            made = switched(sides[0], bandwidth, latency)
        case "fully_connected":
            made = fully_connected(sides[0], bandwidth, latency)
        case "ring" | "torus":
            made = torus(sides, bandwidth, latency)
        case "line" | "mesh":
            made = torus(sides, bandwidth, latency, wraps=False)
        case "fat_tree":
            made = fat_tree(sides, bandwidth, latency, oversubscription=oversubscription)
        case _:
            raise ScenarioError(f"--topology {text}: expected {TOPOLOGIES.replace(' |', ',')}.")
    if ranks is not None and ranks > made.ranks:
        raise ScenarioError(f"--count {ranks}: {text} has {made.ranks} ranks.")
    return Topology(tuple(replace(level, forwarding=forwarding) for level in made.levels))


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


def _named(operation: str, algorithms: list[str] | None) -> tuple[Operation, list[str]]:
    """The operation and the algorithms that are asked for. Raises ScenarioError."""
    from collectives.algorithms import COLLECTIVES
    from scenarios.errors import ScenarioError

    kind = next((known for known in COLLECTIVES if known == operation), None)
    if kind is None:
        raise ScenarioError(f"--operation {operation}: expected {', '.join(COLLECTIVES)}.")
    known = COLLECTIVES[kind]
    for name in algorithms or ():
        if name not in known:
            raise ScenarioError(f"algorithm '{name}' is not known; {operation} has {', '.join(sorted(known))}.")
    return kind, algorithms or sorted(known)


def _row(operation: Operation, name: str, question: Question) -> tuple[Schedule, Row]:
    """The schedule and what it costs. Raises ValueError where it cannot run on these links, or is none."""
    from chips.clock.time import PICOSECONDS_PER_SECOND
    from collectives.price import price
    from collectives.tuned import tuned
    from collectives.verify import verify

    links, payload, costs, ready = question
    made = tuned(operation, name, len(ready), links, payload, costs)
    provable = made.ranks**2 * made.chunks <= VERIFIED_BITS
    if provable:
        verify(made, links)
    finish = price(made, links, payload, ready_ps=ready, **costs._asdict())
    together = price(made, links, payload, **costs._asdict())
    return made, Row(
        algorithm=name,
        ranks=made.ranks,
        bytes=payload,
        steps=sum(phase.count for phase in made.phases),
        chunks=made.chunks,
        sent_bytes=_most_sent(made, payload),
        first_seconds=int(finish.min()) / PICOSECONDS_PER_SECOND,
        seconds=int(finish.max()) / PICOSECONDS_PER_SECOND,
        lateness_seconds=int(finish.max() - together.max()) / PICOSECONDS_PER_SECOND,
        verified="yes" if provable else "too large",
    )


def _most_sent(made: Schedule, payload_bytes: int) -> int:
    """Bytes that leave the rank that sends most."""
    import numpy as np

    sent = np.zeros(made.ranks + 1)
    for phase in made.phases:
        if phase.count:
            messages = phase.messages(0)
            np.add.at(sent, messages.source, phase.count * messages.sizes())
    return int(sent[:-1].max()) * made.chunk_bytes(payload_bytes)


def _steps(made: Schedule, question: Question) -> Steps:
    """Every step for the picture, seconds."""
    import numpy as np

    from chips.clock.time import PICOSECONDS_PER_SECOND
    from collectives.price import price_by_step
    from collectives.step_times import plan
    from results.pictures.steps import Steps

    links, payload, costs, ready = question
    clocks = np.stack([*price_by_step(made, links, payload, ready_ps=ready, **costs._asdict())])
    working, reduces = [np.zeros((0, made.ranks))], []
    for phase in plan(made, links):
        times = phase.step_times(made.chunk_bytes(payload), costs, made.streamed)
        working.append(np.tile(times.staying[:-1], (phase.count, 1)))
        reduces += [bool(phase.added.any())] * phase.count
    return Steps(
        made.name,
        clocks / PICOSECONDS_PER_SECOND,
        np.concatenate(working) / PICOSECONDS_PER_SECOND,
        np.asarray(reduces, dtype=np.bool_),
    )
