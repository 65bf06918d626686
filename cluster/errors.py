"""What goes wrong between ranks, in one sentence that a user can act on."""

from __future__ import annotations

import pickle

from results.errors import LooplineError


class ClusterError(LooplineError, RuntimeError):
    """Ranks could not be started, or one was lost while the others waited for it; the message says which and why."""


class RankLost(ClusterError):
    """A rank ended without a result: its process was killed, or its node left. Running again may succeed."""


def picklable(error: Exception, rank: int) -> Exception:
    """``error``, or a ClusterError that says the same if it does not survive the way to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return ClusterError(f"Rank {rank} failed with {type(error).__name__}: {error}")
    return error
