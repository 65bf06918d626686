"""What a plan can be best at: of each goal a score of what a point reaches, of which the smaller is the better."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scenarios.planning.search import Score


class Reached(NamedTuple):
    """What scores are made of: chips, tokens a second of one sequence and of all, joules and dollars a token."""

    chips: int
    user: float
    tokens: float
    joules: float
    dollars: float


class Goal(NamedTuple):
    """What it means, its score, and whether that asks for joules."""

    meaning: str
    score: Callable[[Reached], Score]
    energy: bool = False


GOALS = {
    "time": Goal("the shortest step or token", lambda each: (-each.user, each.chips)),
    "throughput": Goal("the most tokens a second from each chip", lambda each: (-each.tokens / each.chips, each.chips)),
    "chips": Goal("the fewest chips, and with these the most tokens a second", lambda each: (each.chips, -each.tokens)),
    "joules": Goal("the most tokens a joule", lambda each: (each.joules, each.chips), energy=True),
    "cost": Goal("the most tokens a dollar", lambda each: (each.dollars, each.chips), energy=True),
}
