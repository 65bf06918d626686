"""What a collective costs, with its explanation and its physical bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Operation = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send_receive"]
Library = Literal["nccl", "vllm", "sglang", "trtllm"]
Mode = Literal["graph", "stream", "eager"]

LINK, LATENCY, NETWORK, HOST = "link", "latency", "network", "host"


@dataclass(frozen=True)
class CollectiveTime:
    """Collectives' times; every field is an array over payloads.

    ``bound_seconds``: no group of these chips can be faster: bytes over links, latency of dependent steps.
    ``algorithm``: what the library picked, e.g. ``ring ll128``.
    ``limiter``: the largest part of the time: ``link``, ``network`` (between nodes), ``latency`` or ``host``.
    """

    seconds: NDArray[np.float64]
    bound_seconds: NDArray[np.float64]
    algorithm: NDArray[np.str_]
    limiter: NDArray[np.str_]
