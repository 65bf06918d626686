"""The software between a model and a GPU, as far as time is concerned: whose collectives, how much host work a pass."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveFloat

from collectives.collective_time import Library

CATALOG = Path(__file__).parent / "frameworks.toml"


class Framework(BaseModel):
    """``collectives``: the library of its AllReduce kernels; ``host_step_seconds``: host work between two passes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    collectives: Library
    host_step_seconds: PositiveFloat


@cache
def frameworks() -> dict[str, Framework]:
    """All known frameworks by name."""
    table = tomllib.loads(CATALOG.read_text())
    return {name: Framework.model_validate({"name": name} | fields) for name, fields in table.items()}


def serving_framework() -> Framework:
    """What a GPU row of a comparison runs unless told otherwise."""
    return frameworks()["tensorrt-llm"]


def training_framework() -> Framework:
    """What a GPU row of a training comparison runs."""
    return frameworks()["training"]


def framework_named(text: str) -> Framework:
    """The framework that a published row names, perhaps among other words; the default for one that is not known."""
    words = text.lower()
    known = [framework for name, framework in frameworks().items() if name in words]
    return known[0] if known else serving_framework()
