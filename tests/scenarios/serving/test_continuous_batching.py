"""The closed loop of a server: against one that steps through every iteration, and in cases with a closed form."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scenarios.serving.continuous_batching import Schedule, Served, serve

PLAIN = Schedule(places=4, prompts=1, overlapped=False)


def linear(prompts: int, decoding: int) -> float:
    return 0.25 * bool(decoding) + 0.125 * decoding + 4.0 * prompts  # exact in binary, so that sums are


def step_by_step(schedule: Schedule, clients: int, requests: int, output_tokens: int) -> Served:
    """Every iteration on its own, a record a request."""
    late = 1 if schedule.overlapped else 0
    clock = backlog = 0.0
    made = [{"sent": 0.0, "arrival": 0.0, "from": 0, "tokens": 0} for _ in range(min(clients, requests))]
    number = decoded = 0
    while True:
        holding = [r for r in made if r["tokens"] and (r["tokens"] < output_tokens or number < r["free"])]
        running = [r for r in holding if r["tokens"] < output_tokens]
        here = [r for r in made if not r["tokens"] and r["arrival"] <= clock and r["from"] <= number]
        joining = here[: max(0, min(schedule.prompts, schedule.places - len(holding)))]
        if not joining and not running:
            waiting = [r for r in made if not r["tokens"]]
            if not waiting:
                break
            if waiting[0]["arrival"] > clock:
                backlog = max(0.0, backlog - (waiting[0]["arrival"] - clock))
                clock = waiting[0]["arrival"]
            number += 1
            continue
        seconds = linear(len(joining), len(running))
        clock += seconds
        tokens = len(joining) + len(running)
        backlog = max(0.0, backlog + tokens * schedule.front_end_token_seconds - seconds)
        number += 1
        decoded += len(running)
        for request in joining:
            request["first"] = clock + backlog
        for request in joining + running:
            request["tokens"] += 1
        for request in [r for r in made if r["tokens"] == output_tokens and "last" not in r]:
            request |= {"last": clock + backlog, "free": number + late}
            if len(made) < requests:
                sent = clock + backlog
                arrival = max(sent + backlog, made[-1]["arrival"])  # one queue: nobody overtakes
                made.append({"sent": sent, "arrival": arrival, "from": number + late, "tokens": 0})
    first = sum(r["first"] - r["sent"] for r in made) / requests
    rest = sum(r["last"] - r["first"] for r in made) / requests / max(1, output_tokens - 1)
    return Served(first, rest, decoded)


@example(3, 1, False, 0.5, 4, 6, 6)  # a backlog that drains lets who sent later come sooner, but for the queue
@given(
    st.integers(1, 5), st.integers(1, 3), st.booleans(), st.sampled_from([0.0, 0.125, 0.5, 2.0]),
    st.integers(1, 7), st.integers(1, 25), st.integers(1, 9),
)  # fmt: skip
def test_leaps_give_what_every_single_iteration_gives(places, prompts, overlapped, token, clients, requests, output):
    schedule = Schedule(places, prompts, overlapped, token)
    leaped, stepped = (
        serve(linear, schedule, clients, requests, output),
        step_by_step(schedule, clients, requests, output),
    )
    assert leaped.time_to_first_token == pytest.approx(stepped.time_to_first_token)
    assert leaped.time_per_output_token == pytest.approx(stepped.time_per_output_token)


def test_one_client_waits_for_its_prompt_and_its_tokens_alone():
    served = serve(linear, PLAIN, clients=1, requests=7, output_tokens=9)
    assert served.time_to_first_token == pytest.approx(linear(1, 0))
    assert served.time_per_output_token == pytest.approx(linear(0, 1))


def test_a_burst_is_read_prompt_by_prompt():
    """All send at once and none comes again: the last waits for all prompts, the mean for half of them."""
    served = serve(lambda prompts, _: float(prompts), PLAIN, clients=4, requests=4, output_tokens=1)
    assert served.time_to_first_token == pytest.approx((1 + 2 + 3 + 4) / 4)


def test_a_place_less_than_clients_keeps_one_waiting():
    """Little's law: those who wait are the requests a second times how long they wait."""
    output, clients, requests = 200, 4, 400
    full, short = (serve(linear, replace(PLAIN, places=n), clients, requests, output) for n in (4, 3))
    turn = short.time_to_first_token + (output - 1) * short.time_per_output_token
    assert clients * short.time_to_first_token / turn == pytest.approx(1.0, rel=0.2)
    assert full.time_to_first_token < 0.2 * short.time_to_first_token


def test_a_place_seen_free_an_iteration_late_delays_the_next_request():
    prompt, late = (serve(linear, replace(PLAIN, places=3, overlapped=flag), 4, 200, 20) for flag in (False, True))
    assert late.time_to_first_token > prompt.time_to_first_token
    assert late.running < prompt.running


def test_no_more_tokens_a_second_than_the_front_end_passes_on():
    token, clients, requests, output = 0.5, 8, 160, 50
    schedule = Schedule(8, 8, False, token)
    slow, fast = serve(linear, schedule, clients, requests, output), serve(linear, PLAIN, clients, requests, output)
    turn = slow.time_to_first_token + (output - 1) * slow.time_per_output_token
    assert clients * output / turn <= 1.1 / token
    assert slow.time_to_first_token > fast.time_to_first_token
