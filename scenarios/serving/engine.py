"""The scheduler of one serving engine, iteration by iteration: who waits, whose prompt is read, who decodes.

Belongs here: which requests enter which iteration, and when their tokens come. What an iteration costs comes in as an
object; chips, models and frameworks are in ``scenarios.serving.server``, clients in ``scenarios.serving.play``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import ceil, inf, sqrt
from typing import Literal, NamedTuple, Protocol

from scenarios.serving.requests import Requests

Chunk = tuple[int, int]
"""Tokens of a prompt that an iteration reads, and those of it that are in the cache before them."""
Role = Literal["both", "prefill", "decode"]


class IterationCosts(Protocol):
    """What an iteration takes, seconds."""

    def mixed(self, chunks: Sequence[Chunk], decoding: int, context: float) -> float:
        """One that reads ``chunks`` of prompts and gives ``decoding`` requests, of a mean ``context``, a token each."""
        ...

    def decode(self, decoding: int, context: float) -> tuple[float, float, float]:
        """One that only decodes: (seconds, more seconds a token of context, the mean context up to which they hold)."""
        ...


@dataclass(frozen=True)
class Scheduler:
    """How requests enter the running batch: continuous batching (Yu et al. 2022, Orca) within limits.

    ``places``: requests that run at once. ``budget_tokens``: the most that one iteration computes. ``prompts``: the
    most prompts that one takes in. ``chunks``: whether a prompt is cut where the budget ends. ``mixes``: whether an
    iteration carries prompts and decoding requests; else prompts go first, and who decodes waits. ``overlapped``: the
    host schedules an iteration before it has read the tokens of the one before: an end is seen one iteration late.
    ``room_tokens``: of the KV cache. ``reserved_share``: of an answer, for which room is kept when its request enters;
    where room runs out, the request that entered last loses its own and is read again.
    ``front_end_token_seconds``: what the one queue between engine and clients (text of a token, its HTTP event) takes a
    token; new requests pass it too, which takes ``front_end_prompt_token_seconds`` a token of the prompt.
    ``tokens_a_pass``: mean tokens that a request gets in an iteration, more than 1 with speculative decoding.
    ``role``: a prefill engine hands a request on after its first token, to a decode engine, which reads no prompts.
    """

    places: int
    budget_tokens: int
    prompts: int | None = None
    chunks: bool = True
    mixes: bool = True
    overlapped: bool = False
    room_tokens: float = inf
    reserved_share: float = 1.0
    front_end_token_seconds: float = 0.0
    front_end_prompt_token_seconds: float = 0.0
    tokens_a_pass: float = 1.0
    role: Role = "both"


class Stretch(NamedTuple):
    """Iterations alike, one after the other: when they end, how long each is, how many, and who decodes and waits."""

    end: float
    seconds: float
    iterations: int
    decoding: int
    waiting: int


@dataclass
class _Reading:
    """A request whose prompt is being read: tokens read, and to be read in all."""

    request: int
    read: int
    tokens: int


class Engine:
    """The state of one engine: ``clock`` in seconds, requests that wait, are being read, and decode.

    ``on_end``: told of each request that leaves (with its last token; from a prefill engine with its first), and when a
    client sees that. ``backlog``: seconds of work in front of whatever enters the front end now; tokens flow into it
    evenly. ``stretches``: all iterations so far. ``evictions``: requests that lost their room.
    """

    def __init__(
        self,
        costs: IterationCosts,
        scheduler: Scheduler,
        requests: Requests,
        on_end: Callable[[int, float], None],
    ) -> None:
        self.costs, self.scheduler, self.requests, self.on_end = costs, scheduler, requests, on_end
        self.clock = self.backlog = 0.0
        self.stretches: list[Stretch] = []
        self.evictions = 0
        self._front_end_free = 0.0  # when the one queue of new requests is through with those before
        self._iteration = self._decode_iteration = 0
        self._waiting: deque[tuple[float, int, int]] = deque()  # (arrival, first iteration, request)
        self._reading: deque[_Reading] = deque()
        self._running: list[tuple[int, int]] = []  # heap of (last decode iteration, request)
        self._freed: deque[tuple[int, int]] = deque()  # (iteration from which on a place is free, tokens it held)
        self._held_places = self._held_tokens = 0  # tokens: of prompts and whole answers
        self._used_tokens = self._context_sum = 0.0  # of the cache now; of those who decode
        self._given: dict[int, int] = {}  # tokens that a request had before it lost its room
        self._entered: dict[int, tuple[int, int]] = {}  # who decodes: (decode iteration, context) when it began

    @property
    def load(self) -> int:
        """Requests that are here."""
        return len(self._waiting) + self._held_places

    @property
    def next_time(self) -> float:
        """When this engine has something to do; infinity where it has not."""
        if not self._idle:
            return self.clock
        return max(self.clock, self._waiting[0][0]) if self._waiting else inf

    def submit(self, request: int, sent: float) -> None:
        """A request that a client sends at ``sent``: it passes the front end behind what is there already."""
        begun = max(sent + self.backlog, self._front_end_free)  # one queue: nobody overtakes
        prompt = self.requests.prompt_tokens[request]
        self._front_end_free = begun + prompt * self.scheduler.front_end_prompt_token_seconds
        first = self._acted_upon if sent >= self.clock else self._iteration
        self._waiting.append((self._front_end_free, first, request))

    def advance(self, until: float = inf) -> None:
        """One iteration with prompts, or all that only decode up to the next event or to just beyond ``until``."""
        while self._freed and self._freed[0][0] <= self._iteration:
            self._held_places -= 1
            self._held_tokens -= self._freed.popleft()[1]
        self._admit()
        if self._idle:
            self._wait()
            return
        chunks = self._chunks()
        if chunks:
            self._read(chunks)
        else:
            self._decode(until)

    @property
    def _idle(self) -> bool:
        return not self._reading and not self._running

    @property
    def _acted_upon(self) -> int:
        """The first iteration that the scheduler makes up knowing what the last one did."""
        return self._iteration + (1 if self.scheduler.overlapped and self._iteration else 0)

    def _admit(self) -> None:
        """Requests that are here take places and room, in turn."""
        scheduler, requests = self.scheduler, self.requests
        while self._waiting and self._held_places < scheduler.places:
            arrival, first, request = self._waiting[0]
            if arrival > self.clock or first > self._iteration:
                return
            given = self._given.get(request, 0)
            prompt = requests.prompt_tokens[request] + given
            whole = prompt if scheduler.role == "prefill" else prompt + requests.output_tokens[request] - given
            later = self._held_tokens + whole - (self._used_tokens + prompt)
            needed = self._used_tokens + prompt + scheduler.reserved_share * max(0.0, later)
            if needed > scheduler.room_tokens and not self._idle:
                return
            self._waiting.popleft()
            self._held_places += 1
            self._held_tokens += whole
            self._used_tokens += prompt
            if scheduler.role == "decode":
                self._begin(request, self.clock)
            else:
                self._reading.append(_Reading(request, 0, max(1, prompt - requests.cached_tokens[request])))

    def _chunks(self) -> list[tuple[_Reading, int]]:
        """Whose prompt this iteration reads, and how many tokens of it."""
        scheduler = self.scheduler
        budget = scheduler.budget_tokens - (len(self._running) if scheduler.mixes else 0)
        most = len(self._reading) if scheduler.prompts is None else scheduler.prompts
        chunks: list[tuple[_Reading, int]] = []
        for entry in self._reading:
            left = entry.tokens - entry.read
            if len(chunks) == most or budget <= 0 or (chunks and left > budget and not scheduler.chunks):
                break
            tokens = min(left, budget) if scheduler.chunks else left  # longer than the budget, it is read whole, alone
            chunks.append((entry, tokens))
            budget -= tokens
        return chunks

    def _read(self, chunks: list[tuple[_Reading, int]]) -> None:
        decoding = len(self._running) if self.scheduler.mixes else 0
        context = self._context_sum / decoding if decoding else 0.0
        cached = self.requests.cached_tokens
        shapes = [(tokens, entry.read + cached[entry.request]) for entry, tokens in chunks]
        seconds = self.costs.mixed(shapes, decoding, context)
        for entry, tokens in chunks:
            entry.read += tokens
        done = [entry for entry, _ in chunks if entry.read == entry.tokens]
        self._pass(seconds, 1, decoding, len(done))
        seen = self.clock + self.backlog
        for entry in done:
            self._reading.remove(entry)
            self._begin(entry.request, seen)
        self._end_those_over(seen)

    def _begin(self, request: int, seen: float) -> None:
        """The first token of ``request``, or the next one where it was read again."""
        requests, scheduler = self.requests, self.scheduler
        given = self._given.pop(request, 0) + 1
        if given == 1 and scheduler.role != "decode":
            requests.first[request] = seen
        left = requests.output_tokens[request] - given
        context = requests.prompt_tokens[request] + given
        if left <= 0 or scheduler.role == "prefill":
            self._used_tokens -= context - 1
            self._end(request, seen)
            return
        heappush(self._running, (self._decode_iteration + ceil(left / scheduler.tokens_a_pass), request))
        self._entered[request] = (self._decode_iteration, context)
        self._context_sum += context
        self._used_tokens += 1

    def _decode(self, until: float) -> None:
        growth = self.scheduler.tokens_a_pass
        while len(self._running) > 1 and self._lacks_room(growth):
            self._evict()
        decoding = len(self._running)
        context = self._context_sum / decoding
        seconds, slope, holds = self.costs.decode(decoding, context)
        slope *= growth
        leap = self._until_event(seconds, slope, until)
        if holds < inf:
            leap = min(leap, max(1, ceil((holds - context) / growth)))
        self._pass(leap * seconds + slope * leap * (leap - 1) / 2.0, leap, decoding, 0)
        self._end_those_over(self.clock + self.backlog)

    def _pass(self, seconds: float, leap: int, decoding: int, firsts: int) -> None:
        grown = leap * decoding * self.scheduler.tokens_a_pass
        self.clock += seconds
        arrived = (grown + firsts) * self.scheduler.front_end_token_seconds
        self.backlog = max(0.0, self.backlog + arrived - seconds)
        self._iteration += leap
        if decoding:
            self._decode_iteration += leap
            self._context_sum += grown
            self._used_tokens += grown
        self.stretches.append(Stretch(self.clock, seconds / leap, leap, decoding, len(self._waiting)))

    def _end_those_over(self, seen: float) -> None:
        while self._running and self._running[0][0] <= self._decode_iteration:
            request = heappop(self._running)[1]
            self._forget(request)
            self._end(request, seen)

    def _forget(self, request: int) -> int:
        """A request decodes no more; how many tokens it has beyond those that it began with."""
        began, context = self._entered.pop(request)
        grown = (self._decode_iteration - began) * self.scheduler.tokens_a_pass
        self._context_sum -= context + grown
        self._used_tokens -= context + grown
        return round(grown)

    def _end(self, request: int, seen: float) -> None:
        requests = self.requests
        held = requests.prompt_tokens[request]
        if self.scheduler.role != "prefill":
            held += requests.output_tokens[request]
            requests.last[request] = seen
        self._freed.append((self._acted_upon, held))
        self.on_end(request, seen)

    def _lacks_room(self, growth: float) -> bool:
        scheduler = self.scheduler
        return (
            scheduler.reserved_share < 1.0 and self._used_tokens + len(self._running) * growth > scheduler.room_tokens
        )

    def _evict(self) -> None:
        """The request that entered last loses its room; what it has is read again before all who wait."""
        request = max(self._running, key=lambda item: self._entered[item[1]])[1]
        self._running = sorted(item for item in self._running if item[1] != request)  # a sorted list is a heap
        requests = self.requests
        had = self._entered[request][1] - requests.prompt_tokens[request]
        self._given[request] = had + self._forget(request)
        self._held_places -= 1
        self._held_tokens -= requests.prompt_tokens[request] + requests.output_tokens[request]
        self._waiting.appendleft((self.clock, self._iteration + 1, request))
        self.evictions += 1

    def _until_event(self, seconds: float, slope: float, until: float) -> int:
        """Iterations until requests end, places become free, room runs out, or a request arrives for a free place."""
        scheduler = self.scheduler
        events = [self._running[0][0] - self._decode_iteration]
        if self._freed:
            events.append(self._freed[0][0] - self._iteration)
        if scheduler.reserved_share < 1.0 and scheduler.room_tokens < inf:
            grown = len(self._running) * scheduler.tokens_a_pass
            events.append(int((scheduler.room_tokens - self._used_tokens) / grown))
        if self._waiting and self._held_places < scheduler.places:
            arrival, first, _ = self._waiting[0]
            if arrival > self.clock or first > self._iteration:  # else it waits for room
                events.append(max(_iterations(arrival - self.clock, seconds, slope), first - self._iteration))
        if until < inf:
            events.append(_iterations(until - self.clock, seconds, slope))
        return max(1, min(events))

    def _wait(self) -> None:
        """Nothing runs and nobody may enter: on to the next arrival. Iterations without work take no time."""
        arrival, first, _ = self._waiting[0]
        arrival = max(self.clock, arrival)
        self.backlog = max(0.0, self.backlog - (arrival - self.clock))
        self.clock = arrival
        self._iteration = max([self._iteration, first, *(number for number, _ in self._freed)])


def _iterations(span: float, seconds: float, slope: float) -> int:
    """The fewest iterations, the first of ``seconds`` and each ``slope`` longer, that last for ``span`` or more."""
    if span <= 0.0:
        return 1
    if slope <= 0.0:
        return ceil(span / seconds)
    begin = seconds - slope / 2.0
    return ceil((sqrt(begin * begin + 2.0 * slope * span) - begin) / slope)
