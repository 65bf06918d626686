"""Prices equal a discrete-event simulation: ranks as SimPy processes that send, wait, and reduce."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from collectives.algorithms import COLLECTIVES
from collectives.price import price
from collectives.topology import switched

EVERY = [(operation, name) for operation, named in COLLECTIVES.items() for name in named if name != "in_switch"]
# A byte takes a picosecond on a link, and another to be added: all times are whole.
BYTES_PER_SECOND, REDUCE = 1e12, 1e-12


def simulated(schedule, chunk_bytes: int, ready: list[int], latency_ps: int, software_ps: int) -> list[int]:
    """When every rank is done, behind one switch: no arrays, no recurrence, only ranks that wait for events."""
    world = simpy.Environment()
    arrived: dict[tuple[int, int], simpy.Event] = {}
    steps = []
    for number, (_, _, messages) in enumerate(schedule.steps()):
        sent, received, kept = defaultdict(list), defaultdict(list), []
        rows = zip(messages.source, messages.destination, messages.sizes(), messages.reducing(), strict=True)
        for message, (source, destination, size, adds) in enumerate(rows):
            arrived[number, message] = world.event()
            kept.append((int(destination), int(size) * chunk_bytes, bool(adds)))
            sent[int(source)].append(message)
            received[int(destination)].append(message)
        steps.append((kept, sent, received))

    def deliver(number: int, message: int, delay: int):
        yield world.timeout(delay)
        arrived[number, message].succeed()

    def program(rank: int):
        yield world.timeout(ready[rank])
        for number, (kept, sent, received) in enumerate(steps):
            mine, theirs = sent[rank], received[rank]
            if not mine and not theirs:
                continue
            yield world.timeout(software_ps)
            busy = 0
            for message in mine:
                # A message is as slow as the busier of the two ports, which carry all messages of the step.
                destination = kept[message][0]
                port_in = sum(kept[other][1] for other in received[destination])
                transfer = max(sum(kept[other][1] for other in mine), port_in)
                busy = max(busy, transfer)
                world.process(deliver(number, message, latency_ps + transfer))
            leaves = world.timeout(busy)
            for message in theirs:
                yield arrived[number, message]
            yield world.timeout(sum(kept[message][1] for message in theirs if kept[message][2]))
            yield leaves
        finish[rank] = int(world.now)

    finish = [0] * schedule.ranks
    for rank in range(schedule.ranks):
        world.process(program(rank))
    world.run()
    return finish


@settings(max_examples=120)
@given(
    which=st.sampled_from(EVERY),
    ranks=st.integers(1, 10),
    payload=st.integers(0, 10**6),
    latency=st.integers(0, 10**6),
    software=st.integers(0, 10**5),
    data=st.data(),
)
def test_price_equals_processes_that_wait(which, ranks, payload, latency, software, data):
    operation, name = which
    schedule = COLLECTIVES[operation][name](ranks)
    ready = data.draw(st.lists(st.integers(0, 10**7), min_size=ranks, max_size=ranks))
    priced = price(
        schedule,
        switched(ranks, BYTES_PER_SECOND, latency * 1e-12),
        payload,
        ready_ps=np.array(ready),
        step_seconds=software * 1e-12,
        reduce_seconds_per_byte=REDUCE,
    )
    assert priced.tolist() == simulated(schedule, schedule.chunk_bytes(payload), ready, latency, software)
