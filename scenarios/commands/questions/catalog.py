"""``loopline chips`` and ``loopline models``: what is in the catalogs, and where each number comes from."""

from __future__ import annotations

import sys
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.commands.output import Json, show

if TYPE_CHECKING:
    from chips.datasheet import Row

# What narrow terminals show least of the catalog.
LEAST_OF_CHIPS = ("units", "title", "on chip\nMB", "kernels", "topology", "8 bits\nTOPS", "watts")
LEAST_OF_MODELS = ("head_dim", "vocabulary", "intermediate", "kv_heads", "heads")
TITLES = {
    "bf16_tflops": "bf16\nTFLOP/s",
    "8bit_tops": "8 bits\nTOPS",
    "memory_gb_per_s": "memory\nGB/s",
    "memory_gb": "memory\nGB",
    "on_chip_mb": "on chip\nMB",
    "link_gb_per_s": "link\nGB/s",
}
PREFIXED = ("s", "bytes", "bytes/s", "Hz", "W")


def chips(
    name: Annotated[str | None, typer.Argument(help="A chip: show its whole datasheet.")] = None,
    json: Json = False,
) -> None:
    """List the catalog with its key figures, or show one datasheet with the source of every number.

    loopline chips

    loopline chips sn40l
    """
    from chips.datasheet import datasheet, key_figures

    if name is None:
        figures = key_figures()
        told = [{TITLES.get(name, name): _figure(name, each) for name, each in row.items()} for row in figures]
        show(figures, json=json, tables=[told], least=LEAST_OF_CHIPS)
    elif json:
        show(datasheet(name), json=True)
    else:
        _print_datasheet(datasheet(name))


def models(
    name: Annotated[str | None, typer.Argument(help="A model, or the path of a config.json.")] = None,
    json: Json = False,
) -> None:
    """List the models with their shapes, or show one with the tensor-parallel counts that divide it.

    loopline models llama-3.1-70b

    loopline models path/to/config.json --json
    """
    from scenarios.workload.model import model_card, model_figures

    show(model_figures() if name is None else model_card(name), json=json, least=LEAST_OF_MODELS)


def _figure(name: str, value: object) -> object:
    from results.units import three_digits

    return three_digits(value) if name in TITLES and isinstance(value, int | float) else value


def _print_datasheet(rows: list[Row]) -> None:
    """A table for each section, below its name and the files that state it."""
    from results.printed_table import print_line

    for section, of_section in groupby(rows, key=lambda row: row["section"]):
        values = list(of_section)
        files = dict.fromkeys(row["file"] for row in values if row["file"])
        print_line(f"{section}  ({', '.join(files) or 'defaults'})", sys.stdout, bold=True)
        show([{"key": row["key"], "value": _readable(row), "source": row["source"]} for row in values], json=False)
        print()


def _readable(row: Row) -> str:
    from results.units import format_bytes, format_quantity

    value, unit = row["value"], row["unit"]
    if isinstance(value, int) and unit == "bytes" and value % 1024 == 0:
        return format_bytes(value)
    if isinstance(value, int | float) and unit in PREFIXED:
        return format_quantity(value, unit)
    told = f"{value:g}" if isinstance(value, float) else str(value)
    return told if unit in ("", "fraction") else f"{told} {unit}"
