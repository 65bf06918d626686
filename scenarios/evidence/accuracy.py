"""The accuracy document: errors of every table, by size and column, where they come from, and what was fitted.

Belongs here: the document's sections and text. Statistics are in ``results.error_statistics``, which columns matter in
``scenarios.evidence.breakdown``, pictures in ``results.pictures.accuracy``, causes and what others reach in
``accuracy.toml``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chips.generation import GpuGeneration
from chips.spec import load_gpu
from results.error_statistics import absolute_percentage_error, error_statistics, worst_rows
from results.pictures.accuracy import Panels, Times
from results.text_file import read_toml
from results.units import format_quantity
from results.views.markdown import markdown_table
from scenarios.bands import TRAINING, WATTS, Spread, Spreads
from scenarios.evidence.breakdown import FAMILIES, breakdown, percent_text, tables_of
from scenarios.evidence.coefficients import fitted_constants, framework_constants
from scenarios.evidence.held_out import held_out
from scenarios.evidence.tables import Predictions, read_tables

NOTES = read_toml(Path(__file__).parent / "accuracy.toml")
WORST = 4
WORST_SHARE = 0.01
OTHER_GENERATION = {"a100": "h100", "h100": "a100", "b200": "h100", "l40s": "a100"}
"""Whose coefficients a chip gets when it is left out: the generation before its own, or Ampere's the one after."""


def predict_tables(folder: Path, coefficients_of: Mapping[str, GpuGeneration] | None = None) -> list[Predictions]:
    """Every table of ``folder`` predicted; with ``coefficients_of`` only the kernels of the chips that it names."""
    chosen = coefficients_of or {}
    return [
        table
        for path, predict in read_tables(folder, chosen)
        if not chosen or any(path.stem.startswith(f"{chip}_") for chip in chosen)
        for table in predict()
    ]


def panels_of(tables: Sequence[Predictions]) -> Panels:
    """Measured and predicted seconds of every family that has any, a series a chip (or a quantity, for serving)."""
    panels: dict[str, dict[str, Times]] = {}
    for family in FAMILIES:
        series: dict[str, list[Times]] = {}
        for table in (table for table in tables_of(family, tables) if table.unit == "s"):
            names = table.rows["chip"].to_numpy(str) if "chip" in table.rows else np.full(len(table.rows), _chip(table))
            if family.title == "serving":
                names = np.full(len(table.rows), "to first token" if "ttft" in table.table else "per output token")
            for name in dict.fromkeys(names):
                rows = (names == name) & np.isfinite(table.predicted)
                series.setdefault(str(name), []).append((table.measured[rows], table.predicted[rows]))
        found = {name: _joined(parts) for name, parts in series.items()}
        found = {name: times for name, times in found.items() if len(times[0])}
        if found:
            panels[family.title] = found
    return panels


def predict_left_out(folder: Path) -> list[Predictions]:
    """The tables of each measured chip, predicted with the coefficients of another generation."""
    return [
        table
        for chip, donor in OTHER_GENERATION.items()
        for table in predict_tables(folder, {chip: load_gpu(donor).generation})
    ]


def document(
    tables: Sequence[Predictions], left_out: Sequence[Predictions], spreads: Spreads, folder: Path, pictures: str
) -> str:
    """The whole document, Markdown, of the predicted tables in ``folder``.

    ``left_out``: as ``predict_left_out`` gives them; ``spreads``: what bands are made of. ``pictures``: the folder of
    its pictures, as seen from the document.
    """
    return "\n\n".join(_paragraphs(tables, left_out, spreads, folder, pictures)) + "\n"


def _paragraphs(
    tables: Sequence[Predictions], left_out: Sequence[Predictions], spreads: Spreads, folder: Path, pictures: str
) -> Iterator[str]:
    yield "# Accuracy"
    yield (
        "Every figure here is computed by `loopline accuracy -o docs/accuracy.md` from the tables of measured kernels "
        "and published runs. Errors are |predicted / measured - 1|. The bias is the median of predicted / measured: "
        "below 1, predictions are too fast. No row is left out. Two measurements of the same matrix-product library "
        "differ by 4 to 7%, so that less than that means nothing."
    )
    yield "## Every table"
    yield markdown_table([_overview(table) for table in tables])
    yield f"![Predicted against measured times, a panel a family]({pictures}/scatter.png)"
    yield "Each point is a row. On the line, prediction and measurement are equal; the grey band is 20% to either side."
    yield f"![Predicted over measured time, by measured time]({pictures}/error_by_size.svg)"
    yield "Lines are medians by size; the shaded band holds 80% of the rows."
    yield "## Beside others"
    yield (
        "What others publish of their own models, or what their own code gives when it is run. Each is on its own "
        "data, so that only the orders of magnitude compare."
    )
    yield markdown_table([{"model": name} | peer for name, peer in NOTES["peers"].items()])
    yield "## Rows and chips that no fit has seen"
    yield from _held_out(tables)
    yield from _other_generation(tables, left_out)
    yield "## Bands of results"
    yield from _bands(spreads)
    yield "## Where the error is"
    yield "A cell is the mean error and the bias of the rows with this value, and how many they are."
    for family in FAMILIES:
        for column in family.columns:
            records = breakdown(tables_of(family, tables), column)
            if len(records) > 1:
                title = family.title[0].upper() + family.title[1:]
                yield f"### {title} by {column.replace('_', ' ').replace(',', ', ')}"
                yield markdown_table(records)
    yield "## Known causes"
    yield (
        "For each known cause, a condition on the columns picks the rows that it can concern. If the error among them "
        f"is larger than among the others, and they crowd the worst {WORST_SHARE:.0%}, the cause explains something; "
        "the explanations themselves are what we believe, not what we have proved."
    )
    yield markdown_table(list(_causes(tables)))
    yield "## Worst rows"
    yield f"The {WORST} rows of each table with the largest error, and the known causes whose condition they meet."
    yield markdown_table([record for table in tables for record in _worst(table)])
    yield "## What was fitted"
    yield (
        "All other numbers are datasheets, microbenchmarks or the code of the libraries, with their sources in "
        "`loopline chips h100`; these are fitted, once a generation. The interval says how firmly the measurements "
        "hold a constant: alone, it can move that far before the mean error of its tables (a sample of their rows) "
        "grows by a twentieth. Below and beyond: even half or twice the value is tolerated, so that the measurements "
        "hardly say. Seconds, bytes, bytes/s."
    )
    yield markdown_table(fitted_constants(folder))
    yield "The host work of a framework between two passes, in `scenarios/frameworks.toml`:"
    yield markdown_table(framework_constants())


def _overview(table: Predictions) -> dict[str, str]:
    found = error_statistics(table.predicted, table.measured)
    return {
        "table": table.table,
        "rows": f"{found.rows:,}",
        "not predicted": str(found.unpredicted),
        "mean error": percent_text(found.mean_ape),
        "median": percent_text(found.median_ape),
        "90th percentile": percent_text(found.p90_ape),
        "bias": f"{found.bias:.3f}",
    }


def _held_out(tables: Sequence[Predictions]) -> Iterator[str]:
    yield (
        "Kernels were fitted on 70% of their shapes, chosen by a hash of the shape. The other rows are as well "
        "predicted, because a few constants cannot remember tens of thousands of rows. (Collectives were fitted on "
        "70% of their rows as well, drawn at random; the draw is not kept.)"
    )
    records = []
    for table in tables:
        unseen = held_out(table.rows, table.table)
        if unseen.all():
            continue
        seen_error, unseen_error = (
            error_statistics(table.predicted[rows], table.measured[rows]) for rows in (~unseen, unseen)
        )
        records.append(
            {
                "table": table.table,
                "fitted rows": f"{seen_error.rows:,}",
                "their mean error": percent_text(seen_error.mean_ape),
                "held-out rows": f"{unseen_error.rows:,}",
                "their mean error ": percent_text(unseen_error.mean_ape),
            }
        )
    yield markdown_table(records)


def _other_generation(tables: Sequence[Predictions], left_out: Sequence[Predictions]) -> Iterator[str]:
    yield (
        "The harder question is a chip that nobody has measured. Here a chip is left out whole: its datasheet, with "
        "all coefficients taken from another generation. That includes what is known to differ (FlashAttention-2 "
        "against 3, instructions that wait for their operands, the speed of the measured hosts), so that these are "
        "upper limits for a chip of a new generation; another chip of a measured generation changes only its datasheet."
    )
    usual = {table.table: error_statistics(table.predicted, table.measured) for table in tables}
    records = []
    for table in left_out:
        found = error_statistics(table.predicted, table.measured)
        records.append(
            {
                "table": table.table,
                "coefficients": f"of the {OTHER_GENERATION[_chip(table)]}",
                "mean error": percent_text(found.mean_ape),
                "bias": f"{found.bias:.3f}",
                "with its own": percent_text(usual[table.table].mean_ape),
            }
        )
    yield markdown_table(records)


def _bands(spreads: Spreads) -> Iterator[str]:
    yield NOTES["bands"]["made_of"]
    yield markdown_table(
        [
            {
                "part": part,
                "of": chip,
                "measured over predicted, 8 of 10 rows": f"{spread.low:.2f} to {spread.high:.2f}",
                "rows": f"{spread.rows:,}",
                "tables": spread.tables,
            }
            for chip, part, spread in _spreads(spreads)
        ]
    )
    yield NOTES["bands"]["shared"]


def _spreads(spreads: Spreads) -> Iterator[tuple[str, str, Spread]]:
    for generation, families in spreads.kernels.items():
        for family, spread in families.items():
            yield generation, family.replace("_", ", "), spread
    of = {TRAINING: "whole step", WATTS: "power of whole boards"}
    for kind, spread in spreads.runs.items():
        yield kind.replace("_", " "), of.get(kind, "launches, filling, small operators"), spread


def _causes(tables: Sequence[Predictions]) -> Iterator[dict[str, str]]:
    for name, cause in NOTES["mechanisms"].items():
        for table in tables:
            meets = _meets(cause, table)
            if not meets.any():
                continue
            inside, outside = (
                error_statistics(table.predicted[rows], table.measured[rows]) for rows in (meets, ~meets)
            )
            worst = worst_rows(table.predicted, table.measured, max(1, round(WORST_SHARE * len(meets))))
            yield {
                "cause": name.replace("_", " "),
                "table": table.table,
                "rows": f"{inside.rows:,} of {len(meets):,}",
                "mean error, bias": f"{percent_text(inside.mean_ape)}, {inside.bias:.2f}",
                "of the others": f"{percent_text(outside.mean_ape)}, {outside.bias:.2f}",
                f"of the worst {WORST_SHARE:.0%}": f"{np.mean(meets[worst]):.0%}",
                "explanation": cause["explanation"],
            }


def _meets(cause: Mapping[str, Any], table: Predictions) -> NDArray[np.bool_]:
    if not re.fullmatch(cause["tables"], table.table):
        return np.zeros(len(table.rows), dtype=bool)
    return np.asarray(table.rows.eval(cause["where"], engine="python"), dtype=bool)


def _worst(table: Predictions) -> Iterator[dict[str, str]]:
    meeting = {name: _meets(cause, table) for name, cause in NOTES["mechanisms"].items()}
    errors = absolute_percentage_error(table.predicted, table.measured)
    left_out = (
        "us",
        "seconds",
        "source",
        "ttft_ms",
        "tpot_ms",
        "watts_all",
        "joules_per_output_token",
        "backend",
        "backend_version",
        "pp_size",
    )
    for position in worst_rows(table.predicted, table.measured, WORST):
        row = table.rows.iloc[position]
        shape = ", ".join(f"{name} {_plain(value)}" for name, value in row.items() if name not in left_out)
        causes = [name.replace("_", " ") for name, meets in meeting.items() if meets[position]]
        yield {
            "table": table.table,
            "row": shape,
            "measured": format_quantity(float(table.measured[position]), table.unit),
            "predicted": format_quantity(float(table.predicted[position]), table.unit),
            "error": f"{errors[position]:.0%}",
            "cause": ", ".join(causes) or "not known",
        }


def _plain(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _chip(table: Predictions) -> str:
    return table.table.split("_")[0]


def _joined(parts: Sequence[Times]) -> Times:
    measured, predicted = zip(*parts, strict=True)
    return np.concatenate(measured), np.concatenate(predicted)
