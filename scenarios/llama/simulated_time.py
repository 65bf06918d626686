"""What each token of a generation takes on a simulated machine: the same prices that ``loopline compare`` shows."""

from __future__ import annotations

from dataclasses import dataclass

from chips.explained_time import PICOSECONDS_PER_SECOND
from scenarios.model import Model
from scenarios.point import make_point
from scenarios.pricing import run_point


@dataclass(frozen=True)
class SimulatedMachine:
    """Chips that serve one request for a model. ``count``: the tensor-parallel group."""

    model: Model
    chip: str
    count: int
    strategy: str

    @property
    def name(self) -> str:
        """As a table says it: ``sn40l x3 kernel_loop``."""
        return f"{self.chip} x{self.count} {self.strategy}"

    def token_seconds(self, prompt_tokens: int, index: int) -> float:
        """Seconds until output token ``index`` follows the one before: the prefill gives the first (index 0), each
        other is a decode pass over a KV cache that is one token longer.

        Raises DoesNotFit where the chips cannot hold it, ScenarioError and CatalogError for a wrong request.
        """
        point = make_point(
            self.model,
            self.chip,
            self.count,
            strategy=self.strategy,
            phase="decode" if index else "prefill",
            context=prompt_tokens + index,
        )
        return run_point(point).ps / PICOSECONDS_PER_SECOND
