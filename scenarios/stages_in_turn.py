"""Inference in stages: micro-batches of sequences pass through stages of decoders, token after token.

Stages are engines, and so are the links between them, each named by the stages that it joins. A stage computes its
micro-batches in turn, and what it has made is sent on while it computes the next. The last stage knows a token, which
the first one needs for the next: so a sequence waits for all stages, or where many micro-batches are under way for its
turn. Replicas do the same side by side and never meet.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from chips.clock.time import IntArray, Picoseconds
from chips.clock.timeline import Event, Time, Timeline, seconds_to_ps
from scenarios.assignment import Assignment, assign
from scenarios.energy import Dynamic, added, of_passes, scaled, step_joules
from scenarios.outcome import Outcome
from scenarios.passes import passes_of
from scenarios.strategies import run_strategy
from scenarios.strategies.bound import lower_bound
from scenarios.strategies.label import LINK, Label
from scenarios.workload.operators import ACTIVATION_BYTES, Step
from scenarios.workload.pipeline_schedule import decoders_of

Spent = Mapping[Hashable, int]
TOKEN_BYTES = 4
STEADY = 256
"""Tokens after which each further one takes as long as the last; the clock leaps over most of them."""


@dataclass(frozen=True)
class Round:
    """What a micro-batch's next token takes, or its prompt: picoseconds by label of each stage, and of each link behind
    one, of which the last leads back to the first.
    """

    stages: Sequence[Spent]
    links: Sequence[Spent]


@dataclass(frozen=True)
class Serving:
    """A point of inference in stages, whose chips are alike."""

    assignment: Assignment

    @property
    def stages(self) -> int:
        return self.assignment.layout.pipeline

    @cached_property
    def micro_batches(self) -> int:
        """That each replica has under way."""
        layout, point = self.assignment.layout, self.assignment.point
        return point.batch // (layout.replicas(point.count) * layout.micro_batch)

    @cached_property
    def group(self) -> Assignment:
        """One tensor-parallel group, as if it had all decoders and one micro-batch alone."""
        return assign(self.assignment.replica)

    @cached_property
    def passes(self) -> list[tuple[Step, int]]:
        """Of one micro-batch through all stages: each step, and for how many tokens it stands side by side."""
        return passes_of(self.group)

    @property
    def kinds(self) -> list[tuple[int, bool, bool]]:
        """Of each stage how many decoders it has, and whether it is the first and the last."""
        held = decoders_of(self.assignment.point.model.layers, self.stages)
        return [(decoders, stage == 0, stage == self.stages - 1) for stage, decoders in enumerate(held)]

    def parts(self, step: Step) -> list[Step]:
        """What each stage does of a step."""
        layers = self.assignment.point.model.layers
        return [step.part(decoders, layers, begins=first, ends=last) for decoders, first, last in self.kinds]

    def rounds(self) -> Iterator[Round]:
        """One for each token, of a prompt for its first."""
        for number, (step, tokens) in enumerate(self.passes):
            # Stages with as many decoders are alike, but for the first and the last.
            alike: dict[Hashable, dict[Hashable, IntArray]] = {}
            stages = []
            for kind, part in zip(self.kinds, self.parts(step), strict=True):
                if kind not in alike:
                    alike[kind] = self._spent(part, tokens)
                stages.append(alike[kind])
            links = self._links(self.sent[number][1])
            for token in range(tokens):
                yield Round([{label: int(ps[token]) for label, ps in stage.items()} for stage in stages], links)

    def _spent(self, part: Step, tokens: int) -> dict[Hashable, IntArray]:
        """Picoseconds by label for each token."""
        point, cluster = self.group.point, self.group.cluster().side_by_side(tokens)
        clock = cluster.start_clock()
        finish = run_strategy(clock, cluster, point.strategy, part, point.launch, point.framework)
        return {label: np.broadcast_to(ps, tokens) for label, ps in finish.parts.items()}

    @property
    def sent(self) -> list[tuple[int, float]]:
        """Of each of ``passes``, for how many tokens a chip sends how many bytes to the next stage.

        The ranks of a tensor-parallel group hold the same and send a share each.
        """
        layout, point = self.assignment.layout, self.assignment.point
        share = layout.micro_batch * point.model.hidden * ACTIVATION_BYTES / layout.tensor
        prompt = point.context - (point.output_tokens or 0)
        first = 1 if point.phase == "decode" else prompt
        return [(tokens, share * (1 if number else first)) for number, (_, tokens) in enumerate(self.passes)]

    def _links(self, size: float) -> list[Spent]:
        """Activations from stage to stage; the token itself back to the first."""
        sizes = [*[size] * (self.stages - 1), self.assignment.layout.micro_batch * TOKEN_BYTES]
        return [self._send(stage, size) for stage, size in enumerate(sizes)] if self.stages > 1 else [{}]

    def _send(self, stage: int, size: float) -> Spent:
        """From a stage to the next, of the last to the first: over the domain's links where all replicas can."""
        link, chips = self.assignment.point.chip.link, self.assignment.chips_of_stages
        between = chips[stage] // link.domain != chips[(stage + 1) % self.stages] // link.domain
        if between.any():
            return {Label("allreduce", "network"): seconds_to_ps(link.network_latency + size / link.network_bandwidth)}
        return {Label("allreduce", LINK): seconds_to_ps(size / link.bandwidth)}


def run_stages(assignment: Assignment) -> Outcome:
    """What a token, a prompt or a request takes. Raises DoesNotFit where a strategy does not fit the chip."""
    serving, clock = Serving(assignment), Timeline()
    ready = (Time.zero,) * serving.micro_batches
    if assignment.point.phase == "decode":
        (token,) = serving.rounds()
        before = clock.loop(STEADY, lambda carried: next_tokens(clock, token, carried), ready)
        spent = _between(before[-1], next_tokens(clock, token, before)[-1])
    else:
        for each in serving.rounds():
            ready = next_tokens(clock, each, ready)
        ends = [clock.engine(f"stage {stage}").free for stage in range(serving.stages)]
        spent = clock.join(*ends).parts
    return Outcome(spent, *_least(serving), _joules(serving))


def trace_stages(assignment: Assignment) -> list[Event]:
    """Every pass of the stages and what they send, as it ran: of a request its prompts and the token after them, of
    decode two tokens.
    """
    serving, clock = Serving(assignment), Timeline(record=True)
    ready = (Time.zero,) * serving.micro_batches
    rounds = list(islice(serving.rounds(), 2))
    for each in rounds * 2 if assignment.point.phase == "decode" else rounds:
        ready = next_tokens(clock, each, ready)
    return clock.events


def next_tokens(clock: Timeline, each: Round, ready: Sequence[Time]) -> tuple[Time, ...]:
    """All micro-batches through all stages, from when each is ``ready`` to when the first stage has its token."""
    done = []
    for number, time in enumerate(ready):
        for stage, (spent, sent) in enumerate(zip(each.stages, each.links, strict=True)):
            behind = (stage + 1) % len(each.stages)
            time = clock.task(clock.engine(f"stage {stage}"), spent, (time,), name=f"micro-batch {number}")
            link = clock.engine(f"link {stage} to {behind}")
            time = clock.task(link, sent, (time,), name=f"micro-batch {number}")
        done.append(time)
    return tuple(done)


def _between(before: Time, after: Time) -> dict[Hashable, Picoseconds]:
    """What a steady pipeline spends from one time to the next."""
    labels = before.parts | after.parts
    return {label: after.parts.get(label, 0) - before.parts.get(label, 0) for label in labels}


def _least(serving: Serving) -> tuple[float, float]:
    """Seconds that no such stages beat, and the bytes that a mean chip must stream."""
    chip, ranks = serving.assignment.point.chip, serving.assignment.shard.ranks
    of_stages = np.zeros(serving.stages)
    streamed = 0.0
    for step, _ in serving.passes:
        of_stages += [float(np.sum(lower_bound(chip, ranks, part))) for part in serving.parts(step)]
        streamed += float(np.sum(step.stream_bytes))
    # A sequence passes through all stages; a stage computes all micro-batches.
    seconds = max(float(of_stages.sum()), serving.micro_batches * float(of_stages.max()))
    return seconds, serving.micro_batches * streamed / serving.stages


def _joules(serving: Serving) -> Dynamic:
    """What the events of a mean chip take."""
    point, cluster = serving.assignment.point, serving.group.cluster()
    taken: Dynamic = {}
    for step, tokens in serving.passes:
        joules = step_joules(cluster, point.strategy, point.framework, step)
        taken = added(taken, of_passes(joules, tokens))
    sent = sum(tokens * size for tokens, size in serving.sent)
    between = {"allreduce": point.chip.events.joules(link_bytes=(serving.stages - 1) * sent)}
    return scaled(added(taken, between), serving.micro_batches / serving.stages)
