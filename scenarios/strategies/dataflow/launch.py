"""A launch on a dataflow chip: program load, argument load and execute, sequenced by the host or by the chip itself.

Sequenced by the host (``software``), each command also costs a dispatch; sequenced by the chip's own hardware it does
not (Prabhakar et al., arXiv 2405.07518, section IV-D).
"""

from __future__ import annotations

from chips.clock.timeline import Time, Timeline, seconds_to_ps
from chips.spec import Dataflow
from scenarios.strategies.label import FILL_DRAIN, HBM, LAUNCH


def load_program(clock: Timeline, chip: Dataflow, sequenced: str, ready: Time) -> Time:
    """Shift another program's configuration into all units: the first of a launch's three commands."""
    return clock.barrier(program_load_ps(chip, sequenced), label=LAUNCH, name="program load", after=(ready,))


def launch(clock: Timeline, chip: Dataflow, sequenced: str, ready: Time) -> Time:
    """A synchronization boundary: the chip drains, then argument load and execute, then the first data arrive."""
    started = clock.barrier(_launch_ps(chip, sequenced), label=LAUNCH, name="kernel launch", after=(ready,))
    return clock.task(clock.engine(HBM), _fill_ps(chip), after=(started,), label=FILL_DRAIN, name="first load")


def launch_ps(chip: Dataflow, sequenced: str) -> int:
    """What ``launch`` takes, until the first data arrive."""
    return _launch_ps(chip, sequenced) + _fill_ps(chip)


def program_load_ps(chip: Dataflow, sequenced: str) -> int:
    """What ``load_program`` takes."""
    timing = chip.timing
    if sequenced == "batched":  # sent with the argument load: by shift registers, beside the network of arguments
        return seconds_to_ps(max(timing.program_load - timing.argument_load, 0.0))
    return seconds_to_ps(timing.program_load + (timing.software_dispatch if sequenced == "software" else 0.0))


def _launch_ps(chip: Dataflow, sequenced: str) -> int:
    dispatch = 2 * chip.timing.software_dispatch if sequenced == "software" else 0.0
    return seconds_to_ps(chip.timing.argument_load + chip.timing.execute + dispatch)


def _fill_ps(chip: Dataflow) -> int:
    return seconds_to_ps(chip.timing.memory_latency)
