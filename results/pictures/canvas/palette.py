"""Colours of all pictures: the same thing has the same colour everywhere, and any colour vision tells them apart.

The parts of a time are in Okabe and Ito's palette, with a grey that deuteranopes tell from its purple. Strategies have
colours of their own, and a marker each, so that no picture relies on colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable

PART_COLOURS = {
    "matmul_s": ("matrix products", "#0072B2"),
    "attention_s": ("attention", "#E69F00"),
    "other_s": ("other operators", "#56B4E9"),
    "allreduce_s": ("exposed AllReduce", "#D55E00"),
    "launch_s": ("kernel launches", "#CC79A7"),
    "host_s": ("host", "#F0E442"),
    "dependency_s": ("dependencies", "#009E73"),
    "fill_drain_s": ("pipeline fill and drain", "#666666"),
}
CAUSE_COLOURS = {
    "arithmetic_j": ("arithmetic", "#009E73"),
    "on_chip_j": ("data on the chip", "#56B4E9"),
    "hbm_j": ("off-chip memory", "#0072B2"),
    "links_j": ("links", "#CC79A7"),
    "control_j": ("instructions", "#D55E00"),
    "static_j": ("static power", "#999999"),
}
STRATEGY_STYLES = {
    "per_operator": ("#000000", "o"),
    "fused_decoder": ("#7A4EAB", "s"),
    "kernel_loop": ("#009E73", "^"),
}
# For strategies that somebody adds, by first appearance.
OTHER_STYLES = (("#D55E00", "D"), ("#0072B2", "v"), ("#E69F00", "P"), ("#56B4E9", "X"))
GRID, FAINT = "#DDDDDD", "#777777"


def strategy_styles(strategies: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each strategy; those of the shipped ones never change."""
    names = list(dict.fromkeys(strategies))
    others = iter(OTHER_STYLES * len(names))
    return {name: STRATEGY_STYLES.get(name) or next(others) for name in names}


def readable(name: object) -> str:
    """A value or column as words: ``kernel_loop`` reads ``kernel loop``."""
    return str(name).replace("_", " ")
