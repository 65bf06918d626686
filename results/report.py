"""A report: one self-contained HTML page of a frame: its answer, pictures, an interactive chart, rows and versions.

Needs no network: pictures are inline SVG, style and script stand in the page, and its security policy forbids the rest.
"""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from results.analysis import inputs_of, pivot, unmeasured_kernels, varied
from results.answer import answer
from results.atomic_file import written_beside
from results.errors import SchemaError
from results.pictures.canvas.palette import readable, strategy_styles
from results.pictures.kinds import plot
from results.schema import COLUMNS, PART_COLUMNS, SETTING
from results.units import format_seconds, percent, three_digits
from results.words import SAME_LAUNCH

# The page stays quick with so many rows in its chart and table; a sweep has more, and its pictures show all.
MOST_ROWS = 2000
MOST_COMMANDS = 12
MOST_BARS = 60  # more are longer than a screen
MOST_CHOICES = 24  # values of an input that are offered as check boxes
ENERGY_NUMBERS = ("joules_per_token", "watts")
NUMBERS = ("seconds", "tokens_per_s_user", "tokens_per_s", *ENERGY_NUMBERS, "roofline_fraction", *PART_COLUMNS)
SHOWN = ("tokens_per_s_user", "tokens_per_s", "seconds", "joules_per_token", "watts", "roofline_fraction", "mfu")
CAPTIONS = {
    "breakdown": "Where the time of each point goes.",
    "scaling": "Tokens a second against chips; dashed lines are ideal, percentages the efficiency at the last point.",
    "heatmap": "How many times as fast the looped kernel is as a kernel for each operator.",
    "pareto": "The speed of one user against the throughput of a chip; nothing beats the points on the line in both.",
}
ENERGY_CAPTIONS = {
    "breakdown": "Where the energy of each point goes.",
    "heatmap": "How many times less energy the looped kernel takes than a kernel for each operator.",
    "pareto": "The speed of one user against the tokens of a joule; nothing beats the points on the line in both.",
}
# What each kind shows on its own; of large frames the rest is fixed at its first value.
SHOWN_BY = {
    "breakdown": ("chip", "count", "strategy"),
    "scaling": ("chip", "count", "strategy"),
    "heatmap": ("chip", "count", "strategy", "batch"),
    "pareto": ("chip", "count", "strategy", "batch"),
}
FORMS = {"seconds": format_seconds, "roofline_fraction": percent, "mfu": percent}


@dataclass(frozen=True)
class Figure:
    """A picture in the page: its SVG, what it shows, and which rows."""

    svg: str
    caption: str


def report(results: pd.DataFrame, path: str | Path, source: str = "") -> None:
    """Write the page, whole or not at all. ``source``: what was read, named in the page. Raises OutputError."""
    with written_beside(Path(path)) as beside:
        beside.write_text(page_text(results, source), encoding="utf-8")


def page_text(results: pd.DataFrame, source: str = "") -> str:
    """The page as text. ``results``: a frame of the schema; the manifest of a sweep is in its ``attrs``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("results", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    manifest = results.attrs.get("manifest", {})
    results = results.copy(deep=False)
    results.attrs = {}  # pandas copies them with every group
    shown = _thinned(results)
    several = varied(results)
    return environment.get_template("report.html.jinja").render(
        question=manifest.get("question") or _question(results),
        answer=answer(results),
        figures=list(_figures(results)),
        sides=_side_by_side(results),
        filters={name: list(results[name].unique()) for name in several if results[name].nunique() <= MOST_CHOICES},
        horizontal=[name for name in several if results[name].dtype == "int64"] or ["count"],
        vertical=SHOWN,
        names={name: _title(name) for name in (*several, *COLUMNS)},
        rows=[_cells(row, several) for row in shown.to_dict("records")],
        columns=[*(several or ["chip"]), *SHOWN, "limiter"],
        common={name: results[name].iloc[0] for name in inputs_of(results) if results[name].nunique() == 1},
        total=len(results),
        unfit=_unfit(results),
        unmeasured=unmeasured_kernels(results),
        data=_embedded(_data(shown, several) | _styles(results)),
        scenario=toml_of(manifest["scenario"]) if "scenario" in manifest else "",
        commands=[] if manifest else _commands(results),
        source=source,
        versions=_versions(manifest),
        meanings=COLUMNS,
    )


def _question(results: pd.DataFrame) -> str:
    models, phases, chips = (", ".join(results[name].unique()) for name in ("model", "phase", "chip"))
    return f"Where does the time of {models} ({phases}) go on {chips}, and what do kernel boundaries cost?"


def _figures(results: pd.DataFrame) -> Iterator[Figure]:
    """Every kind of picture that the frame has enough for: of all rows or, where they are too many, of one setting."""
    told: list[tuple[str, str, dict[str, str]]] = [(kind, caption, {}) for kind, caption in CAPTIONS.items()]
    told += [(kind, caption, {"of": "joules"}) for kind, caption in ENERGY_CAPTIONS.items()]
    for kind, caption, options in told:
        if kind == "pareto" and results["batch"].nunique() < 2:
            continue  # without a choice of batch there is no trade
        for rows, only in ((results, ""), _one_setting(results, SHOWN_BY[kind])):
            if kind == "breakdown" and not only and len(rows) > MOST_BARS:
                continue
            try:
                picture = plot(rows, kind, **options)
            except SchemaError:
                continue
            yield Figure(
                picture.inline_svg("-".join((kind, *options.values()))), f"{caption} Only {only}." if only else caption
            )
            break


def _one_setting(results: pd.DataFrame, shown: tuple[str, ...]) -> tuple[pd.DataFrame, str]:
    """The rows in which inputs that are not ``shown`` have their first value, and these values in words."""
    fixed = {name: results[name].iloc[0] for name in varied(results) if name not in shown}
    for name, value in fixed.items():
        results = results.loc[results[name] == value]
    return results, ", ".join(f"{readable(name)} {value}" for name, value in fixed.items())


def _side_by_side(results: pd.DataFrame) -> dict[str, object] | None:
    """Times of the strategies beside each other for one setting, a row a chip and count; None without two."""
    rows, only = _one_setting(results, SHOWN_BY["breakdown"])
    if rows["strategy"].nunique() < 2 or rows.duplicated(["chip", "count", "strategy"]).any():
        return None
    times = pivot(rows)
    head = ["chip", "chips", *(readable(name) for name in times.columns), "from the first to the last"]
    body = [
        [str(chip), str(count), *map(format_seconds, each), _times(each[0] / each[-1])]
        for (chip, count), each in zip(times.index, times.to_numpy(), strict=True)
    ]
    return {"head": head, "body": body, "only": only}


def _times(ratio: float) -> str:
    return "-" if pd.isna(ratio) else f"{three_digits(ratio)} times as fast"


def _thinned(results: pd.DataFrame) -> pd.DataFrame:
    """At most ``MOST_ROWS`` rows in their order: a random choice, the same each time."""
    return results if len(results) <= MOST_ROWS else results.sample(MOST_ROWS, random_state=0).sort_index()


def _cells(row: Mapping[Hashable, Any], inputs: list[str]) -> list[str]:
    cells = [f"{row[name]:,}" if not isinstance(row[name], str) else readable(row[name]) for name in inputs or ["chip"]]
    if not row["fits"]:
        return [*cells, "does not fit", "-", "-", "-", "-"]
    return [*cells, *(FORMS.get(name, three_digits)(row[name]) for name in SHOWN), row["limiter"]]


def _unfit(results: pd.DataFrame) -> list[tuple[str, int]]:
    """Reasons for what does not fit, each with how many rows it holds for, the most frequent first."""
    reasons = results.loc[~results["fits"], "reason"].value_counts()
    return [(str(reason), int(rows)) for reason, rows in reasons.items()][:MOST_COMMANDS]


def _data(shown: pd.DataFrame, inputs: list[str]) -> dict[str, Any]:
    """Columns as arrays, null where nothing fits, for the page's script."""
    columns = {name: shown[name].tolist() for name in dict.fromkeys([*inputs, "chip", "count", "strategy"])}
    numbers = {name: [None if pd.isna(value) else value for value in shown[name]] for name in NUMBERS}
    return {
        "inputs": columns,
        "numbers": numbers,
        "limiter": shown["limiter"].tolist(),
        "titles": {name: _title(name) for name in (*columns, *NUMBERS)},
    }


def _styles(results: pd.DataFrame) -> dict[str, Any]:
    """What the script draws by: a colour for each strategy, and chips in their order, by which it dashes lines."""
    colours = {name: {"colour": colour} for name, (colour, _) in strategy_styles(results["strategy"].unique()).items()}
    return {"styles": colours, "chips": list(results["chip"].unique())}


def _embedded(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def toml_of(scenario: dict[str, Any]) -> str:
    """A scenario as the file that ``loopline sweep`` reads."""
    import tomlkit

    document = tomlkit.document()
    for key, value in scenario.items():
        document[key] = tomlkit.inline_table() | value if isinstance(value, dict) else value
    return tomlkit.dumps(document)


def _commands(results: pd.DataFrame) -> list[str]:
    """Commands that compute these rows again, one for each setting beside chips, counts and strategies."""
    commands = []
    same = SAME_LAUNCH["dataflow"]
    asked_for = {
        word: [each for each in results["launch"].unique() if same.get(each) == word] for word in same.values()
    }
    # A command names one word for chips of all kinds, where only one of the other kind's means the same.
    named = {word: words[0] for word, words in asked_for.items() if len(words) == 1}
    launches = results["launch"].replace(named).rename("launch_named")
    for (*setting, launch), rows in results.groupby([*SETTING, launches], sort=False):
        chips, counts, names = (map(str, rows[name].unique()) for name in ("chip", "count", "strategy"))
        asked = dict(zip(SETTING, map(str, setting), strict=True))
        words = [asked.pop("model"), "--chips", *chips, "--count", *counts, "--strategy", *names]
        words += [word for name, value in asked.items() if value for word in (f"--{name}", value)]
        command = f"loopline compare {shlex.join([*words, '--launch', str(launch)])}"
        commands.append(command)
    if len(commands) > MOST_COMMANDS:
        return [*commands[:MOST_COMMANDS], f"# and {len(commands) - MOST_COMMANDS} more of this form"]
    return commands


def _versions(manifest: dict[str, Any]) -> dict[str, str]:
    """Of what computed the results, as far as it is known, and of what wrote the page."""
    try:
        installed = version("loopline")
    except PackageNotFoundError:
        installed = "not installed"
    priced = {"results priced by loopline": str(manifest["version"])} if "version" in manifest else {}
    return priced | {
        "page written by loopline": installed,
        "Python": platform.python_version(),
        "pandas": version("pandas"),
        "matplotlib": version("matplotlib"),
    }


def _title(name: str) -> str:
    titles = {
        "seconds": "time",
        "tokens_per_s_user": "tokens/s of one user",
        "tokens_per_s": "tokens/s in all",
        "roofline_fraction": "of HBM roofline",
        "mfu": "MFU",
        "limiter": "limited by",
        "count": "chips",
        "chip": "chip",
    }
    return titles.get(name) or readable(name.removesuffix("_s"))
