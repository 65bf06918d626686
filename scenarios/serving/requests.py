"""The requests of a load: how long each prompt and answer is, when it was sent, and when its tokens came."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass
class Requests:
    """Requests by number. ``cached_tokens``: of a prompt, in a prefix cache. Times in seconds, filled by a run."""

    prompt_tokens: list[int]
    output_tokens: list[int]
    cached_tokens: list[int]
    sent: list[float] = field(init=False)
    first: list[float] = field(init=False)
    last: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.sent, self.first, self.last = ([0.0] * len(self.prompt_tokens) for _ in range(3))

    def __len__(self) -> int:
        return len(self.prompt_tokens)

    @property
    def to_first_token(self) -> Floats:
        """Seconds a request's client waits for the first token (TTFT)."""
        return np.subtract(self.first, self.sent)

    @property
    def to_last_token(self) -> Floats:
        """Seconds from sending a request to its last token (end to end)."""
        return np.subtract(self.last, self.sent)

    @property
    def an_output_token(self) -> Floats:
        """Mean seconds between tokens of a request (TPOT), of those with more than one; NaN where there are none."""
        between = np.asarray(self.output_tokens) - 1
        several = between > 0
        found: Floats = np.subtract(self.last, self.first)[several] / between[several]
        return found if found.size else np.array([np.nan])
