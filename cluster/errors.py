"""What goes wrong between ranks, in one sentence that a user can act on."""

from __future__ import annotations


class ClusterError(RuntimeError):
    """Ranks could not be started, or one was lost while the others waited for it; the message says which and why."""
