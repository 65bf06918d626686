"""What goes wrong between ranks, in one sentence that a user can act on."""

from __future__ import annotations

import pickle

from results.errors import LooplineError


class ClusterError(LooplineError, RuntimeError):
    """Ranks could not be started, or one was lost while the others waited for it; the message says which and why."""


class RankLost(ClusterError):
    """A rank ended without a result: its process was killed, or its node left. Running again may succeed."""


def raised_by(error: BaseException, rank: int, ranks: int) -> Exception:
    """What is raised where ranks were started for what a program raised on one: the same, if it can be told as it is.

    It has to survive the way to another process, and must not end that one.
    """
    if not isinstance(error, Exception):
        return ClusterError(f"Rank {rank} of {ranks} left its program by {type(error).__name__}({error}).")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return ClusterError(f"Rank {rank} failed with {type(error).__name__}: {error}")
    return error


def check_sendable(item: object, what: str, rank: int) -> None:
    """Raise ClusterError where an ``item``, ``what`` a rank gives, cannot be sent to another process."""
    try:
        pickle.dumps(item, pickle.HIGHEST_PROTOCOL, buffer_callback=lambda large: None)
    except Exception as error:
        raise ClusterError(f"What rank {rank} {what} cannot be sent to another process: {error}.") from None
