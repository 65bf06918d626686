"""A frame parted into the panels of a picture: what a picture does not show on its axes, it shows side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from results.errors import SchemaError
from results.schema import INPUTS

MOST_PANELS = 12
TOLD = {"batch": "batch ", "context": "context ", "count": "count "}  # numbers say what they are


def panels(results: pd.DataFrame, shown: Sequence[str]) -> tuple[str, list[tuple[str, pd.DataFrame]]]:
    """What all rows have in common, as a title, and a (title, rows) for each value of the inputs that vary.

    ``shown``: inputs that the picture shows in another way. Raises SchemaError for more than ``MOST_PANELS``.
    """
    inputs = [name for name in INPUTS if name not in shown]
    # Launch is a chip's own word: with the chip in the panels it tells nothing, unless one chip has both.
    if "launch" in inputs and (results.groupby("chip")["launch"].nunique() <= 1).all():
        inputs.remove("launch")
    varied = [name for name in inputs if results[name].nunique() > 1]
    common = ", ".join(_told(name, results[name].iloc[0]) for name in inputs if name not in varied)
    if not varied:
        return common.strip(", "), [("", results)]
    groups = [(key, rows) for key, rows in results.groupby(varied, sort=False)]
    if len(groups) > MOST_PANELS:
        raise SchemaError(
            f"the picture would have {len(groups)} panels, one for each {', '.join(varied)}; at most {MOST_PANELS}: "
            "choose among them."
        )
    titled = [
        (", ".join(_told(name, value) for name, value in zip(varied, key, strict=True)), rows) for key, rows in groups
    ]
    return common.strip(", "), titled


def _told(name: str, value: object) -> str:
    return f"{TOLD.get(name, '')}{value}"
