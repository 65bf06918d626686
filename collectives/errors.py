"""What can be wrong with a question about collectives."""

from __future__ import annotations

from results.errors import LooplineError


class CollectiveError(LooplineError, ValueError):
    """Chips without links, an algorithm or topology that does not exist or does not fit; the sentence says which."""
