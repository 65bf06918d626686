"""What each token of a generation takes on a simulated machine: the same prices that ``loopline compare`` shows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cluster.communicator import Communicator
from scenarios.assignment import assign
from scenarios.point import Point
from scenarios.pricing import price


@dataclass(frozen=True)
class SimulatedMachine:
    """Chips that serve one request. ``point``: a request for their model, of any length."""

    point: Point

    @property
    def name(self) -> str:
        """As a table says it: ``sn40l x3 kernel_loop``."""
        return f"{self.point.chip.name} x{self.point.count} {self.point.strategy}"

    @property
    def ranks(self) -> int:
        """Chips that hold a shard: all, or those that are left where some have failed."""
        return len(assign(self.point).working)

    def request(self, prompt_tokens: int, output_tokens: int) -> Point:
        """The whole request; its time is the sum of its tokens'."""
        return replace(self.point, context=prompt_tokens + output_tokens, output_tokens=output_tokens)

    def token_seconds(self, prompt_tokens: int, index: int, communicator: Communicator | None = None) -> float:
        """Seconds until output token ``index`` follows the one before: the prefill gives the first (index 0), each
        other is a decode pass over a KV cache that is one token longer.

        With a ``communicator``, only this rank's chip is run, on a clock of its own that meets the others' at every
        collective. Raises DoesNotFit where the chips cannot hold it.
        """
        phase = "decode" if index else "prefill"
        point = replace(self.point, phase=phase, context=prompt_tokens + index, output_tokens=None)
        return price([point], communicator=communicator).outcome().seconds
