"""Seconds that one step of a model takes, operator by operator, on the chips of one tensor-parallel group."""

from __future__ import annotations

from chips.clock.time import PICOSECONDS_PER_SECOND
from chips.spec import Gpu
from scenarios.framework import Framework
from scenarios.strategies.one_pass import pass_parts
from scenarios.workload.operators import Step


def step_seconds(chip: Gpu, ranks: int, step: Step, framework: Framework, launch: str = "graph") -> float:
    """When the last of ``ranks`` chips has finished ``step``; ``launch``: graph or eager."""
    return sum(pass_parts(chip, ranks, "per_operator", launch, framework, step).values()) / PICOSECONDS_PER_SECOND
