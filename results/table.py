"""Results as text: tables for a terminal, plain when piped, CSV and JSON."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, Literal, TextIO

import pandas as pd

from results.analysis import unmeasured_kernels
from results.printed_table import Column, print_line, print_table
from results.schema import BAND, COLUMNS, SETTING
from results.units import format_seconds, percent, three_digits
from results.words import BOUNDARY_COLUMNS, BOUNDARY_PARTS

Form = Literal["table", "csv", "json"]
TOO_CLOSE = (
    "too close to tell apart: they differ by less than 8 of 10 predictions of what they do not share have been off by "
    "(docs/accuracy.md)"
)
FORMULA = r"^('*[=+\-@\t\r])"
QUOTED = r"^'('*[=+\-@\t\r])"

# Of each column its title and its rank: what a narrow terminal leaves out first has the highest (``printed_table``).
PART_TITLES = {
    "matmul_s": ("matmul", 7),
    "attention_s": ("atten-\ntion", 9),
    "other_s": ("other", 12),
    "allreduce_s": ("All-\nReduce", 8),
    "launch_s": ("launch\ngaps", 3),
    "host_s": ("host", 4),
    "dependency_s": ("depend-\nencies", 5),
    "fill_drain_s": ("fill +\ndrain", 11),
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
        for _, same in results.groupby(list(SETTING), sort=False):
            _print_table(same, stream)
        for line in unmeasured_kernels(results):
            print_line(line, stream)
        if too_close:
            print_line(TOO_CLOSE, stream, bold=True)
            for line in too_close:
                print_line(line, stream, indent="  ")


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
    """The rows as records of plain values; NaN becomes None.

    ``columns``: None: those of the schema, of money and of boundaries.
    """
    known = (*COLUMNS, *COST, *BOUNDARY_COLUMNS)
    names = [name for name in results if name in known] if columns is None else list(columns)
    records = results[names].to_dict("records")
    return [{str(key): _plain(value) for key, value in record.items()} for record in records]


def print_records(
    records: Sequence[Mapping[str, object]], stream: TextIO, *, json: bool = False, least: Sequence[str] = ()
) -> None:
    """Print any records (a catalog, a datasheet) as a table whose columns are their keys, or as JSON.

    ``least``: keys in the order in which a narrow terminal leaves them out; after them those to the right go first.
    Texts in front of the first number are the names of rows and stay.
    """
    if json:
        print(_dump(records), file=stream)
        return
    names = list(dict.fromkeys(name for record in records for name in record))
    columns: list[Column] = []
    for place, name in enumerate(names):
        cells = [_cell(record.get(name)) for record in records]
        title = name.replace("_", " ")
        widest = max(len(title) // 2 + 1, *map(len, [*cells, *title.split()]))
        column = Column("\n".join(textwrap.wrap(title, widest)) if "\n" not in title else title, cells)
        named = place == 0 or (not column.ends_right and all(not each.rank for each in columns))
        rank = len(names) + len(least) - least.index(name) if name in least else 0 if named else place
        columns.append(replace(column, rank=rank))
    if records:
        print_table(columns, stream)


def print_boundaries(records: Sequence[Mapping[str, Any]], stream: TextIO) -> None:
    """Print the records of ``scenarios.anatomy.boundary``: a row a mode, microseconds a boundary, what a part saves."""
    there = [record for record in records if "reason" not in record]

    def cells(told: Callable[[Mapping[str, Any]], str], otherwise: str = "") -> list[str]:
        return [otherwise if "reason" in record else told(record) for record in records]

    def saves_most(record: Mapping[str, Any]) -> str:
        best = max(BOUNDARY_PARTS, key=lambda part: record[f"{part}_saves_s"])
        return f"{best}: {percent(record[f'{best}_saves_s'] / record['seconds'])}"

    def each(part: str) -> Callable[[Mapping[str, Any]], str]:
        return lambda record: f"{record[f'{part}_us']:.2f}"

    columns = [
        Column("mode", [record["mode"] for record in records], right=False),
        Column("time of\na pass", cells(lambda record: format_seconds(record["seconds"]), "not there"), right=True),
        Column("bound-\naries", cells(lambda record: f"{record['boundaries']:,}"), 2, right=True),
        *(Column(f"{part[:6]},\nus each", cells(each(part)), 3, right=True) for part in BOUNDARY_PARTS if there),
        Column("without\nany", cells(lambda record: format_seconds(record["without"])), right=True),
        Column("one part alone\nsaves most", cells(saves_most), 1, right=False),
    ]
    print_table(columns, stream)
    for record in records:
        if "reason" in record:
            print_line(f"{record['mode']}: {record['reason']}", stream, indent="  ")


def print_published(records: Sequence[Mapping[str, Any]], stream: TextIO) -> None:
    """Print the records of ``scenarios.evidence.published.beside``: measured and predicted, a row a run."""
    told = []
    for record in records:
        known = "ratio" in record
        told.append(
            {
                "chips": record["chips"],
                "batch": record["batch"],
                "launch": record["launch"],
                "measured": format_seconds(record["measured_s"]),
                "predicted": format_seconds(record["predicted_s"]) if known else "-",
                "ratio": f"{record['ratio']:.3f}" if known else "-",
                "what ran": record["framework"] + (f" ({record['reason']})" if "reason" in record else ""),
            }
        )
    print_records(told, stream)


def _print_table(results: pd.DataFrame, stream: TextIO) -> None:
    """One table; times differ between its rows only by chip, count, strategy and launch."""
    first = results.iloc[0]
    sequences = f"batch {first['batch']}" if first["phase"] != "train" else f"{first['batch']} sequences"
    kept = "" if first["kv_precision"] == "bf16" else f" (KV cache {first['kv_precision']})"
    said = (first["model"], first["phase"], f"{first['precision']}{kept}", sequences, f"context {first['context']}")
    more = (first[name] for name in ("parallel", "variation") if first[name])
    print_line("  ".join((*said, *more)), stream, bold=True)
    names: list[str] = []
    notes: list[str] = []
    last_rows: list[int] = []
    for (chip, count), group in results.groupby(["chip", "count"], sort=False):
        working = int(group["working"].max())
        name = f"{chip} x{count}" + (f" ({working} work)" if 0 < working < int(group["count"].max()) else "")
        names += [name, *[""] * (len(group) - 1)]
        last_rows.append(len(names) - 1)
        notes += [f"{name} {row['strategy']}: {row['reason']}" for _, row in group.iterrows() if not row["fits"]]
    grouped = pd.concat([group for _, group in results.groupby(["chip", "count"], sort=False)])
    print_table([Column("chips", names, right=False), *_columns(grouped)], stream, last_rows)
    if notes:
        print_line("does not fit", stream, bold=True)
        for note in notes:
            print_line(note, stream, indent="  ")
        print(file=stream)


def _columns(rows: pd.DataFrame) -> list[Column]:
    """The columns behind the name of the chips; of rows that do not fit all are empty but the time, which says so."""
    first = rows.iloc[0]
    computing = first["phase"] in COMPUTING

    def cells(told: pd.Series, form: Callable[[float], str]) -> list[str]:
        return [form(value) if fits else "" for value, fits in zip(told, rows["fits"], strict=True)]

    times = [
        format_seconds(seconds) if fits else "does not fit"
        for seconds, fits in zip(rows["seconds"], rows["fits"], strict=True)
    ]
    columns = [
        Column("strategy", list(rows["strategy"]), right=False),
        Column("launch\nmode", list(rows["launch"]), right=False),
        Column(TIME_TITLES.get(first["phase"], "time per\nstep"), times, right=True),
        Column("+-, 8\nof 10", [_band(row) if row["fits"] else "" for _, row in rows.iterrows()], 1, right=True),
        Column("tokens/s\na user", cells(rows["tokens_per_s_user"], three_digits), 10, right=True),
    ]
    if not rows["tokens_per_s"].equals(rows["tokens_per_s_user"]):
        columns.append(Column("tokens/s\nin all", cells(rows["tokens_per_s"], three_digits), 14, right=True))
    used = cells(rows["mfu" if computing else "roofline_fraction"], percent)
    columns.append(Column("MFU" if computing else "of HBM\nroof", used, 13, right=True))
    if "boundary_s" in rows and rows["boundary_s"].notna().any():
        costs = cells(rows["boundary_s"] / rows["seconds"], percent)
        launches = cells(rows["launches"], lambda number: "-" if math.isnan(number) else f"{number:,.0f}")
        columns.append(Column("bound-\naries\ncost", costs, 2, right=True))
        columns.append(Column("kernels\nlaun-\nched", launches, 6, right=True))
    columns += [
        Column(title, cells(rows[part] / rows["seconds"], percent), rank, right=True)
        for part, (title, rank) in PART_TITLES.items()
    ]
    columns.append(Column("limited\nby", list(rows["limiter"]), right=False))
    if first["variation"]:
        longer = cells(rows["seconds"] / rows["alike_s"] - 1, percent)
        columns.append(Column("longer than\nalike chips", longer, 1, right=True))
    return columns


def _band(row: pd.Series) -> str:
    """How far below and above its time 8 of 10 measurements may lie, percent."""
    below, above = (abs(row[end] / row["seconds"] - 1) * 100 for end in BAND)
    return f"-{below:.0f} +{above:.0f}%"


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
