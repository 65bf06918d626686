"""The software between a model and a GPU, as far as time is concerned: whose collectives, how much host work a pass."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveFloat

from collectives.collective_time import Library

CATALOG = Path(__file__).parent / "frameworks.toml"


class Framework(BaseModel):
    """``collectives``: the library of its AllReduce kernels; ``host_step_seconds``: host work between two passes.

    ``fuses``: whether an element-wise operator is one kernel; else it is its ``plain_calls`` kernels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    collectives: Library
    host_step_seconds: PositiveFloat
    fuses: bool


@cache
def frameworks() -> dict[str, Framework]:
    """All known frameworks by name."""
    table = tomllib.loads(CATALOG.read_text())
    return {name: Framework.model_validate({"name": name} | fields) for name, fields in table.items()}


def default_framework(phase: str, eager: bool) -> Framework:
    """What GPUs run unless told otherwise: a training framework, plain PyTorch where the host issues every call, or
    a serving framework with its CUDA graph."""
    return frameworks()["training" if phase == "train" else "pytorch" if eager else "tensorrt-llm"]


def framework_named(text: str) -> Framework:
    """The framework that a published row names, perhaps among other words; a serving one if none is known."""
    words = text.lower()
    known = [framework for name, framework in frameworks().items() if name in words]
    return known[0] if known else default_framework("decode", eager=False)
