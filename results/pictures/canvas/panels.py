"""A frame parted into the panels of a picture: what a picture does not show on its axes, it shows side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from results.analysis import OWN_WORDS, inputs_of, varied
from results.errors import SchemaError

MOST_PANELS = 12
ACROSS = 3
TOLD = {
    "batch": "batch ",
    "context": "context ",
    "count": "count ",
    "kv_precision": "KV cache in ",
    "output_tokens": "output tokens ",
}  # numbers say what they are


def panels(results: pd.DataFrame, shown: Sequence[str]) -> tuple[str, list[tuple[str, pd.DataFrame]]]:
    """What all rows have in common, as a title, and a (title, rows) for each value of the inputs that vary.

    ``shown``: inputs that the picture shows in another way. Raises SchemaError for more than ``MOST_PANELS``.
    """
    parting = check_panels(results, shown)
    single = [name for name in inputs_of(results) if name not in shown and results[name].nunique() == 1]
    told = {name: results[name].iloc[0] for name in single if name not in OWN_WORDS}
    # Alike chips, and no output tokens where the phase has none, go without saying.
    common = ", ".join(_told(name, value) for name, value in told.items() if value not in ("", 0))
    if not parting:
        return common, [("", results)]
    titled = [
        (", ".join(_told(name, value) for name, value in zip(parting, key, strict=True)), rows)
        for key, rows in results.groupby(parting, sort=False)
    ]
    return common, titled


def check_panels(results: pd.DataFrame, shown: Sequence[str]) -> list[str]:
    """The inputs that part the rows into panels. Raises SchemaError for more than ``MOST_PANELS``."""
    parting = [name for name in varied(results) if name not in shown]
    if parting and (count := results.groupby(parting, sort=False).ngroups) > MOST_PANELS:
        raise SchemaError(
            f"the picture would have {count} panels, one for each {', '.join(parting)}; at most {MOST_PANELS}: "
            "choose among them."
        )
    return parting


def side_by_side(count: int) -> int:
    """How many of ``count`` panels stand in a row: three, but four are two and two."""
    return 2 if count == 4 else min(ACROSS, count)


def _told(name: str, value: object) -> str:
    if name == "variation" and value == "":
        return "alike chips"
    if name == "parallel" and value == "":
        return "one group"
    return f"{TOLD.get(name, '')}{value}"
