"""What ``plot`` and ``report`` have in common: the results at a path, and the rows that the user chooses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

Dataset = Annotated[
    Path, typer.Argument(help="A sweep's folder, or a .parquet, .csv or .json file of `loopline compare`.")
]
Where = Annotated[
    list[str] | None, typer.Option("--where", help="Only rows with these values: chip=h100,sn40l batch=1")
]


def read_dataset(path: Path, where: list[str] | None) -> pd.DataFrame:
    """The rows at ``path`` that ``where`` leaves. Raises ReadError, SchemaError or ScenarioError in one sentence."""
    from results.analysis import select
    from results.store import load
    from scenarios.errors import ScenarioError

    conditions: dict[str, list[str]] = {}
    for condition in where or []:
        name, equals, values = condition.partition("=")
        if not (name and equals and values):
            raise ScenarioError(f"--where {condition}: expected COLUMN=VALUE or COLUMN=VALUE,VALUE.")
        conditions.setdefault(name, []).extend(values.split(","))
    return select(load(path), conditions)
