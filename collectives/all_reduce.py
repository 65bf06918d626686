"""AllReduces of a chip's own kind, priced: as its libraries run them, or as schedules, each algorithm for itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from chips.spec import Dataflow
from collectives.algorithms import ALGORITHMS
from collectives.collective_time import LATENCY, LINK, Library, Mode
from collectives.crossovers import Reign, crossovers
from collectives.errors import CollectiveError
from collectives.libraries.choice import price_collective
from collectives.links import Links, fastest, links_of, make_schedule, possible

SCHEDULE = "schedule"  # as a library's name: none, the bare algorithms on the links


@dataclass(frozen=True)
class AllReduce:
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


class Comparison(NamedTuple):
    """All algorithms side by side. ``reigns``: which is the fastest for which payloads; ``left_out``: why others cannot
    run."""

    rows: list[AllReduce]
    reigns: list[Reign]
    left_out: list[str]


def price_allreduce(
    chip: str,
    count: int,
    payloads: Iterable[int],
    *,
    algorithms: Sequence[str] | None = None,
    library: str | None = None,
    mode: str = "graph",
) -> list[AllReduce]:
    """AllReduces between ``count`` chips of the catalog (or a TOML file), one for each algorithm and payload in bytes.

    ``library``: nccl | vllm | sglang | trtllm, None for the one of the chip's serving stack, or ``schedule`` for bare
    algorithms on the links. ``algorithms``: None for the one that the library picks, or that is done first.
    ``mode``: how a library's kernel is issued, as ``collectives.libraries.choice`` says. Raises CatalogError for an
    unknown chip, CollectiveError for one without collectives, and for names that are not known or cannot run.
    """
    links, sizes = links_of(chip, count), list(payloads)
    names: Sequence[str | None] = algorithms or (None,)
    if library == SCHEDULE:
        every = [] if algorithms else possible(links)[0]
        return [schedule_row(links, size, name or fastest(links, size, every)) for name in names for size in sizes]
    return [library_row(links, size, library, mode, name) for name in names for size in sizes]


def compare_allreduce(
    chip: str, count: int, payloads: Iterable[int], algorithms: Sequence[str] | None = None
) -> Comparison:
    """All algorithms that these chips can run, as schedules, for every payload; errors as in ``price_allreduce``."""
    links, sizes = links_of(chip, count), list(payloads)
    names, reasons = possible(links)
    chosen = algorithms or names
    rows = [schedule_row(links, size, name) for name in chosen for size in sizes]
    return Comparison(rows, crossovers(links, chosen), [] if algorithms else reasons)


def library_row(links: Links, payload: int, library: str | None, mode: str, algorithm: str | None) -> AllReduce:
    """What the chip's library runs, or its kernel whose name begins with ``algorithm``.

    Where no ``library`` is given and the chip's own lacks the algorithm, it is priced as a schedule. Raises
    CollectiveError for a library, mode or algorithm that is not known.
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
        raise CollectiveError(str(error)) from None
    runs_as = "streamed" if isinstance(chip, Dataflow) else f"{library or chip.generation.serving_library} {mode}"
    return _row(links, payload, str(time.algorithm), runs_as, False, float(time.seconds), str(time.limiter))


def schedule_row(links: Links, payload: int, name: str) -> AllReduce:
    """One algorithm as a schedule on the links. Raises CollectiveError where it cannot run."""
    schedule = make_schedule(links, name, payload)
    seconds, latency = links.seconds(schedule, payload), links.seconds(schedule, 0)
    limiter = LATENCY if latency >= seconds / 2 else LINK
    return _row(links, payload, name, "schedule", True, seconds, limiter)


def _row(
    links: Links, payload: int, algorithm: str, runs_as: str, is_schedule: bool, seconds: float, limiter: str
) -> AllReduce:
    bandwidth = payload / seconds if seconds else 0.0
    bus = bandwidth * 2 * (links.count - 1) / links.count
    bound = links.bound(payload)
    return AllReduce(
        links.name, links.count, payload, algorithm, runs_as, is_schedule, seconds, bandwidth, bus, bound, limiter
    )
