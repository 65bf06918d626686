"""The two ways in which a scenario can be refused. Both carry one sentence that a user can act on."""

from __future__ import annotations


class ScenarioError(ValueError):
    """The request itself is wrong: what, where, and what would be right."""


class DoesNotFit(Exception):
    """A valid request that this hardware cannot hold; the message says what it needs, has, and what would fit."""


class Unpredictable(Exception):
    """A measured row that the simulator has no model for; the message says why."""
