"""A load played on engines: clients send, a router deals, engines answer, until every request has its last token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from math import inf

from scenarios.serving.engine import Engine, IterationCosts, Scheduler
from scenarios.serving.requests import Requests


@dataclass(frozen=True)
class Handover:
    """How keys and values come from a prefill engine to a decode engine: over the links of its chips, one by one."""

    seconds_a_token: float
    seconds: float


class Server:
    """Engines behind a router, which gives each request to the one that has the fewest.

    ``pools``: (costs, scheduler, engines of this kind). Where there are two, the first one's engines read prompts, and
    hand requests over to the second one's. ``on_end``: told of each request's last token, and when its client sees it.
    """

    def __init__(
        self,
        pools: Sequence[tuple[IterationCosts, Scheduler, int]],
        requests: Requests,
        handover: Handover | None,
        on_end: Callable[[int, float], None],
    ) -> None:
        self.handover, self.requests, self.on_end = handover, requests, on_end
        self.pools: list[list[Engine]] = []
        for costs, scheduler, engines in pools:
            leaves = self._hand_over if scheduler.role == "prefill" else on_end
            self.pools.append([Engine(costs, scheduler, requests, leaves) for _ in range(engines)])
        self.engines = [engine for pool in self.pools for engine in pool]
        self._link_free = 0.0

    def send(self, request: int, when: float) -> None:
        """A client's request, sent at ``when``."""
        self.requests.sent[request] = when
        min(self.pools[0], key=lambda engine: engine.load).submit(request, when)

    def _hand_over(self, request: int, when: float) -> None:
        assert self.handover is not None
        if self.requests.output_tokens[request] == 1:
            self.requests.last[request] = when
            self.on_end(request, when)
            return
        begun = max(when, self._link_free)
        tokens = self.requests.prompt_tokens[request]
        self._link_free = begun + tokens * self.handover.seconds_a_token / len(self.pools[0])
        arrival = begun + tokens * self.handover.seconds_a_token + self.handover.seconds
        min(self.pools[-1], key=lambda engine: engine.load).submit(request, arrival)

    @property
    def next_time(self) -> float:
        """When one of the engines has something to do; infinity where none has."""
        return min(engine.next_time for engine in self.engines)

    def advance(self, until: float) -> None:
        """The engine that is behind all others goes on, until another one is, or to just beyond ``until``."""
        if len(self.engines) == 1:
            only = self.engines[0]
            while only.next_time < until:
                only.advance(until)
            return
        behind = min(self.engines, key=lambda engine: engine.next_time)
        others = min((engine.next_time for engine in self.engines if engine is not behind), default=inf)
        behind.advance(min(others, until))


def play(
    pools: Sequence[tuple[IterationCosts, Scheduler, int]],
    requests: Requests,
    *,
    clients: int | None = None,
    start_seconds: float = 0.0,
    times: Sequence[float] = (),
    handover: Handover | None = None,
) -> list[Engine]:
    """Play all ``requests``, which get their times; the engines that did, those first that read prompts.

    With ``clients`` (a closed loop), each sends its next one when its last has ended, the first ones evenly over
    ``start_seconds``; else request ``i`` is sent at ``times[i]``, whoever waits.
    """
    following = count(min(clients, len(requests))) if clients is not None else count(len(requests))

    def on_end(_: int, seen: float) -> None:
        request = next(following)
        if request < len(requests):
            server.send(request, seen)

    server = Server(pools, requests, handover, on_end)
    if clients is not None:
        first = min(clients, len(requests))
        times = [start_seconds * request / first for request in range(first)]
    sending = 0
    while True:
        behind = server.next_time
        while sending < len(times) and times[sending] <= behind:
            server.send(sending, times[sending])
            sending += 1
            behind = server.next_time
        if behind == inf:
            return server.engines
        server.advance(times[sending] if sending < len(times) else inf)
