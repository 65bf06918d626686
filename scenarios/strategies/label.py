"""What time is spent on: the labels that a strategy puts on its tasks, and the parts of a result that they become."""

from __future__ import annotations

from typing import NamedTuple

from results.words import BOUNDARY_PARTS


class Label(NamedTuple):
    """What a stretch of time was spent on (a column of the results) and what it waited for."""

    part: str
    limiter: str


# The parts of a kernel boundary. The gap: a kernel is launched and its blocks start. The ramp: the first bytes come.
# The drain: the last of a kernel's blocks end. The dependency: who needs its results learns that they are there.
LAUNCH = Label("launch", "launch")
RAMP = Label("fill_drain", "ramp")
DRAIN = Label("fill_drain", "drain")
DEPENDENCY = Label("dependency", "dependency")
HOST = Label("host", "host")
BOUNDARY = dict(zip(BOUNDARY_PARTS, (LAUNCH, RAMP, DRAIN, DEPENDENCY, HOST), strict=True))
"""By the name that users read."""

FILL_DRAIN = Label("fill_drain", "dependency")  # of a pipeline of stages, which fills and drains as one

HBM = "HBM"  # what loads wait for, and the engine that they run on
LINK = "link"  # what collectives wait for, and the engine on which chips meet
