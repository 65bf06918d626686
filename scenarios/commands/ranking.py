"""Ranked rows as a terminal shows them: one table of what was chosen, and what comes of it, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

ALWAYS = ("chip", "count")
SECONDS_OF = {"train": "time of a step", "decode": "time per token", "prefill": "time to first token"}
"""What ``seconds`` are, by phase."""


def ranking(rows: pd.DataFrame, chosen: Sequence[str] = ()) -> list[dict[str, object]]:
    """Records of rows of ``scenarios.planning.ranking``: ``chosen`` inputs and all that differ between them, and the
    figures that goals are made of.
    """
    from results.schema import INPUTS
    from results.units import format_seconds, percent

    differing = [name for name in INPUTS if name in chosen or rows[name].nunique() > 1]
    names = [*ALWAYS, *(name for name in differing if name not in ALWAYS)]
    phases = rows["phase"].unique()
    time = SECONDS_OF.get(phases[0], "time") if len(phases) == 1 else "time"
    trains = "train" in phases
    told = []
    for row in rows.to_dict("records"):
        reached = {
            time: format_seconds(row["seconds"]),
            "MFU" if trains else "tokens/s a user": percent(row["mfu"])
            if trains
            else f"{row['tokens_per_s_user']:,.1f}",
            "GB a chip": f"{row['needed_bytes'] / 1e9:.1f}",
            "tokens/s a chip": f"{row['tokens_per_s_chip']:,.0f}",
            "tokens/J": f"{row['tokens_per_joule']:.3g}",
        }
        if "cost" in row:
            reached["$ a million tokens"] = f"{row['cost']:.3g}"
        told.append({name: row[name] for name in names} | reached)
    return told
