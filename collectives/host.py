"""Cards without a switch of their own links: what a group of them reaches over PCIe, and over bridges between pairs.

Cards meet in PCIe switches or at the CPUs of their server (``Link.host``), peer to peer as far as the server lets them
(``Link.peers``); beyond it their bytes pass through the server's memory, one upward path for all of them.
"""

from __future__ import annotations

from functools import cache

from chips.spec import Link, SomeChip

PAIR = 2
SOCKETS = 2


def is_staged(link: Link, ranks: int) -> bool:
    """Whether the bytes of a group of ``ranks`` pass through the memory of its host, not from card to card."""
    return link.topology == "host" and link.peers is not None and min(ranks, link.domain) > link.peers


@cache
def in_group(chip: SomeChip, ranks: int) -> SomeChip:
    """``chip`` with its link as a group of ``ranks`` neighbours uses it."""
    link = group_link(chip.link, ranks)
    return chip if link == chip.link else chip.model_copy(update={"link": link})


@cache
def group_link(link: Link, ranks: int) -> Link:
    """``link`` as a group of ``ranks`` neighbours uses it; the same for all topologies but ``host``.

    A pair with a bridge has that bridge. A larger group has what its slowest member has: its slot, less what passes
    between two sockets where the group lies on both, and no more than its share of the server's own path where the
    group holds more cards than reach each other peer to peer.
    """
    if link.topology != "host":
        return link
    if link.bridge_bandwidth is not None and ranks == PAIR:
        bridge = {"bandwidth": link.bridge_bandwidth, "topology": "fully_connected", "domain": PAIR}
        return link.model_copy(update=bridge)
    local = min(ranks, link.domain)
    bandwidth = link.bandwidth
    if is_staged(link, ranks):
        bandwidth = min(bandwidth, link.staging_bandwidth / local)
    if link.host == "dual-socket" and local > max(1, link.domain // SOCKETS):
        bandwidth *= link.socket_share
    return link.model_copy(update={"bandwidth": bandwidth})
