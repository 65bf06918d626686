"""``loopline chips`` and ``loopline models``: what is in the catalogs, and where each number comes from."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def chips(
    name: Annotated[str | None, typer.Argument(help="A chip: show its whole datasheet.")] = None,
    json: Json = False,
) -> None:
    """List the catalog with its key figures, or show one datasheet with the source of every number.

    loopline chips

    loopline chips sn40l
    """
    from chips.datasheet import datasheet, key_figures
    from results.table import print_records

    print_records(key_figures() if name is None else datasheet(name), sys.stdout, json=json)


def models(
    name: Annotated[str | None, typer.Argument(help="A model, or the path of a config.json.")] = None,
    json: Json = False,
) -> None:
    """List the models with their shapes, or show one with the tensor-parallel counts that divide it.

    loopline models llama-3.1-70b

    loopline models path/to/config.json --json
    """
    from results.table import print_records
    from scenarios.workload.model import model_card, model_figures

    print_records(model_figures() if name is None else model_card(name), sys.stdout, json=json)
