"""Joules of a comparison as a table: how many, of what, for how many tokens; what fusing and looping save."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

import pandas as pd

from results.printed_table import Column, print_line, print_table
from results.schema import SETTING
from results.units import format_joules, joules_unit, percent, three_digits

# Of each column its title and its rank: what a narrow terminal leaves out first has the highest (``printed_table``).
TITLES = {
    "arithmetic_j": ("arith-\nmetic", 6),
    "on_chip_j": ("on\nchip", 5),
    "hbm_j": ("off-chip\nmemory", 4),
    "links_j": ("links", 8),
    "control_j": ("control", 9),
    "static_j": ("static", 3),
}
NUMBERS = {
    "watts": ("W a\nchip", 7),
    "joules_per_token": ("J a\ntoken", 2),
    "tokens_per_joule": ("tokens\na joule", 10),
    "energy_delay": ("joules x\nseconds", 11),
}
PER = {"decode": "a token\nof each", "prefill": "a prefill", "request": "a request\nof each"}


def print_energy(results: pd.DataFrame, stream: TextIO) -> None:
    """Print the energy of a frame of ``results.schema`` that has been printed: a row a point that fits.

    With ``cost`` among its columns (``scenarios.cost``), what a million tokens cost too.
    """
    for _, same in results[results["fits"]].groupby(list(SETTING), sort=False):
        rows = pd.concat([group for _, group in same.groupby(["chip", "count"], sort=False)])
        names = [f"{chip} x{count}" for chip, count in zip(rows["chip"], rows["count"], strict=True)]
        starts = [at for at, name in enumerate(names) if at == 0 or name != names[at - 1]]
        shown = [name if at in starts else "" for at, name in enumerate(names)]
        last_rows = [*(at - 1 for at in starts[1:]), len(names) - 1]
        print_table([Column("chips", shown, right=False), *_columns(rows)], stream, last_rows)
        for line in savings(same):
            print_line(line, stream)


def _columns(rows: pd.DataFrame) -> list[Column]:
    """The columns behind the name of the chips."""
    per = PER.get(rows["phase"].iloc[0], "a step")
    sizes = [joules_unit(joules)[0] for joules in rows["joules"]]
    low, high = (
        [three_digits(each / size) for each, size in zip(rows[end], sizes, strict=True)]
        for end in ("joules_low", "joules_high")
    )
    columns = [
        Column("strategy", list(rows["strategy"]), right=False),
        Column(f"joules\n{per}", list(map(format_joules, rows["joules"])), right=True),
        Column("8 of 10 from\nto", [f"{one} {other}" for one, other in zip(low, high, strict=True)], 1, right=True),
        *(
            Column(title, list(map(three_digits, rows[name])), rank, right=True)
            for name, (title, rank) in NUMBERS.items()
        ),
        *(
            Column(title, list(map(percent, rows[cause] / rows["joules"])), rank, right=True)
            for cause, (title, rank) in TITLES.items()
        ),
    ]
    if "cost" in rows:
        columns += [
            Column("$ a million\ntokens", list(map(three_digits, rows["cost"])), right=True),
            Column("of it elec-\ntricity", list(map(percent, rows["energy_cost"] / rows["cost"])), 2, right=True),
        ]
    return columns


def savings(results: pd.DataFrame) -> Iterator[str]:
    """A line for each chip and count of which several strategies are there: memory traffic and static power saved."""
    for (chip, count), group in results.groupby(["chip", "count"], sort=False):
        rows = {str(row["strategy"]): row for _, row in group.iterrows()}
        said = []
        for slow, fast, how in (
            ("per_operator", "fused_decoder", "fusing"),
            ("fused_decoder", "kernel_loop", "looping"),
        ):
            if slow in rows and fast in rows:
                memory, static = (rows[slow][name] - rows[fast][name] for name in ("hbm_j", "static_j"))
                said.append(
                    f"{how} saves {_signed(memory)} of off-chip memory and {_signed(static)} of static power, of "
                    f"{format_joules(rows[slow]['joules'])}"
                )
        if said:
            yield f"{chip} x{count}: {'; '.join(said)}"


def _signed(joules: float) -> str:
    return f"{'-' if joules < 0 else ''}{format_joules(abs(joules))}"
