"""What the libraries do: which collective kernels NCCL and the serving stacks run on a chip, and what they cost.

A library offers candidates (an algorithm under a protocol) and picks one, by its own documented limits or, where it
has a tuner, the fastest. Belongs here: the entry points and the choice. The prices of the candidates are in ``nccl``
and ``direct`` (one-shot, two-shot and in-switch kernels).
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chips.spec import Dataflow, Gpu
from collectives.bound import bound_seconds
from collectives.collective_time import HOST, LATENCY, CollectiveTime, Library, Mode, Operation
from collectives.host import in_group
from collectives.libraries.candidate import Candidate, Seconds
from collectives.libraries.direct import direct_candidates, streamed_all_reduce, streamed_candidates
from collectives.libraries.nccl import nccl_candidates

__all__ = ["CollectiveTime", "measured_seconds", "price_collective", "streamed_all_reduce"]


def price_collective(
    chip: Gpu | Dataflow,
    operation: Operation,
    ranks: int,
    payload_bytes: ArrayLike,
    *,
    library: Library | None = None,
    mode: Mode = "graph",
    algorithm: str | None = None,
) -> CollectiveTime:
    """Time of one collective between ``ranks`` chips that are all ready at once, for every payload.

    ``payload_bytes`` as nccl-tests counts it: the buffer of a rank for all_reduce, broadcast and send_receive, the
    total of all ranks for all_gather and reduce_scatter, what a rank sends in all for all_to_all. ``library`` None is
    the one of the chip's serving stack. ``algorithm`` restricts the choice to candidates whose name begins so.

    ``mode``: ``graph`` is the kernel alone, without the gap before it (the caller adds ``launch.graph_gap``);
    ``stream`` adds ``launch.stream_gap``, as back-to-back calls on a stream read; ``eager`` is what one call of a
    framework takes: the host issuing it, or the device running it, whichever is longer. Serving stacks reduce out of
    place and copy the input first, ``nccl`` (torch.distributed) in place.
    One rank costs nothing. Raises ValueError for a count below 1, a negative payload or a name that is not known.
    """
    for name, known in ((operation, Operation), (library or "nccl", Library), (mode, Mode)):
        if name not in get_args(known):
            raise ValueError(f"'{name}' is not known; expected one of {', '.join(get_args(known))}.")
    payload = np.asarray(payload_bytes, dtype=np.float64)
    if ranks < 1:
        raise ValueError(f"a collective of {ranks} ranks was asked for; at least 1 is needed.")
    if np.any(payload < 0):
        raise ValueError(f"a payload of {float(payload.min()):.0f} bytes was asked for; it cannot be negative.")
    if ranks == 1:
        nothing = np.zeros_like(payload)
        return CollectiveTime(nothing, nothing, np.full(payload.shape, "none"), np.full(payload.shape, LATENCY))
    chip = in_group(chip, ranks)
    if isinstance(chip, Dataflow):
        candidates = streamed_candidates(chip, operation, ranks, payload)
    else:
        candidates = _gpu_candidates(chip, operation, ranks, payload, library or chip.generation.serving_library)
    if algorithm is not None:
        candidates = _restricted(candidates, algorithm)
    costs = np.stack([np.where(candidate.allowed, candidate.seconds, np.inf) for candidate in candidates])
    chosen = np.argmin(costs, axis=0)
    seconds = np.take_along_axis(costs, chosen[None], axis=0)[0]
    limiter = np.take_along_axis(np.stack([candidate.limiter for candidate in candidates]), chosen[None], axis=0)[0]
    if isinstance(chip, Gpu) and mode == "stream":
        seconds = seconds + chip.generation.launch.stream_gap
    if isinstance(chip, Gpu) and mode == "eager":
        issues = np.asarray([candidate.host_issues for candidate in candidates])[chosen]
        copied = np.zeros_like(payload) if library == "nccl" else payload
        seconds, limiter = _eager(chip, copied, seconds, limiter, issues)
    names = np.asarray([candidate.name for candidate in candidates])[chosen]
    return CollectiveTime(seconds, bound_seconds(chip, operation, ranks, payload), names, limiter)


def measured_seconds(
    chip: Gpu,
    operation: Operation,
    ranks: int,
    payload_bytes: ArrayLike,
    *,
    library: Library,
    mode: Mode,
    algorithm: str | None = None,
) -> Seconds:
    """What a benchmark of back-to-back calls reads: ``price_collective``, and between graph nodes their gap."""
    time = price_collective(chip, operation, ranks, payload_bytes, library=library, mode=mode, algorithm=algorithm)
    seconds = time.seconds
    return seconds + chip.generation.launch.graph_gap if mode == "graph" else seconds


def _gpu_candidates(chip: Gpu, operation: Operation, ranks: int, payload: Seconds, library: Library) -> list[Candidate]:
    """The stack's own AllReduce kernels where it takes them; NCCL for the rest; TensorRT-LLM takes the faster."""
    nccl = nccl_candidates(chip, operation, ranks, payload)
    own = direct_candidates(chip, ranks, payload, library) if operation == "all_reduce" else []
    if not own or library == "trtllm":
        return own + nccl
    left = ~np.logical_or.reduce([candidate.allowed for candidate in own])
    return own + [replace(candidate, allowed=left) for candidate in nccl]


def _restricted(candidates: list[Candidate], algorithm: str) -> list[Candidate]:
    """Only those whose name begins with ``algorithm``, wherever the library would have taken them."""
    chosen = [candidate for candidate in candidates if candidate.name.startswith(algorithm)]
    if not chosen:
        names = ", ".join(candidate.name for candidate in candidates)
        raise ValueError(f"algorithm '{algorithm}' is not offered here; expected one of {names}.")
    return [replace(candidate, allowed=np.ones_like(candidate.allowed)) for candidate in chosen]


def _eager(
    chip: Gpu, copied: Seconds, seconds: Seconds, limiter: NDArray[np.str_], issues: NDArray[np.int64]
) -> tuple[Seconds, NDArray[np.str_]]:
    """The device copies ``copied`` bytes of the input and runs the kernel while the host issues the next call."""
    launch = chip.generation.launch
    device = seconds + 2 * copied / chip.memory.bandwidth + 2 * launch.stream_gap
    host = issues * launch.host_collective
    return np.maximum(device, host), np.where(host > device, HOST, limiter)
