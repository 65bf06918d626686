"""A frame as a notebook shows it best: what varies, the time, and bars of where it goes in the pictures' colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from results.analysis import inputs_of, varied
from results.pictures.canvas.palette import PART_COLOURS, readable
from results.schema import PART_COLUMNS
from results.units import format_seconds, percent, three_digits

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

MOST_ROWS = 200  # beyond, a notebook only grows heavy: choose among the rows first
PALE = "66"  # alpha of the bars, so that numbers are read upon them


def show(results: pd.DataFrame) -> Styler:
    """The first rows as a table of HTML: inputs that vary, time, tokens/s, and the share of each part as a bar.

    What all rows have in common is the caption. Give it as the last line of a cell.
    """
    rows = results.head(MOST_ROWS)
    inputs = list(dict.fromkeys(["chip", "count", "strategy", *varied(results)]))
    titles = {part: PART_COLOURS[part][0] for part in PART_COLUMNS}
    shares = rows[list(PART_COLUMNS)].div(rows["seconds"], axis=0)
    table = pd.concat([rows[[*inputs, "seconds", "tokens_per_s_user"]], shares, rows[["limiter"]]], axis=1)
    names = {name: readable(name) for name in inputs}
    columns = names | {"seconds": "time", "tokens_per_s_user": "tokens/s a user", "limiter": "limited by"} | titles
    forms: dict[str, Any] = {"time": format_seconds, "tokens/s a user": three_digits}
    forms |= dict.fromkeys(titles.values(), percent)
    style = table.rename(columns=columns).style.format(forms, na_rep="does not fit").hide(axis="index")
    style = style.set_table_styles([{"selector": "td", "props": "white-space: nowrap"}])
    for part in PART_COLUMNS:
        title, colour = PART_COLOURS[part]
        style = style.bar(subset=[title], color=colour + PALE, vmin=0.0, vmax=1.0)
    common = {name: results[name].iloc[0] for name in inputs_of(results) if results[name].nunique() == 1}
    told = [
        f"{readable(name)} {value}" for name, value in common.items() if name not in inputs and value not in ("", 0)
    ]
    left = [f"{len(results) - len(rows):,} more rows"] if len(results) > len(rows) else []
    return style.set_caption(", ".join(told + left))
