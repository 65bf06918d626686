"""``loopline chips`` and ``loopline models``: what is in the catalogs, and where each number comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from scenarios.commands.output import Json, show


def chips(
    name: Annotated[str | None, typer.Argument(help="A chip: show its whole datasheet.")] = None,
    json: Json = False,
) -> None:
    """List the catalog with its key figures, or show one datasheet with the source of every number.

    loopline chips

    loopline chips sn40l
    """
    from chips.datasheet import datasheet, key_figures

    show(key_figures() if name is None else datasheet(name), json=json)


def models(
    name: Annotated[str | None, typer.Argument(help="A model, or the path of a config.json.")] = None,
    json: Json = False,
) -> None:
    """List the models with their shapes, or show one with the tensor-parallel counts that divide it.

    loopline models llama-3.1-70b

    loopline models path/to/config.json --json
    """
    from scenarios.workload.model import model_card, model_figures

    show(model_figures() if name is None else model_card(name), json=json)
