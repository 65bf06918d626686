"""``place``: a fused program on a dataflow chip, as one kernel or as the fewest that hold it.

A kernel is bound by its slowest stage, by off-chip memory, by the busiest link of the mesh, or by the links to other
chips; the time of a pass is the longest of them (stages at once) or their sum over the stages (stages in turn).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from chips.placement.allocation import Allocation, allocate
from chips.placement.mesh import LinkLoads, Mesh
from chips.placement.placing import Positions, positions, stage_messages
from chips.placement.program import FusedProgram, Operand, TooLarge
from chips.placement.routing import routed
from chips.placement.sections import sections
from chips.spec import Dataflow

STRIP_WIDTHS = (1, 4, 6)  # columns, along which stages follow each other; the one with the freest links is kept
COMPUTE, MEMORY, MESH, LINK = "compute units", "off-chip memory", "mesh link", "link to other chips"


@dataclass(frozen=True)
class StageRate:
    """What holds one stage in a pass, seconds each: its units, its operand's stream, its busiest link, other chips."""

    name: str
    compute: float
    memory: float
    mesh: float
    link: float

    @property
    def seconds(self) -> float:
        """Of a pass; its inverse is the stage's rate."""
        return max(self.compute, self.memory, self.mesh, self.link)

    @property
    def limiter(self) -> str:
        return (COMPUTE, MEMORY, MESH, LINK)[int(np.argmax((self.compute, self.memory, self.mesh, self.link)))]


@dataclass(frozen=True, eq=False)
class PlacedKernel:
    """One kernel on the mesh: its units, their coordinates, bytes over every link by stage, and each stage's rate.

    ``launch_seconds``: what starting it costs, with its configuration where it is one of several.
    """

    program: FusedProgram
    chip: Dataflow
    allocation: Allocation
    mesh: Mesh
    positions: Positions
    stage_loads: tuple[LinkLoads, ...]
    rates: tuple[StageRate, ...]
    launch_seconds: float

    @property
    def compute_share(self) -> float:
        """Of the chip's compute units, those with a stage."""
        return self.allocation.compute_units / self.chip.compute.units

    @property
    def memory_share(self) -> float:
        """Of the chip's memory units, those with an operand or a buffer."""
        return self.allocation.memory_units / self.chip.on_chip.memory_units

    @property
    def busy_share(self) -> float:
        """Of the chip's compute units, those that would do the work if every unit could take any part of it."""
        slowest = max(share.seconds for share in self.allocation.shares)
        return sum(stage.unit_seconds for stage in self.program.stages) / slowest / self.chip.compute.units

    @cached_property
    def loads(self) -> LinkLoads:
        """All stages' loads together, bytes in one pass."""
        whole = LinkLoads(self.mesh)
        whole.bytes += sum(load.bytes for load in self.stage_loads)
        return whole

    @property
    def link_use(self) -> NDArray[np.float64]:
        """Share of its bandwidth that every link carries while its stages run, shape of ``LinkLoads.bytes``.

        Stages in turn have the mesh to themselves; stages at once share it for the time of one pass.
        """
        bandwidth = self.mesh.link_bandwidth
        if self.program.control == "pipelined":
            return self.loads.bytes / (self.pass_seconds * bandwidth)
        use = [load.bytes / (rate.seconds * bandwidth) for load, rate in zip(self.stage_loads, self.rates, strict=True)]
        return np.asarray(np.max(use, axis=0))

    @cached_property
    def limits(self) -> dict[str, float]:
        """Seconds of a pass by what they wait for: of stages at once, what each would take alone."""
        if self.program.control == "pipelined":
            streamed = sum(_streamed(stage.operand) for stage in self.program.stages) + self.program.memory_bytes
            return {
                COMPUTE: max(rate.compute for rate in self.rates),
                MEMORY: streamed / self.chip.streaming_bandwidth,
                MESH: self.loads.worst[0] / self.mesh.link_bandwidth,
                LINK: max(rate.link for rate in self.rates),
            }
        spent = {MEMORY: self.program.memory_bytes / self.chip.streaming_bandwidth}
        for rate in self.rates:
            spent[rate.limiter] = spent.get(rate.limiter, 0.0) + rate.seconds
        return spent

    @property
    def limiter(self) -> str:
        """What most of a pass waits for."""
        return max(self.limits, key=lambda name: self.limits[name])

    @property
    def pass_seconds(self) -> float:
        """Between two passes in the steady state; of stages in turn, all of them."""
        return max(self.limits.values()) if self.program.control == "pipelined" else sum(self.limits.values())

    @property
    def seconds(self) -> float:
        """All passes of one decoder, launch included: residents are loaded, the pipeline fills, runs and drains."""
        exchanges = [stage.exchange for stage in self.program.stages if stage.exchange]
        latency = len(self.rates) * self.chip.timing.stage_latency + sum(exchange.latency for exchange in exchanges)
        if self.program.control == "in turn":
            return self.launch_seconds + latency + self.program.passes * self.pass_seconds
        loaded = sum(stage.operand.loaded_bytes for stage in self.program.stages if stage.operand)
        fill = max(sum(rate.seconds for rate in self.rates), self.pass_seconds)
        steady = (self.program.passes - 1) * self.pass_seconds
        return self.launch_seconds + latency + loaded / self.chip.streaming_bandwidth + fill + steady


@dataclass(frozen=True)
class Placement:
    """``program`` on ``chip`` as the smallest number of kernels that hold it: its sections, in order."""

    program: FusedProgram
    chip: Dataflow
    sections: tuple[PlacedKernel, ...]

    @property
    def fits(self) -> bool:
        """Whether it is one kernel."""
        return len(self.sections) == 1

    @property
    def seconds(self) -> float:
        """All sections, one after the other, with their launches."""
        return sum(section.seconds for section in self.sections)


def place(program: FusedProgram, chip: Dataflow) -> Placement:
    """Lay ``program`` out on ``chip``.

    Returns who sits where, what every link carries, the stages' rates, and whether it is one kernel. Where it is not,
    the sections are the fewest that hold it; among as many, cut so that their times add up to least. Raises TooLarge
    where a stage fits in no kernel, however its result is cut.
    """
    parts = sections(program, chip)
    return Placement(program, chip, tuple(place_kernel(part, chip, alone=len(parts) == 1) for part in parts))


def place_kernel(program: FusedProgram, chip: Dataflow, *, alone: bool = True) -> PlacedKernel:
    """``program`` as one kernel; ``alone``: its configuration stays on the chip from launch to launch.

    Raises TooLarge if it does not fit.
    """
    allocation = allocate(program, chip)
    if allocation is None:
        raise TooLarge(f"{program.name} does not fit one kernel on {chip.name}")
    mesh = Mesh.of(chip)
    timing = chip.timing
    launch = timing.argument_load + timing.execute + timing.memory_latency + (0.0 if alone else timing.program_load)

    def kernel(found: Positions, loads: Sequence[LinkLoads]) -> PlacedKernel:
        rates = tuple(
            StageRate(
                stage.name,
                share.seconds,
                _streamed(stage.operand) / chip.streaming_bandwidth,
                load.worst[0] / mesh.link_bandwidth,
                stage.exchange.seconds if stage.exchange else 0.0,
            )
            for stage, share, load in zip(program.stages, allocation.shares, loads, strict=True)
        )
        return PlacedKernel(program, chip, allocation, mesh, found, tuple(loads), rates, launch)

    tried = []
    for width in STRIP_WIDTHS:
        found = positions(program, allocation, mesh, width)
        sent = stage_messages(program, allocation, found, mesh, chip)
        tried.append((kernel(found, [messages.loads(mesh) for messages in sent]), sent))
    best, sent = min(tried, key=lambda one: one[0].pass_seconds)
    if program.control == "pipelined":
        others = max(seconds for name, seconds in best.limits.items() if name != MESH)
        return kernel(best.positions, routed(mesh, sent, others * mesh.link_bandwidth))
    loads = []
    for rate, messages in zip(best.rates, sent, strict=True):
        others = max(rate.compute, rate.memory, rate.link)
        loads += (
            routed(mesh, [messages], others * mesh.link_bandwidth) if rate.mesh > others else [messages.loads(mesh)]
        )
    return kernel(best.positions, loads)


def _streamed(operand: Operand | None) -> float:
    return operand.streamed_bytes if operand else 0.0
