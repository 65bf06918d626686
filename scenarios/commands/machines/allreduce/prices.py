"""What AllReduces cost on a chip's links: as its libraries run them, and as schedules, each algorithm for itself.

Belongs here: the rows that ``loopline allreduce`` prints, computed. How they are printed is in ``view``, how ranks
carry them out in ``ranks``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np

from chips.clock.time import PICOSECONDS_PER_SECOND
from chips.spec import Dataflow, Gpu, load_chip
from collectives.algorithms import ALGORITHMS
from collectives.bound import bound_seconds
from collectives.collective_time import LATENCY, LINK, Library, Mode
from collectives.libraries.choice import price_collective
from collectives.price import price
from collectives.routing import MissingLink
from collectives.schedule import Schedule
from collectives.step_times import Costs
from collectives.topology import Topology, topology_of
from collectives.tuned import tuned
from scenarios.errors import ScenarioError
from scenarios.quantities import LARGEST_BYTES

PASSES_OF_A_SUM = 3  # over the chip's memory, for every byte that is added: read both, write one


@dataclass(frozen=True)
class Row:
    """One AllReduce. ``bytes``: the buffer of a rank; bandwidths in bytes/s, as nccl-tests defines them.

    ``algorithm_bytes_per_s``: bytes over time; ``bus_bytes_per_s``: that times 2 (p-1) / p, which compares with a
    link's whatever the number of ranks. ``runs_as``: a library and how it issues its kernel, or ``schedule``.
    """

    chip: str
    count: int
    bytes: int
    algorithm: str
    runs_as: str
    is_schedule: bool
    seconds: float
    algorithm_bytes_per_s: float
    bus_bytes_per_s: float
    bound_seconds: float
    limiter: str


@dataclass(frozen=True)
class Links:
    """``count`` chips and what joins them, for schedules; ``name`` as the user gave it."""

    name: str
    chip: Gpu | Dataflow
    count: int
    topology: Topology
    costs: Costs

    def bound(self, payload: int) -> float:
        """No AllReduce of these chips is faster, seconds."""
        if self.count == 1:
            return 0.0
        return float(bound_seconds(self.chip, "all_reduce", self.count, np.asarray(float(payload))))

    def seconds(self, schedule: Schedule, payload: int) -> float:
        """When the last rank has its result, all ready at 0."""
        finish = price(schedule, self.topology, payload, **self.costs._asdict())
        return int(finish.max()) / PICOSECONDS_PER_SECOND


def links_of(name: str, count: int) -> Links:
    """Chips of the catalog (or a TOML file) at the rate that large transfers reach, and a hop's latency.

    Of a GPU that is the link efficiency of its generation and the hop of NCCL's LL protocol: what a step of a schedule
    costs, without the startup and the flags of any library's kernel. Sums pass through the chip's memory. Raises
    CatalogError for an unknown chip, ScenarioError for one without collectives.
    """
    chip = load_chip(name)
    if not isinstance(chip, Gpu | Dataflow):
        raise ScenarioError(f"{chip.name} works alone; choose a GPU or a dataflow chip of `loopline chips`.")
    if isinstance(chip, Gpu):
        coefficients = chip.generation.collective
        detour = coefficients.host_detour if chip.link.topology == "host" else 0.0
        latency, reached = coefficients.ll.hop + detour, coefficients.link_efficiency
    else:
        latency, reached = chip.timing.hop_latency, 1.0
    link = chip.link.model_copy(update={"bandwidth": reached * chip.link.bandwidth})
    costs = Costs(reduce_seconds_per_byte=PASSES_OF_A_SUM / chip.memory.bandwidth)
    return Links(name, chip, count, topology_of(link, count, latency), costs)


def library_row(links: Links, payload: int, library: str | None, mode: str, algorithm: str | None) -> Row:
    """What the chip's library runs, or its kernel whose name begins with ``algorithm``.

    Where no ``library`` is given and the chip's own lacks the algorithm, it is priced as a schedule. Raises
    ScenarioError for a library, mode or algorithm that is not known.
    """
    chip = links.chip
    try:
        time = price_collective(
            chip,
            "all_reduce",
            links.count,
            payload,
            library=cast(Library | None, library),
            mode=cast(Mode, mode),
            algorithm=algorithm,
        )
    except ValueError as error:
        if library is None and mode == "graph" and algorithm in ALGORITHMS:
            return schedule_row(links, payload, algorithm)
        raise ScenarioError(str(error)) from None
    runs_as = "streamed" if isinstance(chip, Dataflow) else f"{library or chip.generation.serving_library} {mode}"
    return _row(links, payload, str(time.algorithm), runs_as, False, float(time.seconds), str(time.limiter))


def schedule_row(links: Links, payload: int, name: str) -> Row:
    """One algorithm as a schedule on the links. Raises ScenarioError where it cannot run."""
    schedule = make_schedule(links, name, payload)
    seconds, latency = links.seconds(schedule, payload), links.seconds(schedule, 0)
    limiter = LATENCY if latency >= seconds / 2 else LINK
    return _row(links, payload, name, "schedule", True, seconds, limiter)


def make_schedule(links: Links, name: str, payload: int) -> Schedule:
    """The algorithm set up for these chips and ``payload`` bytes.

    Raises ScenarioError: unknown, or these chips cannot run it.
    """
    if name not in ALGORITHMS:
        raise ScenarioError(f"algorithm '{name}' is not known; expected one of {', '.join(sorted(ALGORITHMS))}.")
    if name == "in_switch" and not links.chip.link.in_switch_reduction:
        raise ScenarioError(f"in_switch: {links.chip.name} has no switch that reduces.")
    try:
        schedule = _set_up(links, name, payload)
        links.seconds(schedule, 0)
    except MissingLink as error:
        raise ScenarioError(f"{name} on {links.count} {links.chip.name}: {error}") from None
    except ValueError as error:
        raise ScenarioError(f"{name}: {error}") from None
    return schedule


def possible(links: Links) -> tuple[list[str], list[str]]:
    """(names of the algorithms that these chips can run, why others cannot)."""
    names, reasons = [], []
    for name in ALGORITHMS:
        try:
            make_schedule(links, name, 0)
            names.append(name)
        except ScenarioError as error:
            reasons.append(str(error))
    return names, reasons


def _set_up(links: Links, name: str, payload: int) -> Schedule:
    return tuned("all_reduce", name, links.count, links.topology, payload, links.costs)


def fastest(links: Links, payload: int, names: Iterable[str]) -> str:
    """The algorithm whose schedule is done first; the first of those that are equal."""
    return min(names, key=lambda name: links.seconds(_set_up(links, name, payload), payload))


@dataclass(frozen=True)
class Reign:
    """From ``first_bytes`` to ``last_bytes`` (None: as far as was looked, 1 TiB) ``algorithm`` is the fastest."""

    algorithm: str
    first_bytes: int
    last_bytes: int | None


def crossovers(links: Links, names: Sequence[str]) -> list[Reign]:
    """Which algorithm is the fastest for which payloads; each border is found to the byte.

    Looked for between powers of two: an algorithm that is the fastest only inside of one octave is not seen.
    """

    def best(payload: int) -> str:
        return fastest(links, payload, names)

    grid = [0, *(2**power for power in range(LARGEST_BYTES.bit_length()))]
    winners = [best(payload) for payload in grid]
    reigns = [Reign(winners[0], 0, None)]
    for (low, before), (high, after) in pairwise(zip(grid, winners, strict=True)):
        if before == after:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if best(middle) == before else (low, middle)
        reigns[-1] = Reign(before, reigns[-1].first_bytes, low)
        reigns.append(Reign(after, high, None))
    return reigns


def _row(
    links: Links, payload: int, algorithm: str, runs_as: str, is_schedule: bool, seconds: float, limiter: str
) -> Row:
    bandwidth = payload / seconds if seconds else 0.0
    bus = bandwidth * 2 * (links.count - 1) / links.count
    bound = links.bound(payload)
    return Row(
        links.name, links.count, payload, algorithm, runs_as, is_schedule, seconds, bandwidth, bus, bound, limiter
    )
