"""One collective kernel that a library could run: what its time consists of, before any choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collectives.collective_time import LATENCY, LINK, NETWORK

Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """An algorithm under a protocol; arrays over payloads.

    ``latency``: startup and dependent steps; ``transfer``: bytes over the links of the domain; ``network``: steps and
    bytes between nodes that the links do not hide. ``allowed``: where the library may choose it. ``host_issues``: how
    many calls an eager framework makes for it (a kernel that needs registered buffers copies into them first).
    """

    name: str
    latency: Seconds
    transfer: Seconds
    network: Seconds
    allowed: NDArray[np.bool_]
    host_issues: int = 1

    @property
    def seconds(self) -> Seconds:
        return self.latency + self.transfer + self.network

    @property
    def limiter(self) -> NDArray[np.str_]:
        largest = np.argmax(np.stack(np.broadcast_arrays(self.latency, self.transfer, self.network)), axis=0)
        names: NDArray[np.str_] = np.asarray([LATENCY, LINK, NETWORK])
        return np.asarray(names[largest])
