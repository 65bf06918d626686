"""``loopline accuracy``: write the document that says how accurate the simulator is, and its pictures."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from scenarios.commands.output import write


def accuracy(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The Markdown file; pictures go into a folder beside it.")
    ],
    spreads: Annotated[
        Path | None, typer.Option(help="Also write what the bands of results are made of into this TOML file.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of measured tables (default: the project's).")] = None,
) -> None:
    """Write down how accurate every prediction is: errors by table, size and cause, with pictures, as Markdown.

    loopline accuracy -o docs/accuracy.md --spreads scenarios/evidence/bands.toml
    """
    from results.atomic_file import OutputError, written_beside
    from results.pictures.accuracy import plot_error_by_size, plot_scatter
    from scenarios.evidence.accuracy import document, panels_of, predict_left_out, predict_tables
    from scenarios.evidence.error_bands import compute_spreads, write_spreads
    from scenarios.evidence.validation import DATA

    folder = data or DATA
    if not output.parent.is_dir():
        raise OutputError(f"{output}: the folder '{output.parent}' does not exist.")
    pictures = output.with_suffix("")
    tables, left_out = predict_tables(folder), predict_left_out(folder)
    bands = compute_spreads(tables, left_out)
    text = document(tables, left_out, bands, folder, pictures.name)
    pictures.mkdir(exist_ok=True)
    panels = panels_of(tables)
    plot_scatter(panels, pictures / "scatter.png")
    plot_error_by_size(panels, pictures / "error_by_size.svg")
    with written_beside(output) as beside:
        beside.write_text(text, encoding="utf-8")
    write(spreads, partial(write_spreads, bands))
    print(f"wrote {output}, {pictures}/scatter.png and {pictures}/error_by_size.svg", file=sys.stderr)
