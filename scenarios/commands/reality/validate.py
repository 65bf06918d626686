"""``loopline validate``: the simulator against measured tables and published runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def validate(
    data: Annotated[Path | None, typer.Option(help="Folder of measured tables (default: the project's).")] = None,
    by: Annotated[
        str | None, typer.Option(help="Break each table down by this column, or several: chip,batch.")
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="Also show this many of the worst rows of each table.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold the simulator against measured kernels, collectives and published runs, and print its errors as they are.

    loopline validate

    loopline validate --by tp --worst 5
    """
    from scenarios.evidence.validation import render, to_json
    from scenarios.evidence.validation import validate as run

    results = run(data, by=by, worst=worst)
    if json:
        print(to_json(results))
    else:
        render(results, sys.stdout)
