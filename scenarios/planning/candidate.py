"""A candidate of a plan: a point, and the request that it is made of anew wherever it is priced."""

from __future__ import annotations

from typing import NamedTuple

from scenarios.point import Point
from scenarios.sweeps.scenario_file import Request


class Candidate(NamedTuple):
    """``point`` is what ``make_point(**request)`` gives."""

    request: Request
    point: Point
