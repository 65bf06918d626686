"""The scheduler of a serving framework, iteration by iteration: who waits, who decodes, and how long that takes.

Belongs here: which requests enter which iteration, and the times to first token and per output token that follow.
What an iteration costs comes in as a function; chips, models and frameworks are in ``scenarios.serving``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

IterationSeconds = Callable[[int, int], float]
"""(prompts, decoding requests) of one iteration -> its seconds."""


@dataclass(frozen=True)
class Schedule:
    """How requests enter the running batch: continuous batching (Yu et al. 2022, Orca) with a batch limit.

    ``places``: requests that run at once. ``prompts``: the most that one iteration takes in. ``overlapped``: the host
    schedules an iteration before it has read the tokens of the one before, so that a request that ends is seen one
    iteration late: its place and its client's next request miss an iteration.
    """

    places: int
    prompts: int
    overlapped: bool


@dataclass(frozen=True)
class Served:
    """Means over all requests, seconds; ``running``: requests that decode in an iteration, a mean over iterations."""

    time_to_first_token: float
    time_per_output_token: float
    running: float


@dataclass
class _Batch:
    """Requests that entered in the same iteration and, all outputs being equally long, end in the same one."""

    count: int
    last_iteration: int
    first_token_seconds: float


def serve(
    iteration_seconds: IterationSeconds, schedule: Schedule, clients: int, requests: int, output_tokens: int
) -> Served:
    """A closed loop: ``clients`` send at once, each its next request when one has ended, until ``requests`` are served.

    Every request gets ``output_tokens`` tokens, the first of them from the iteration that reads its prompt. Iterations
    between two events are alike and taken in one leap, so that the work grows with the requests, not their tokens.
    """
    late = 2 if schedule.overlapped else 1  # iterations from a request's last until its end is acted upon
    clock, iteration, held = 0.0, 0, 0
    # Requests that wait, by the first iteration that may take them, and when they were sent.
    waiting = deque((0, 0.0) for _ in range(min(clients, requests)))
    sent = len(waiting)
    running: deque[_Batch] = deque()
    freed: deque[tuple[int, int]] = deque()  # (iteration, places that are free from it on)
    ended = iterations = decoding = 0
    to_first, to_rest, decoded = 0.0, 0.0, 0
    while ended < requests:
        while freed and freed[0][0] <= iteration:
            held -= freed.popleft()[1]
        joining: list[float] = []
        while (
            waiting
            and waiting[0][0] <= iteration
            and held < schedule.places
            and len(joining) < max(1, schedule.prompts)
        ):
            joining.append(waiting.popleft()[1])
            held += 1
        if not joining and not decoding:  # nothing to do until an end is seen, which takes no time of the device
            iteration = max(waiting[0][0], freed[0][0] if freed else 0)
            continue
        leap = 1
        if not joining:
            leap = running[0].last_iteration - iteration + 1
            if waiting and held < schedule.places:
                leap = min(leap, waiting[0][0] - iteration)
            if freed:
                leap = min(leap, freed[0][0] - iteration)
        clock += leap * iteration_seconds(len(joining), decoding)
        iteration += leap
        iterations += leap
        decoded += leap * decoding
        if joining:
            to_first += sum(clock - moment for moment in joining)
            running.append(_Batch(len(joining), iteration + output_tokens - 2, clock))
            decoding += len(joining)
        while running and running[0].last_iteration < iteration:
            batch = running.popleft()
            decoding -= batch.count
            ended += batch.count
            to_rest += batch.count * (clock - batch.first_token_seconds)
            freed.append((iteration - 1 + late, batch.count))
            again = min(batch.count, requests - sent)
            waiting.extend([(iteration - 1 + late, clock)] * again)
            sent += again
    per_token = to_rest / requests / max(1, output_tokens - 1)
    return Served(to_first / requests, per_token, decoded / iterations)
