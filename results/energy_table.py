"""Joules of a comparison as a table: how many, of what, for how many tokens; what fusing and looping save."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

import pandas as pd

from results.schema import CAUSE_JOULES, SETTING
from results.table import new_table, open_console
from results.units import format_joules, joules_unit, percent, three_digits

TITLES = {
    "arithmetic_j": "arith-\nmetic",
    "on_chip_j": "on\nchip",
    "hbm_j": "off-chip\nmemory",
    "links_j": "links",
    "control_j": "control",
    "static_j": "static",
}
PER = {"decode": "a token\nof each", "prefill": "a prefill", "request": "a request\nof each"}


def print_energy(results: pd.DataFrame, stream: TextIO) -> None:
    """Print the energy of a frame of ``results.schema`` that has been printed: a row a point that fits.

    With ``cost`` among its columns (``scenarios.cost``), what a million tokens cost too.
    """
    console = open_console(stream)
    for _, same in results[results["fits"]].groupby(list(SETTING), sort=False):
        table = new_table(console.is_terminal)
        table.add_column("chips", no_wrap=True)
        table.add_column("strategy", no_wrap=True)
        per = PER.get(same["phase"].iloc[0], "a step")
        titles = [
            f"joules\n{per}",
            "8 of 10 from\nto",
            "W a\nchip",
            "J a\ntoken",
            "tokens\na joule",
            "joules x\nseconds",
        ]
        costs = ["$ a million\ntokens", "of it elec-\ntricity"] if "cost" in same else []
        for title in (*titles, *TITLES.values(), *costs):
            table.add_column(title, justify="right", no_wrap=True)
        for (chip, count), group in same.groupby(["chip", "count"], sort=False):
            for position, (_, row) in enumerate(group.iterrows()):
                table.add_row(f"{chip} x{count}" if position == 0 else "", *_cells(row))
            if not console.is_terminal:
                table.add_row()
        console.print(table)
        for line in savings(same):
            console.print(line, soft_wrap=True)


def _cells(row: pd.Series) -> list[str]:
    size, _ = joules_unit(row["joules"])
    band = f"{three_digits(row['joules_low'] / size)} {three_digits(row['joules_high'] / size)}"
    numbers = ("watts", "joules_per_token", "tokens_per_joule", "energy_delay")
    shares = [percent(row[cause] / row["joules"]) for cause in CAUSE_JOULES]
    cost = [three_digits(row["cost"]), percent(row["energy_cost"] / row["cost"])] if "cost" in row else []
    told = [three_digits(row[name]) for name in numbers]
    return [row["strategy"], format_joules(row["joules"]), band, *told, *shares, *cost]


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
