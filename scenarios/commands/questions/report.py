"""``loopline report``: results, stored as a file or a sweep's folder, as one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scenarios.commands.output import write
from scenarios.commands.questions.dataset import Dataset, Where, read_dataset


def report(
    dataset: Dataset,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .html file.")],
    where: Where = None,
) -> None:
    """Write a page that answers the question: numbers, pictures, a chart to filter, and how to compute it again.

    loopline sweep half-the-bandwidth -o sweep/

    loopline report sweep/ -o report.html   # opens in any browser

    loopline compare llama-3.1-8b --chips h100 sn40l --count 1 8 -o rows.parquet

    loopline report rows.parquet --where chip=sn40l -o report.html
    """
    from results import report as reports
    from results.atomic_file import OutputError

    if output.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{output}: a report is an .html file, not '{output.suffix or output.name}'.")
    if not output.parent.is_dir():
        raise OutputError(f"{output}: the folder '{output.parent}' does not exist.")
    rows = read_dataset(dataset, where)
    write(output, lambda path: reports.report(rows, path, dataset.name))
