"""Seconds that one step of a model takes, operator by operator, on the chips of one tensor-parallel group."""

from __future__ import annotations

import numpy as np

from chips.clock.time import PICOSECONDS_PER_SECOND
from chips.clock.timeline import Timeline
from chips.spec import Gpu
from cluster import Cluster
from scenarios.framework import Framework
from scenarios.strategies import run_strategy
from scenarios.workload.operators import Step


def step_seconds(chip: Gpu, ranks: int, step: Step, framework: Framework, launch: str = "graph") -> float:
    """When the last of ``ranks`` chips has finished ``step``; ``launch``: graph or eager."""
    finish = run_strategy(Timeline(), Cluster(chip, ranks), "per_operator", step, launch, framework)
    return float(np.max(finish.ps)) / PICOSECONDS_PER_SECOND
