"""The scheduler of a serving framework, iteration by iteration: who waits, who decodes, and how long that takes.

Belongs here: which requests enter which iteration, and the times to first token and per output token that follow.
What an iteration costs comes in as a function; chips, models and frameworks are in ``scenarios.serving.load``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

IterationSeconds = Callable[[int, int], float]
"""(prompts, decoding requests) of one iteration -> its seconds."""


@dataclass(frozen=True)
class Schedule:
    """How requests enter the running batch: continuous batching (Yu et al. 2022, Orca) with a batch limit.

    ``places``: requests that run at once. ``prompts``: the most that one iteration takes in. ``overlapped``: the host
    schedules an iteration before it has read the tokens of the one before, so that a request that ends is seen one
    iteration late: its place and its client's next request miss an iteration. ``front_end_token_seconds``: what the
    one queue between engine and clients (text of a token, its HTTP event) takes a token; new requests pass it too.
    """

    places: int
    prompts: int
    overlapped: bool
    front_end_token_seconds: float = 0.0


@dataclass(frozen=True)
class Served:
    """Means over all requests as clients see them, seconds; ``running``: requests that decode, over iterations."""

    time_to_first_token: float
    time_per_output_token: float
    running: float


@dataclass(frozen=True)
class _Waiting:
    """A request that a client sent at ``sent``; the engine has it at ``arrival``, for ``iteration`` or a later one."""

    sent: float
    arrival: float
    iteration: int


@dataclass(frozen=True)
class _Running:
    """Requests that entered in the same iteration and, all outputs being equally long, end in the same one."""

    count: int
    last_iteration: int
    first_token_seen: float


def serve(
    iteration_seconds: IterationSeconds, schedule: Schedule, clients: int, requests: int, output_tokens: int
) -> Served:
    """A closed loop: ``clients`` send at once, each its next request when one has ended, until ``requests`` are served.

    Every request gets ``output_tokens`` tokens, the first of them from the iteration that reads its prompt.
    """
    loop = _ClosedLoop(iteration_seconds, schedule, requests, output_tokens)
    loop.send(min(clients, requests))
    while loop.ended < requests:
        loop.advance()
    return Served(
        loop.to_first_token / requests,
        loop.to_last_token / requests / max(1, output_tokens - 1),
        loop.decoded / loop.iteration,
    )


class _ClosedLoop:
    """The state of ``serve``: ``clock`` in seconds, ``iteration`` the next one, and sums over the requests served.

    ``backlog``: seconds of work in front of whatever enters the front end now. Tokens flow into it evenly.
    """

    def __init__(
        self, iteration_seconds: IterationSeconds, schedule: Schedule, requests: int, output_tokens: int
    ) -> None:
        self.iteration_seconds, self.schedule = iteration_seconds, schedule
        self.unsent, self.output_tokens = requests, output_tokens
        self.clock = self.backlog = self.to_first_token = self.to_last_token = 0.0
        self.iteration = self.decoding = self.held = self.ended = self.decoded = 0
        self.waiting: deque[_Waiting] = deque()
        self.running: deque[_Running] = deque()
        self.freed: deque[tuple[int, int]] = deque()  # (iteration, places free from it on)

    def send(self, count: int) -> None:
        """``count`` clients see an end, after the backlog, and their next requests pass through the backlog in turn."""
        count = min(count, self.unsent)
        self.unsent -= count
        sent = self.clock + self.backlog
        ahead = self.waiting[-1].arrival if self.waiting else 0.0  # one queue: nobody overtakes
        self.waiting.extend([_Waiting(sent, max(sent + self.backlog, ahead), self._acted_upon)] * count)

    def advance(self) -> None:
        """One iteration with the prompts that may enter, or all iterations up to the next event: those are alike."""
        while self.freed and self.freed[0][0] <= self.iteration:
            self.held -= self.freed.popleft()[1]
        joining = self._joining()
        if not joining and not self.decoding:
            self._idle()
            return
        seconds = self.iteration_seconds(len(joining), self.decoding)
        leap = 1 if joining else self._until_event(seconds)
        tokens = self.decoding + len(joining)
        self.clock += leap * seconds
        self.backlog = max(0.0, self.backlog + leap * (tokens * self.schedule.front_end_token_seconds - seconds))
        self.iteration += leap
        self.decoded += leap * self.decoding
        seen = self.clock + self.backlog
        if joining:
            self.to_first_token += sum(seen - request.sent for request in joining)
            self.running.append(_Running(len(joining), self.iteration + self.output_tokens - 2, seen))
            self.decoding += len(joining)
        while self.running and self.running[0].last_iteration < self.iteration:
            over = self.running.popleft()
            self.decoding -= over.count
            self.ended += over.count
            self.to_last_token += over.count * (seen - over.first_token_seen)
            self.freed.append((self._acted_upon, over.count))
            self.send(over.count)

    @property
    def _acted_upon(self) -> int:
        """The first iteration that the scheduler makes up knowing what the last one did."""
        return self.iteration + (1 if self.schedule.overlapped and self.iteration else 0)

    def _joining(self) -> list[_Waiting]:
        joining: list[_Waiting] = []
        most = min(self.schedule.prompts, self.schedule.places - self.held)
        while len(joining) < most and self.waiting and self._is_here(self.waiting[0]):
            joining.append(self.waiting.popleft())
        self.held += len(joining)
        return joining

    def _is_here(self, request: _Waiting) -> bool:
        return request.iteration <= self.iteration and request.arrival <= self.clock

    def _until_event(self, seconds: float) -> int:
        """Iterations of ``seconds`` until requests end, places become free, or a request arrives for a free place."""
        events = [self.running[0].last_iteration - self.iteration + 1]
        if self.freed:
            events.append(self.freed[0][0] - self.iteration)
        if self.waiting and self.held < self.schedule.places:
            request = self.waiting[0]
            arriving = ceil((request.arrival - self.clock) / seconds)
            events.append(max(1, arriving, request.iteration - self.iteration))
        return min(events)

    def _idle(self) -> None:
        """Nothing decodes and nobody may enter: on to the next arrival. Iterations without work take no time."""
        arrival = max(self.clock, self.waiting[0].arrival)
        self.backlog = max(0.0, self.backlog - (arrival - self.clock))
        self.clock = arrival
        self.iteration = max([self.iteration, self.waiting[0].iteration, *(number for number, _ in self.freed)])
