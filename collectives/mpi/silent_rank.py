"""The error of a rank that waits in vain. Apart from who raises it, so that catching it does not start MPI."""

from __future__ import annotations

from results.errors import LooplineError


class SilentRank(LooplineError, RuntimeError):
    """Ranks died, hang, or wait for each other. The sentence names them; the communicator is of no use any more.

    ``speaks``: true on exactly one of the ranks that raise it, the one to tell the user.
    """

    def __init__(self, sentence: str, speaks: bool) -> None:
        super().__init__(sentence)
        self.speaks = speaks

    def __reduce__(self) -> tuple[type[SilentRank], tuple[str, bool]]:
        return type(self), (str(self), self.speaks)
