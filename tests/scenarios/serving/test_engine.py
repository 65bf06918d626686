"""One engine's scheduler: against one that steps through every iteration, and in cases with a closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scenarios.serving.engine import Scheduler
from scenarios.serving.outcome import Served
from scenarios.serving.play import Handover, play
from scenarios.serving.requests import Requests

PLAIN = Scheduler(places=4, budget_tokens=64, prompts=1)
PROMPT = 8


class Linear:
    """Costs that are exact in binary, so that sums are: of tokens of prompts, decoding requests, and their context."""

    def mixed(self, chunks, decoding, context):
        return 0.5 * sum(tokens for tokens, _ in chunks) + self.decode(decoding, context)[0]

    def decode(self, decoding, context):
        slope = decoding / 64
        return 0.25 * bool(decoding) + 0.125 * decoding + slope * context, slope, float("inf")


def served(scheduler, requests, clients=None, times=(), engines=1):
    return Served(requests, play([(Linear(), scheduler, engines)], requests, clients=clients, times=times))


def alike(count, output, prompt=PROMPT):
    return Requests([prompt] * count, [output] * count, [0] * count)


def step_by_step(scheduler, prompts, outputs, clients):
    """Every iteration on its own, a record a request: (first, last) tokens as clients see them."""
    late = 1 if scheduler.overlapped else 0
    new = {"sent": 0.0, "arrival": 0.0, "from": 0, "read": 0, "tokens": 0}
    made = [new | {"n": place} for place in range(min(clients, len(prompts)))]
    clock, number = 0.0, 0
    while True:
        held = [r for r in made if r.get("in") and ("last" not in r or number < r["free"])]
        for place, request in enumerate(made):
            if not request.get("in"):
                whole = sum(prompts[r["n"]] + outputs[r["n"]] for r in held)
                room = whole + prompts[place] + outputs[place] <= scheduler.room_tokens
                active = [r for r in held if "last" not in r]
                here = request["arrival"] <= clock and request["from"] <= number
                if len(held) >= scheduler.places or not here or not (room or not active):
                    break
                request["in"] = True
                held.append(request)
        running = [r for r in held if r["tokens"] and "last" not in r]
        reading = [r for r in held if not r["tokens"]]
        if not running and not reading:
            waiting = [r for r in made if not r.get("in")]
            if not waiting:
                return [(r["first"] - r["sent"], r["last"] - r["sent"]) for r in made]
            clock, number = max(clock, waiting[0]["arrival"]), number + 1
            continue
        budget = scheduler.budget_tokens - (len(running) if scheduler.mixes else 0)
        chunks = []
        for request in reading:
            left = prompts[request["n"]] - request["read"]
            if len(chunks) == (scheduler.prompts or len(reading)) or budget <= 0:
                break
            if left > budget and not scheduler.chunks and chunks:
                break
            tokens = min(left, budget) if scheduler.chunks else left
            chunks.append((request, tokens))
            budget -= tokens
        decoding = running if scheduler.mixes or not chunks else []
        contexts = [prompts[r["n"]] + r["tokens"] for r in decoding]
        mean = sum(contexts) / len(contexts) if contexts else 0.0
        clock += Linear().mixed([(tokens, 0) for _, tokens in chunks], len(decoding), mean)
        number += 1
        for request, tokens in chunks:
            request["read"] += tokens
            if request["read"] == prompts[request["n"]]:
                request |= {"tokens": 1, "first": clock}
        for request in decoding:
            request["tokens"] += 1
        for request in [r for r in made if r["tokens"] >= outputs[r["n"]] and "last" not in r]:
            request |= {"last": clock, "free": number + late}
            if len(made) < len(prompts):
                made.append(new | {"n": len(made), "sent": clock, "arrival": clock, "from": number + late})


@example([8, 8, 8], [3, 3, 3], 3, 1, False, True, True, 16, 1000)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=12), st.lists(st.integers(1, 9), min_size=12, max_size=12),
    st.integers(1, 6), st.integers(1, 3), st.booleans(), st.booleans(), st.booleans(), st.integers(4, 24),
    st.sampled_from([30, 60, 1000]),
)  # fmt: skip
def test_leaps_give_what_every_single_iteration_gives(
    prompts, outputs, clients, most, overlapped, mixes, chunks, budget, room
):
    outputs = outputs[: len(prompts)]
    scheduler = Scheduler(
        3, budget, prompts=most, chunks=chunks, mixes=mixes, overlapped=overlapped, room_tokens=float(room)
    )
    requests = Requests(prompts, outputs, [0] * len(prompts))
    played = served(scheduler, requests, clients)
    found = np.stack([played.requests.to_first_token, played.requests.to_last_token])
    assert pytest.approx(np.array(step_by_step(scheduler, prompts, outputs, clients))) == found.T


def test_one_client_waits_for_its_prompt_and_its_tokens_alone():
    one = served(PLAIN, alike(7, 9), clients=1)
    assert one.time_to_first_token == pytest.approx(0.5 * PROMPT)
    tokens = [Linear().decode(1, PROMPT + number)[0] for number in range(1, 9)]
    assert one.time_per_output_token == pytest.approx(np.mean(tokens))


def test_a_burst_is_read_prompt_by_prompt():
    """All send at once and none comes again: the last waits for all prompts, the mean for half of them."""
    burst = served(PLAIN, alike(4, 1), clients=4)
    assert burst.time_to_first_token == pytest.approx(0.5 * PROMPT * (1 + 2 + 3 + 4) / 4)


def test_poisson_arrivals_wait_as_long_as_queueing_theory_says():
    """One place, alike requests: an M/D/1 queue, whose mean wait is load x service / 2 (1 - load) (Pollaczek, 1930)."""
    service, share, count = 0.5 * PROMPT, 0.6, 40_000
    times = np.cumsum(np.random.default_rng(1).exponential(service / share, count)).tolist()
    queue = served(replace(PLAIN, places=1), alike(count, 1), times=times)
    wait = queue.time_to_first_token - service
    assert wait == pytest.approx(share * service / (2 * (1 - share)), rel=0.05)


def test_a_place_less_than_clients_keeps_one_waiting():
    """Little's law: those who wait are the requests a second times how long they wait."""
    output, clients, requests = 200, 4, 400
    full, short = (served(replace(PLAIN, places=n), alike(requests, output), clients) for n in (4, 3))
    assert clients * short.time_to_first_token / short.end_to_end == pytest.approx(1.0, rel=0.2)
    assert full.time_to_first_token < 0.2 * short.time_to_first_token


def test_a_place_seen_free_an_iteration_late_delays_the_next_request():
    prompt, late = (served(replace(PLAIN, places=3, overlapped=flag), alike(200, 20), 4) for flag in (False, True))
    assert late.time_to_first_token > prompt.time_to_first_token
    assert late.running < prompt.running


def test_no_more_tokens_a_second_than_the_front_end_passes_on():
    token = 2.0
    slow = served(Scheduler(8, 64, front_end_token_seconds=token), alike(160, 50), 8)
    fast = served(Scheduler(8, 64), alike(160, 50), 8)
    assert slow.output_tokens_per_s <= 1.1 / token
    assert slow.time_to_first_token > fast.time_to_first_token


def test_prompts_pass_the_front_end_one_after_the_other():
    """A burst whose prompts are text for longer than the engine takes to read them."""
    token = 3.0
    burst = served(replace(PLAIN, front_end_prompt_token_seconds=token), alike(4, 1), 4)
    assert burst.requests.to_first_token == pytest.approx([PROMPT * (token * n + 0.5) for n in (1, 2, 3, 4)])


def test_prompts_that_go_first_stall_those_who_decode():
    mixed, first = (served(replace(PLAIN, mixes=mixes), alike(40, 12), 4) for mixes in (True, False))
    assert first.percentile("itl", 99) > mixed.percentile("itl", 99)
    assert first.percentile("itl", 10) <= mixed.percentile("itl", 10)


def test_requests_that_lose_their_room_still_get_every_token():
    room = Scheduler(8, 64, room_tokens=80.0, reserved_share=0.0)
    tight, kept = served(room, alike(24, 20), 8), served(replace(room, reserved_share=1.0), alike(24, 20), 8)
    assert tight.evictions > 0 == kept.evictions
    for side in (tight, kept):
        assert np.all(np.asarray(side.requests.last) >= np.asarray(side.requests.first))
        assert all(engine._used_tokens == engine._context_sum == 0 for engine in side.engines)


def test_what_a_prefix_cache_holds_is_not_read():
    requests = Requests([PROMPT] * 4, [1] * 4, [PROMPT - 2] * 4)
    assert served(PLAIN, requests, 1).time_to_first_token == pytest.approx(0.5 * 2)


def test_two_engines_serve_twice_the_clients_as_one_does_half():
    one, two = served(PLAIN, alike(40, 12), 4), served(PLAIN, alike(80, 12), 8, engines=2)
    assert two.time_per_output_token == pytest.approx(one.time_per_output_token, rel=0.1)
    assert two.output_tokens_per_s == pytest.approx(2 * one.output_tokens_per_s, rel=0.1)


def test_decoders_of_their_own_never_wait_for_a_prompt():
    """First tokens come from the engine that reads; the second ones after keys and values have crossed the link."""
    output, link = 10, Handover(seconds_a_token=0.5, seconds=0.25)
    kinds = [(Linear(), replace(PLAIN, role="prefill"), 1), (Linear(), replace(PLAIN, role="decode"), 1)]
    alone, many = alike(12, output), alike(40, output)
    apart = Served(alone, play(kinds, alone, clients=1, handover=link))
    assert apart.time_to_first_token == pytest.approx(0.5 * PROMPT)
    tokens = sum(Linear().decode(1, PROMPT + number)[0] for number in range(1, output))
    assert apart.end_to_end == pytest.approx(0.5 * PROMPT + 0.5 * PROMPT + 0.25 + tokens)
    several = Served(many, play(kinds, many, clients=4, handover=link))
    together = served(PLAIN, alike(40, output), 4)
    assert several.percentile("itl", 99) < together.percentile("itl", 99)


def test_more_tokens_a_pass_are_fewer_passes():
    plain, quick = (served(replace(PLAIN, tokens_a_pass=growth), alike(20, 33), 2) for growth in (1.0, 4.0))
    passes = [sum(each.iterations for each in side.engines[0].stretches if each.decoding) for side in (plain, quick)]
    assert passes[1] < 0.4 * passes[0]
    assert quick.time_per_output_token < 0.4 * plain.time_per_output_token
