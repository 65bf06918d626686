"""Results as text: tables for a terminal, plain when piped, CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Literal, TextIO

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from results.analysis import unmeasured_kernels
from results.schema import COLUMNS, PART_COLUMNS, SETTING
from results.units import format_seconds, percent, three_digits
from results.words import BOUNDARY_PARTS

Form = Literal["table", "csv", "json"]
PLAIN_WIDTH = 160
FORMULA = r"^('*[=+\-@\t\r])"
QUOTED = r"^'('*[=+\-@\t\r])"

PART_TITLES = {
    "matmul_s": "matmul",
    "attention_s": "attention",
    "other_s": "other",
    "allreduce_s": "All-\nReduce",
    "launch_s": "launch\ngaps",
    "host_s": "host",
    "dependency_s": "depend-\nencies",
    "fill_drain_s": "fill +\ndrain",
}
COST = ("chip_cost", "energy_cost", "cost")  # dollars per million tokens, beside the schema (``scenarios.cost``)
COMPUTING = ("prefill", "train")  # phases of which one asks how busy the matrix units are, not the memory
TIME_TITLES = {"decode": "time per\ntoken", "prefill": "time per\nprefill", "request": "time per\nrequest"}


def print_comparison(
    results: pd.DataFrame, stream: TextIO, form: Form = "table", too_close: Sequence[str] = ()
) -> None:
    """Print a frame of ``results.schema`` to ``stream``: a table to read, CSV, or JSON (records; NaN is null).

    ``too_close``: a line for each pair of strategies that their bands cannot tell apart; below the table.
    """
    if form == "csv":
        write_csv(results, stream)
    elif form == "json":
        print(json.dumps(json_records(results), indent=1), file=stream)
    else:
        console = open_console(stream)
        for _, same in results.groupby(list(SETTING), sort=False):
            _print_table(same, console)
        for line in unmeasured_kernels(results):
            console.print(line, soft_wrap=True)
        if too_close:
            console.print("too close for what these predictions have been off by (docs/accuracy.md)", style="bold")
            for line in too_close:
                console.print(f"  {line}", soft_wrap=True)


def write_csv(frame: pd.DataFrame, to: Path | TextIO) -> None:
    """Write ``frame`` with a line of column names.

    A spreadsheet takes a cell that begins as a formula does for one, and a name may: such a text gets an apostrophe in
    front, which spreadsheets take for the mark of a text, and ``read_csv`` takes off.
    """
    texts = _text_columns(frame)
    quoted = frame.assign(**{name: frame[name].str.replace(FORMULA, r"'\1", regex=True) for name in texts})
    quoted.to_csv(to, index=False, lineterminator="\n", encoding="utf-8")


def read_csv(text: str, texts: list[str], numbers: list[str]) -> pd.DataFrame:
    """The frame again, with these columns of text; of ``numbers`` alone a cell may be empty."""
    missing = {name: [""] for name in numbers}  # elsewhere "None" or "NA" could be a name
    frame = pd.read_csv(StringIO(text), dtype=dict.fromkeys(texts, "str"), keep_default_na=False, na_values=missing)
    return frame.assign(**{name: frame[name].str.replace(QUOTED, r"\1", regex=True) for name in _text_columns(frame)})


def _text_columns(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame if pd.api.types.is_string_dtype(frame[name])]


def json_records(results: pd.DataFrame, columns: Sequence[str] | None = None) -> list[dict[str, object]]:
    """The rows as records of plain values; NaN becomes None. ``columns``: None: those of the schema, and of money."""
    names = [name for name in results if name in COLUMNS or name in COST] if columns is None else list(columns)
    records = results[names].to_dict("records")
    return [{str(key): _plain(value) for key, value in record.items()} for record in records]


def print_records(records: Sequence[Mapping[str, object]], stream: TextIO, *, json: bool = False) -> None:
    """Print any records (a catalog, a datasheet) as a table whose columns are their keys, or as JSON."""
    if json:
        print(_dump(records), file=stream)
        return
    names = list(dict.fromkeys(name for record in records for name in record))
    table = new_table(stream.isatty())
    for name in names:
        numbers = all(isinstance(record.get(name), int | float | None) for record in records)
        table.add_column(name.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for record in records:
        table.add_row(*(_cell(record.get(name)) for name in names))
    open_console(stream).print(table)


def print_boundaries(records: Sequence[Mapping[str, Any]], stream: TextIO) -> None:
    """Print the records of ``scenarios.anatomy.boundary``: a row a mode, microseconds a boundary, what a part saves."""
    table = new_table(stream.isatty())
    table.add_column("mode", no_wrap=True)
    for title in ("time of\na pass", "bound-\naries", *(f"{part[:6]},\nus each" for part in BOUNDARY_PARTS)):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("without\nany", justify="right", no_wrap=True)
    table.add_column("one part alone saves most", no_wrap=True)
    for record in records:
        if "reason" in record:
            table.add_row(record["mode"], "not there")
            continue
        best = max(BOUNDARY_PARTS, key=lambda part: record[f"{part}_saves_s"])
        table.add_row(
            record["mode"],
            format_seconds(record["seconds"]),
            f"{record['boundaries']:,}",
            *(f"{record[f'{part}_us']:.2f}" for part in BOUNDARY_PARTS),
            format_seconds(record["without"]),
            f"{best}: {percent(record[f'{best}_saves_s'] / record['seconds'])}",
        )
    console = open_console(stream)
    console.print(table)
    for record in records:
        if "reason" in record:
            console.print(f"  {record['mode']}: {record['reason']}", soft_wrap=True)


def print_published(records: Sequence[Mapping[str, Any]], stream: TextIO) -> None:
    """Print the records of ``scenarios.evidence.published.beside``: measured and predicted, a row a run."""
    table = new_table(stream.isatty())
    for title in ("chips", "batch", "launch"):
        table.add_column(title, justify="left" if title == "launch" else "right")
    for title in ("measured", "predicted", "ratio"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("what ran")
    for record in records:
        predicted = ["-", "-"]
        if "ratio" in record:
            predicted = [format_seconds(record["predicted_s"]), f"{record['ratio']:.3f}"]
        ran = record["framework"] + (f" ({record['reason']})" if "reason" in record else "")
        told = (str(record["chips"]), str(record["batch"]), record["launch"], format_seconds(record["measured_s"]))
        table.add_row(*told, *predicted, ran)
    open_console(stream).print(table)


def open_console(stream: TextIO) -> Console:
    """A console on ``stream``: as wide as the terminal, or without colour and a fixed width when piped."""
    if stream.isatty():
        return Console(file=stream, highlight=False, markup=False, emoji=False)
    return Console(file=stream, width=PLAIN_WIDTH, no_color=True, highlight=False, markup=False, emoji=False)


def new_table(terminal: bool) -> Table:
    """An empty table: ruled on a terminal, blanks between the columns when piped."""
    style = box.SIMPLE_HEAD if terminal else None
    return Table(box=style, padding=(0, 1), collapse_padding=True, pad_edge=False, header_style="bold")


def _print_table(results: pd.DataFrame, console: Console) -> None:
    """One table; times differ between its rows only by chip, count, strategy and launch."""
    first = results.iloc[0]
    differs = bool(first["variation"])
    sequences = f"batch {first['batch']}" if first["phase"] != "train" else f"{first['batch']} sequences"
    kept = "" if first["kv_precision"] == "bf16" else f" (KV cache {first['kv_precision']})"
    said = (first["phase"], f"{first['precision']}{kept}", sequences, f"context {first['context']}")
    more = (first[name] for name in ("parallel", "variation") if first[name])
    console.print(Text.assemble((first["model"], "bold"), *(f"  {words}" for words in (*said, *more))))
    table = new_table(console.is_terminal)
    table.add_column("chips", no_wrap=True)
    table.add_column("strategy", no_wrap=True)
    table.add_column("launch\nmode", no_wrap=True)
    time_title = TIME_TITLES.get(first["phase"], "time per\nstep")
    used = "MFU" if first["phase"] in COMPUTING else "of HBM\nroofline"
    for title in (time_title, "tokens/s\na user", "tokens/s\nin all", used, *PART_TITLES.values()):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("limited by")
    if differs:
        table.add_column("longer than\nalike chips", justify="right")
    notes: list[str] = []
    for (chip, count), group in results.groupby(["chip", "count"], sort=False):
        working = int(group["working"].max())
        name = f"{chip} x{count}" + (f" ({working} work)" if 0 < working < int(group["count"].max()) else "")
        for position, (_, row) in enumerate(group.iterrows()):
            table.add_row(name if position == 0 else "", *_cells(row), end_section=position == len(group) - 1)
            if not row["fits"]:
                notes.append(f"{name} {row['strategy']}: {row['reason']}")
        if not console.is_terminal:
            table.add_row()
    console.print(table)
    if notes:
        console.print("does not fit", style="bold")
        for note in notes:
            console.print(f"  {note}", soft_wrap=True)
        console.print()


def _cells(row: pd.Series) -> list[str]:
    names = [row["strategy"], row["launch"]]
    if not row["fits"]:
        return [*names, "does not fit"]
    speeds = [three_digits(row["tokens_per_s_user"]), three_digits(row["tokens_per_s"])]
    shares = [percent(row[part] / row["seconds"]) for part in PART_COLUMNS]
    longer = [percent(row["seconds"] / row["alike_s"] - 1)] if row["variation"] else []
    used = percent(row["mfu" if row["phase"] in COMPUTING else "roofline_fraction"])
    return [*names, format_seconds(row["seconds"]), *speeds, used, *shares, row["limiter"], *longer]


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        if 1e6 <= abs(value) < 1e12:
            return f"{value:,.0f}"
        return f"{value:,.6g}" if 1e-3 <= abs(value) < 1e6 else f"{value:g}"
    return str(value)


def _plain(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


def _dump(records: Sequence[Mapping[str, object]]) -> str:
    return json.dumps([{key: _plain(value) for key, value in record.items()} for record in records], indent=1)
