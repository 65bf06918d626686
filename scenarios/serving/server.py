"""A server under load, from a question of a user: what its schedulers, chips and clients are, and how long users wait.

Belongs here: how a point and a load become engines. Engines are in ``scenarios.serving.engine``, what their iterations
take in ``scenarios.serving.iteration``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from chips.spec import CatalogError, Dataflow, Gpu
from scenarios.assignment import Assignment, assign
from scenarios.errors import ScenarioError
from scenarios.memory import sequences_that_fit
from scenarios.point import Point
from scenarios.quantities import check_count, parse_seconds
from scenarios.serving.arrivals import Arrivals
from scenarios.serving.engine import IterationCosts, Role, Scheduler
from scenarios.serving.iteration import InStages, Iteration, Speculation
from scenarios.serving.lengths import Lengths
from scenarios.serving.load_generator import DEFAULT, LoadGenerator, load_generator
from scenarios.serving.outcome import Served
from scenarios.serving.play import Handover, play
from scenarios.serving.requests import Requests
from scenarios.workload.model import Shard
from scenarios.workload.operators import ACTIVATION_BYTES
from scenarios.workload.parallel import Parallel

PLACES = 1024
"""Requests that run at once, unless somebody says how many: the most for which servers capture graphs."""
ITERATION_TOKENS = 8192
"""Of an iteration of a chip that no framework serves."""
STREAM_REQUESTS = 1000
"""Of a stream, unless somebody says how many."""
LARGEST_LOAD = 2**20
"""Requests, each of which is followed."""
MOST_ENGINES, MOST_STAGES = 4096, 128
MOST_REMEMBERED = 256
"""Kinds of engines, whose iterations a process remembers."""
Links = Literal["link", "network"]


@dataclass(frozen=True)
class Load:
    """What comes to a server, and its limits.

    ``concurrency``: clients of a closed loop. ``requests``: in all. ``places``: requests that an engine runs at once;
    None: as many as it has room for. ``iteration_tokens``: of an iteration at most; None: the framework's own limit.
    ``prefix_share``: of each prompt, that a prefix cache holds. ``seed``: of lengths and arrivals.
    """

    input_tokens: int
    output_tokens: int
    requests: int
    concurrency: int = 1
    arrivals: Arrivals = field(default_factory=Arrivals)
    lengths: Lengths = field(default_factory=Lengths)
    places: int | None = None
    iteration_tokens: int | None = None
    prefix_share: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Pools:
    """Engines of a server, each with as many chips as its point, or ``stages`` times as many in a pipeline.

    ``decoders``: where prompts are read by ``engines`` of their own, those that decode; keys and values then cross
    ``over``, as activations do between stages: the chips' link or the network beyond it.
    """

    engines: int = 1
    decoders: int = 0
    stages: int = 1
    over: Links = "network"

    def __post_init__(self) -> None:
        check_count("--engines", self.engines, MOST_ENGINES)
        check_count("--stages", self.stages, MOST_STAGES)
        if self.decoders:
            check_count("--decoders", self.decoders, MOST_ENGINES)


ONE_ENGINE = Pools()


def load_of(
    *,
    input_tokens: int,
    output_tokens: int,
    concurrency: int,
    requests: int | None = None,
    arrivals: str = "closed",
    lengths: str | None = None,
    generator: str = DEFAULT,
    places: int | None = None,
    iteration_tokens: int | None = None,
    prefix_share: float = 0.0,
    seed: int = 0,
) -> Load:
    """What ``generator`` sends, with what was asked for otherwise. Raises ScenarioError."""
    numbers: dict[str, int | None] = {
        "--input-tokens": input_tokens,
        "--output-tokens": output_tokens,
        "--concurrency": concurrency,
        "--requests": requests,
        "--places": places,
        "--iteration-tokens": iteration_tokens,
    }
    for option, number in numbers.items():
        if number is not None:
            check_count(option, number, LARGEST_LOAD)
    if not 0.0 <= prefix_share < 1.0:
        raise ScenarioError(f"--prefix-share is {prefix_share:g}; it is at least 0 and below 1.")
    if seed < 0:
        raise ScenarioError(f"--seed is {seed}; it must be at least 0.")
    sends: LoadGenerator = load_generator(generator)
    comes = Arrivals.parse(arrivals)
    limit = concurrency if sends.places == "clients" and comes.is_closed else sends.places
    told = None if lengths is None else Lengths.parse(lengths)
    if comes.rows is not None:
        several, alike = len(comes.rows.prompts), Lengths("file", rows=comes.rows)
    else:
        several = sends.requests(concurrency) if comes.is_closed else STREAM_REQUESTS
        alike = Lengths.parse(sends.lengths)
    return Load(
        input_tokens,
        output_tokens,
        requests or several,
        concurrency,
        comes,
        told or alike,
        places or (limit if isinstance(limit, int) else None),
        iteration_tokens,
        prefix_share,
        seed,
    )


def serving_times(
    point: Point,
    *,
    input_tokens: int,
    output_tokens: int,
    concurrency: int = 1,
    speculation: Speculation | None = None,
    pools: Pools = ONE_ENGINE,
    **asked: object,
) -> Served:
    """Play a load on a server; what users of it see.

    ``point``: from ``make_point``: chips of one engine, model, precision, strategy and framework count; its batch and
    context do not. ``asked``: see ``load_of``. The defaults are a benchmark of ``concurrency`` clients, whose prompts
    and answers are all alike and who all send at once.
    Not modelled: where the work of the front end and of the engine, both of them Python, hold each other up.
    Raises ScenarioError if the model does not split over the chips or a sequence does not fit.
    """
    load = load_of(input_tokens=input_tokens, output_tokens=output_tokens, concurrency=concurrency, **asked)  # type: ignore[arg-type]
    requests, times = _drawn(load)
    model = point.model
    longest = max(map(sum, zip(requests.prompt_tokens, requests.output_tokens, strict=True)))
    if longest > model.max_context:
        raise ScenarioError(
            f"A prompt and its answer of {longest} tokens are beyond the {model.max_context} tokens that {model.name} "
            "was trained for."
        )
    if not isinstance(point.chip, Gpu | Dataflow):
        raise CatalogError(f"{point.chip.name} computes products alone; it serves no Llama.")
    mean = max(1, round((sum(requests.prompt_tokens) + sum(requests.output_tokens)) / len(requests)))
    assignment = assign(replace(point, phase="decode", context=mean))
    stages = pools.stages
    most = sequences_that_fit(_in_stages(assignment, stages))
    if most * mean < longest:
        raise ScenarioError(
            f"{model.name} on {point.count} x {point.chip.name} has no room for a sequence of {longest} tokens."
        )
    costs = _iteration(point, assignment.shard, speculation)
    costs.most = max(
        costs.most, min(load.places or PLACES, most, load.concurrency if load.arrivals.is_closed else PLACES)
    )
    costs.longest = max(costs.longest, longest)
    turns: IterationCosts = costs if stages == 1 else InStages(costs, stages, *_between_stages(point, pools.over))
    growth = 1.0 if speculation is None else speculation.tokens_a_pass

    def pool(engines: int, role: Role) -> tuple[IterationCosts, Scheduler, int]:
        # As many batches as stages are under way, each of which has its part of places, room and front end.
        return turns, _scheduler(point, load, most * mean / stages, growth, role, stages), engines * stages

    split = pools.decoders > 0
    kinds = [pool(pools.engines, "prefill"), pool(pools.decoders, "decode")] if split else [pool(pools.engines, "both")]
    engines = play(
        kinds,
        requests,
        clients=load.concurrency if load.arrivals.is_closed else None,
        start_seconds=load.arrivals.spread_seconds,
        times=times,
        handover=_handover(point, assignment.shard, pools.over) if split else None,
    )
    return Served(requests, engines, growth)


def _drawn(load: Load) -> tuple[Requests, list[float]]:
    """The requests, and when they are sent where nobody waits for an answer before."""
    chance = np.random.default_rng(load.seed)
    drawn = load.lengths.draw(load.requests, load.input_tokens, load.output_tokens, chance)
    cached = [min(int(tokens * load.prefix_share), tokens - 1) for tokens in drawn.prompts]
    times = [] if load.arrivals.is_closed else load.arrivals.times(load.requests, chance).tolist()
    return Requests(drawn.prompts, drawn.outputs, cached), times


def _scheduler(point: Point, load: Load, room: float, growth: float, role: Role, batches: int) -> Scheduler:
    """The scheduler of one of ``batches`` of an engine: of the point's framework or, on a dataflow chip, one whose
    prompts are programs of their own."""
    limits = {"room_tokens": room, "tokens_a_pass": growth, "role": role}
    places = -(-(load.places or PLACES) // batches)
    if not point.chip.has_framework:
        return Scheduler(places, load.iteration_tokens or ITERATION_TOKENS, mixes=False, **limits)  # type: ignore[arg-type]
    framework = point.framework
    return Scheduler(
        max(1, places - framework.padding_requests),
        load.iteration_tokens or framework.iteration_tokens,
        prompts=framework.iteration_prompts,
        mixes=framework.mixes_prompts,
        overlapped=framework.overlapped,
        reserved_share=framework.reserved_share,
        front_end_token_seconds=framework.front_end_token_seconds * batches,
        front_end_prompt_token_seconds=framework.front_end_prompt_token_seconds * batches,
        **limits,  # type: ignore[arg-type]
    )


@lru_cache(MOST_REMEMBERED)
def _iteration(point: Point, split: Shard, speculation: Speculation | None) -> Iteration:
    """What iterations take does not hang on how many clients there are, so that servers of alike requests share it."""
    return Iteration(point, split, speculation)


def _in_stages(assignment: Assignment, stages: int) -> Assignment:
    """The same with the decoders dealt to ``stages`` groups of chips. Raises ScenarioError where that does not go."""
    if stages == 1:
        return assignment
    point, group = assignment.point, assignment.point.count
    split = Parallel(tensor=group, pipeline=stages)
    return assign(replace(point, count=group * stages, parallel=split, batch=stages))


def _between_stages(point: Point, over: Links) -> tuple[float, float]:
    """Seconds a row of activations, dealt to the chips of a group, and a message, from one stage to the next."""
    bandwidth, latency = _link(point, over)
    return point.model.hidden * ACTIVATION_BYTES / point.count / bandwidth, latency


def _link(point: Point, over: Links) -> tuple[float, float]:
    """Bytes/s of a chip and seconds a message."""
    link = point.chip.link
    return (link.bandwidth, 0.0) if over == "link" else (link.network_bandwidth, link.network_latency)


def _handover(point: Point, split: Shard, over: Links) -> Handover:
    """Keys and values of a token over the chips' links, each of which sends those of its own heads."""
    bandwidth, latency = _link(point, over)
    token = point.model.kept_entries(1) * point.model.kv_entry_bytes(split.kv_heads, point.quantization)
    return Handover(token / bandwidth, latency)


def limits_of(text: str) -> dict[str, float]:
    """``ttft=1s,tpot=50ms,e2e=20s`` as seconds by name. Raises ScenarioError."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if name not in Served.LIMITS or not equals:
            raise ScenarioError(f"--limit {text:.80}: expected {', '.join(f'{each}=1s' for each in Served.LIMITS)}.")
        found[name] = parse_seconds(value, f"--limit {name}")
    return found
