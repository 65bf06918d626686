"""``loopline plot``: results, stored as a file or a sweep's folder, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scenarios.commands.output import check_files, write
from scenarios.commands.questions.dataset import Dataset, Where, read_dataset


def plot(
    dataset: Dataset,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .svg or .png file.")],
    kind: Annotated[str, typer.Option(help="breakdown | scaling | heatmap | pareto")] = "breakdown",
    where: Where = None,
    of: Annotated[str | None, typer.Option(help="seconds | joules, but for scaling (default: seconds).")] = None,
    rows: Annotated[str | None, typer.Option(help="Of a heat map (default: what varies of batch, context, chip).")] = (
        None
    ),
    columns: Annotated[str | None, typer.Option(help="Of a heat map (default: count).")] = None,
    fast: Annotated[str | None, typer.Option(help="The strategy of a heat map (default: kernel_loop).")] = None,
    slow: Annotated[str | None, typer.Option(help="What it is held against (default: per_operator).")] = None,
) -> None:
    """Draw results: where time goes, how it scales, where a strategy pays, which points nothing beats.

    loopline compare llama-3.1-8b --chips h100 sn40l --count 1 2 4 8 -o rows.csv

    loopline plot rows.csv --kind scaling -o scaling.svg

    loopline sweep half-the-bandwidth -o sweep/

    loopline plot sweep/ --kind heatmap --rows context --columns batch -o map.png

    loopline plot sweep/ --kind pareto --of joules -o speed-and-energy.svg
    """
    from results.pictures import kinds
    from scenarios.errors import ScenarioError

    check_files(plot=output)
    options = {"rows": rows, "columns": columns, "fast": fast, "slow": slow}
    given = {name: value for name, value in options.items() if value is not None}
    if given and kind != "heatmap":
        raise ScenarioError(f"--{next(iter(given))} belongs to --kind heatmap; the kind is {kind}.")
    if of is not None:
        if kind == "scaling":
            raise ScenarioError("--of belongs to --kind breakdown, heatmap or pareto; the kind is scaling.")
        given["of"] = of
    write(output, kinds.plot(read_dataset(dataset, where), kind, **given).save)
