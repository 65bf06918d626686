"""What an architecture generation of GPUs shares: the few physical coefficients of its kernels, launches and links.

Each is a latency, an efficiency or a protocol rate, fitted once for a generation on measured kernels, or taken from a
microbenchmark; the TOML says which. Chips inherit them by naming their generation. No coefficient depends on a shape,
a model or a chip's name. Units: seconds, bytes, bytes/s; efficiencies and fractions in 0..1.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

Fraction = Annotated[float, Field(gt=0, le=1)]


class Coefficients(BaseModel):
    """A family's coefficients: immutable, strict keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LaunchCoefficients(Coefficients):
    """What it costs to start a kernel.

    ``graph_gap``: device-side time from the end of a kernel to the start of the next in a CUDA graph (an empty kernel).
    ``stream_gap``: the same on a stream that the host keeps full.
    ``host_operator``: host time to issue one eager operator of the framework (Python, dispatcher, driver).
    ``host_collective``: the same for a collective.
    ``dependency``: inside one persistent kernel, from a producer's last store to a consumer that polls a counter in
    global memory for it.
    ``graph_launch``: host time to start a whole graph.
    """

    graph_gap: PositiveFloat
    stream_gap: PositiveFloat
    host_operator: PositiveFloat
    host_collective: PositiveFloat
    dependency: PositiveFloat
    graph_launch: PositiveFloat


class GpuGeneration(Coefficients):
    """All coefficients of one generation."""

    name: str
    launch: LaunchCoefficients
