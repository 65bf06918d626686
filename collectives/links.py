"""The links of a chip's own kind, as schedules use them: which algorithms they allow, and which is done first.

Belongs here: a group of chips of the catalog with the topology that joins them. What libraries make of the same links,
with their kernels' startup and flags, is in ``libraries``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from chips.clock.time import PICOSECONDS_PER_SECOND
from chips.spec import Dataflow, Gpu, load_chip
from collectives.algorithms import ALGORITHMS
from collectives.bound import bound_seconds
from collectives.errors import CollectiveError
from collectives.host import in_group
from collectives.price import price
from collectives.routing import MissingLink
from collectives.schedule import Schedule
from collectives.step_times import Costs
from collectives.topology import Topology, topology_of
from collectives.tuned import tuned

PASSES_OF_A_SUM = 3  # over the chip's memory, for every byte that is added: read both, write one


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
    CatalogError for an unknown chip, CollectiveError for one without
    collectives and for a count below 1.
    """
    if count < 1:
        raise CollectiveError(f"{count} chips were asked for; at least 1 is needed.")
    chip = load_chip(name)
    if not isinstance(chip, Gpu | Dataflow):
        raise CollectiveError(f"{chip.name} works alone; choose a GPU or a dataflow chip of `loopline chips`.")
    chip = in_group(chip, count)
    link = chip.link.model_copy(update={"bandwidth": chip.link_efficiency * chip.link.bandwidth})
    costs = Costs(reduce_seconds_per_byte=PASSES_OF_A_SUM / chip.memory.bandwidth)
    return Links(name, chip, count, topology_of(link, count, chip.hop_latency + chip.hop_detour), costs)


def make_schedule(links: Links, name: str, payload: int) -> Schedule:
    """The algorithm set up for these chips and ``payload`` bytes.

    Raises CollectiveError: unknown, or these chips cannot run it.
    """
    if name not in ALGORITHMS:
        raise CollectiveError(f"algorithm '{name}' is not known; expected one of {', '.join(sorted(ALGORITHMS))}.")
    if name == "in_switch" and not links.chip.link.in_switch_reduction:
        raise CollectiveError(f"in_switch: {links.chip.name} has no switch that reduces.")
    try:
        schedule = _set_up(links, name, payload)
        links.seconds(schedule, 0)
    except MissingLink as error:
        raise CollectiveError(f"{name} on {links.count} {links.chip.name}: {error}") from None
    except ValueError as error:
        raise CollectiveError(f"{name}: {error}") from None
    return schedule


def possible(links: Links) -> tuple[list[str], list[str]]:
    """(names of the algorithms that these chips can run, why others cannot)."""
    names, reasons = [], []
    for name in ALGORITHMS:
        try:
            make_schedule(links, name, 0)
            names.append(name)
        except CollectiveError as error:
            reasons.append(str(error))
    return names, reasons


def _set_up(links: Links, name: str, payload: int) -> Schedule:
    return tuned("all_reduce", name, links.count, links.topology, payload, links.costs)


def fastest(links: Links, payload: int, names: Iterable[str]) -> str:
    """The algorithm whose schedule is done first; the first of those that are equal."""
    return min(names, key=lambda name: links.seconds(_set_up(links, name, payload), payload))
