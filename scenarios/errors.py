"""The ways in which a scenario, or a measured row, can be refused; each carries one sentence that a user can act on."""

from __future__ import annotations

from results.errors import LooplineError


class ScenarioError(LooplineError, ValueError):
    """The request itself is wrong: what, where, and what would be right."""


class DoesNotFit(LooplineError):
    """A valid request that this hardware cannot hold; the message says what it needs, has, and what would fit."""


class Unpredictable(LooplineError):
    """A measured row that the simulator has no model for; the message says why."""
