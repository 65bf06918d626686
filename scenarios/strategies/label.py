"""What time is spent on: the labels that a strategy puts on its tasks, and the parts of a result that they become."""

from __future__ import annotations

from typing import NamedTuple


class Label(NamedTuple):
    """What a stretch of time was spent on (a column of the results) and what it waited for."""

    part: str
    limiter: str


LAUNCH = Label("launch", "launch")
HOST = Label("launch", "host")
DEPENDENCY = Label("launch", "dependency")
HBM = "HBM"  # what loads wait for, and the engine that they run on
LINK = "link"  # what collectives wait for, and the engine on which chips meet
FILL_DRAIN = Label("fill_drain", "dependency")
