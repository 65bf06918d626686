"""The root of all errors that a user can meet, and what is wrong with results. Light: it imports nothing.

Every package derives its own from the root, beside the code that raises them::

    LooplineError
      ReadError, SchemaError, OutputError          results: what cannot be read, held or written
      CatalogError                                 chips: what a datasheet or a model's file says
      TileError, TooLarge                          chips: a tile program, a program that no placement holds
      ClockError                                   chips: a time that the clock cannot tell
      CollectiveError                              collectives: chips, algorithms or links that do not go together
      ScheduleError, MissingLink                   collectives: what does not sum, what has no way
      SilentRank                                   collectives: MPI ranks that wait in vain
      ClusterError                                 cluster: ranks that could not be started or were lost
        RankLost                                   running again may succeed
        SweepStopped                               scenarios: what a sweep keeps and how it goes on
      ScenarioError                                scenarios: the request is wrong
      DoesNotFit                                   scenarios: a valid request that this hardware cannot hold
      Unpredictable                                scenarios: a measured row that the simulator has no model for

A result that beats physics (``results.schema.PhysicsError``) is no such error but one of this program.
"""

from __future__ import annotations


class LooplineError(Exception):
    """What was asked cannot be answered; the message is one sentence that says why, and what would be right."""


class ReadError(LooplineError, ValueError):
    """A file cannot be read; the message is one sentence that names it and what would be right."""


class SchemaError(LooplineError, ValueError):
    """A record has not the columns, types or sums of the schema; the message names the row and the column."""
