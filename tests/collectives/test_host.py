"""Cards without NVLink between all: what groups of them reach, by where they meet and what bridges join."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips.spec import Link, load_gpu
from collectives.host import group_link, is_staged
from collectives.libraries.choice import price_collective
from collectives.topology import every_nth

SLOT = 32e9
CARDS = Link(bandwidth=SLOT, topology="host", domain=8)


def card_rate(ranks: int, **changes: object) -> float:
    return group_link(CARDS.model_copy(update=changes), ranks).bandwidth


@given(ranks=st.integers(2, 16))
def test_in_switches_every_card_has_its_slot(ranks: int) -> None:
    assert card_rate(ranks) == SLOT
    assert not is_staged(CARDS, ranks)


def test_only_groups_on_both_sockets_pass_between_them() -> None:
    rates = [card_rate(ranks, host="dual-socket", socket_share=0.75) / SLOT for ranks in (2, 4, 5, 8, 16)]
    assert rates == [1.0, 1.0, 0.75, 0.75, 0.75]


def test_cards_that_are_no_peers_share_one_path_through_the_host() -> None:
    assert [card_rate(ranks, peers=2) for ranks in (2, 4, 8)] == [SLOT, SLOT / 4, SLOT / 8]
    assert card_rate(4, peers=2, staging_bandwidth=1e12) == SLOT


def test_a_bridge_serves_its_pair_and_no_larger_group() -> None:
    bridged = CARDS.model_copy(update={"bridge_bandwidth": 300e9})
    pair = group_link(bridged, 2)
    assert (pair.bandwidth, pair.topology, pair.domain) == (300e9, "fully_connected", 2)
    assert group_link(bridged, 4).bandwidth == SLOT
    assert group_link(every_nth(bridged, 2), 2).bandwidth == SLOT, "every other card has no bridge to the next"


@pytest.mark.parametrize("name", ["h100", "gh200", "v100", "gb200"])
def test_links_of_other_topologies_are_as_they_are(name: str) -> None:
    link = load_gpu(name).link
    assert all(group_link(link, ranks) == link for ranks in (2, 8, 100))


@given(payload=st.floats(2**10, 2**32), ranks=st.sampled_from([4, 8]))
def test_switches_are_no_slower_than_two_sockets_and_peers_than_memory_of_the_host(payload: float, ranks: int) -> None:
    def seconds(**changes: object) -> float:
        card = load_gpu("l40s")
        card = card.model_copy(update={"link": card.link.model_copy(update={"peers": None, **changes})})
        return float(price_collective(card, "all_reduce", ranks, payload, library="nccl").seconds)

    assert seconds(host="switch") <= seconds(host="dual-socket") <= seconds(host="dual-socket", peers=2)


def test_newer_slots_are_faster() -> None:
    card = load_gpu("l40s")
    times = [
        float(
            price_collective(
                card.model_copy(update={"link": CARDS.model_copy(update={"bandwidth": rate})}), "all_reduce", 8, 2.0**26
            ).seconds
        )
        for rate in (16e9, 32e9, 64e9)  # PCIe 3, 4, 5
    ]
    assert times == pytest.approx([times[0], times[0] / 2, times[0] / 4], rel=0.05)
