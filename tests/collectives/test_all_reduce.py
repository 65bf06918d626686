"""AllReduces of a chip's own kind: what Python asks for is what the libraries and the schedules say."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chips.spec import Dataflow, Gpu, chip_names, load_chip
from collectives.all_reduce import SCHEDULE, compare_allreduce, price_allreduce, schedule_row
from collectives.crossovers import crossovers
from collectives.errors import CollectiveError
from collectives.libraries.choice import price_collective
from collectives.links import fastest, links_of, possible

CHIPS = [name for name in chip_names() if isinstance(load_chip(name), Gpu | Dataflow)]


def test_what_is_priced_is_what_the_chips_library_runs():
    payloads = [8192, 2**30]
    library = price_collective(load_chip("h100"), "all_reduce", 8, payloads)
    rows = price_allreduce("h100", 8, payloads)
    assert [row.bytes for row in rows] == payloads
    assert [row.seconds for row in rows] == library.seconds.tolist()
    assert [row.algorithm for row in rows] == library.algorithm.tolist()


def test_as_a_schedule_the_fastest_algorithm_is_chosen():
    (chosen,) = price_allreduce("sn40l", 8, [2**20], library=SCHEDULE)
    every = price_allreduce("sn40l", 8, [2**20], library=SCHEDULE, algorithms=possible(links_of("sn40l", 8))[0])
    assert chosen.seconds == min(row.seconds for row in every)
    assert chosen.is_schedule


def test_a_comparison_says_who_reigns_and_who_is_left_out():
    found = compare_allreduce("a100", 8, [8192])
    assert {reign.algorithm for reign in found.reigns} <= {row.algorithm for row in found.rows}
    assert found.left_out == ["in_switch: a100 has no switch that reduces."]
    assert compare_allreduce("a100", 8, [8192], ["ring"]).left_out == []


@pytest.mark.parametrize(
    ("chip", "count", "asked", "sentence"),
    [
        ("tpu-v1", 8, {}, "tpu-v1 works alone"),
        ("h100", 0, {}, "0 chips were asked for; at least 1 is needed"),
        ("h100", 8, {"library": "oneccl"}, "'oneccl' is not known"),
        ("h100", 8, {"library": SCHEDULE, "algorithms": ["rings"]}, "algorithm 'rings' is not known"),
        ("a100", 8, {"library": SCHEDULE, "algorithms": ["in_switch"]}, "a100 has no switch that reduces"),
    ],
)
def test_what_cannot_be_priced_is_refused_in_a_sentence(chip, count, asked, sentence):
    with pytest.raises(CollectiveError, match=sentence):
        price_allreduce(chip, count, [8192], **asked)


@settings(max_examples=60)
@given(
    chip=st.sampled_from(CHIPS),
    count=st.one_of(st.integers(1, 20), st.sampled_from([64, 72])),
    payload=st.integers(0, 2**34),
    data=st.data(),
)
def test_no_schedule_beats_the_bound(chip, count, payload, data):
    links = links_of(chip, count)
    name = data.draw(st.sampled_from(possible(links)[0]))
    row = schedule_row(links, payload, name)
    assert row.seconds >= row.bound_seconds


@pytest.mark.parametrize(("chip", "count"), [("h100", 8), ("a100", 5), ("sn40l", 16)])
def test_crossovers_are_exact_to_the_byte(chip, count):
    links = links_of(chip, count)
    names, _ = possible(links)
    reigns = crossovers(links, names)
    assert reigns[0].first_bytes == 0
    assert reigns[-1].last_bytes is None
    for before, after in pairwise(reigns):
        assert after.first_bytes == before.last_bytes + 1
        assert fastest(links, before.last_bytes, names) == before.algorithm
        assert fastest(links, after.first_bytes, names) == after.algorithm
