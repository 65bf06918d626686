"""How long prompts and answers are: all alike, drawn from a distribution, or the rows of a file."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from results.text_file import read_text
from scenarios.errors import ScenarioError

MOST_BYTES = 2**28  # of a file of lengths: millions of requests
PROMPT_NAMES = ("input_tokens", "prompt_tokens", "ContextTokens", "input_length")
OUTPUT_NAMES = ("output_tokens", "completion_tokens", "GeneratedTokens", "output_length")
TIME_NAMES = {"arrival_s": 1.0, "TIMESTAMP": None, "timestamp": 1e-3}
"""Seconds of a unit; None: a date. What Azure's traces and Mooncake's call them, besides our own."""
DISTRIBUTION = re.compile(r"(uniform|lognormal)=(\d*\.?\d+)")
FORMS = "fixed, uniform=0.8 (80 to 100% of the stated tokens), lognormal=0.5 (sigma) or a .csv or .jsonl file"


@dataclass(frozen=True)
class Drawn:
    """Tokens of each prompt and answer; ``arrivals``: seconds since the first, where a file says them."""

    prompts: list[int]
    outputs: list[int]
    arrivals: list[float] | None = None


@dataclass(frozen=True)
class Lengths:
    """How long they are. ``kind``: fixed, uniform (from ``spread`` times the stated tokens up to these), lognormal (the
    stated tokens are means, ``spread`` the sigma of the logarithm), or the ``rows`` of a file in turn, over and over.
    """

    kind: str = "fixed"
    spread: float = 1.0
    rows: Drawn | None = None

    @classmethod
    def parse(cls, text: str) -> Lengths:
        """What a user types. Raises ScenarioError."""
        found = DISTRIBUTION.fullmatch(text.strip())
        if text.strip() == "fixed":
            return cls()
        if found:
            kind, spread = found[1], float(found[2])
            if not (0.0 < spread <= 1.0 if kind == "uniform" else 0.0 < spread <= 3.0):
                raise ScenarioError(
                    f"--lengths {text:.80}: the share of uniform is above 0 and at most 1, the sigma of lognormal at "
                    "most 3."
                )
            return cls(kind, spread)
        if Path(text).suffix.lower() in (".csv", ".jsonl"):
            return cls("file", rows=read_lengths(Path(text)))
        raise ScenarioError(f"--lengths {text:.80}: expected {FORMS}.")

    def draw(self, count: int, input_tokens: int, output_tokens: int, chance: np.random.Generator) -> Drawn:
        """``count`` requests of these tokens, unless a file says others. Raises ScenarioError."""
        if self.rows is not None:
            return _repeated(self.rows, count)
        if self.kind == "fixed":
            return Drawn([input_tokens] * count, [output_tokens] * count)
        prompts, outputs = (self._drawn(count, stated, chance) for stated in (input_tokens, output_tokens))
        return Drawn(prompts, outputs)

    def _drawn(self, count: int, stated: int, chance: np.random.Generator) -> list[int]:
        if self.kind == "uniform":
            least = max(1, round(stated * self.spread))
            return [int(value) for value in chance.integers(least, stated + 1, count)]
        mean = np.log(stated) - self.spread**2 / 2.0  # of the logarithm, so that tokens have the stated mean
        return [max(1, round(float(value))) for value in chance.lognormal(mean, self.spread, count)]


def read_lengths(path: Path) -> Drawn:
    """Requests of a CSV file or of JSON lines: a column of prompt tokens, one of output tokens, perhaps one of times.

    With times, in their order. Raises ScenarioError, naming the file, the row and the column.
    """
    text = read_text(path, MOST_BYTES)
    rows = _json_lines(text, path) if path.suffix.lower() == ".jsonl" else list(csv.DictReader(io.StringIO(text)))
    if not rows:
        raise ScenarioError(f"{path}: holds no requests.")
    prompt, output = (_column(rows[0], names, path) for names in (PROMPT_NAMES, OUTPUT_NAMES))
    times = next((name for name in TIME_NAMES if name in rows[0]), None)
    prompts = [_tokens(row.get(prompt), f"{path}, row {number}, '{prompt}'") for number, row in enumerate(rows, 1)]
    outputs = [_tokens(row.get(output), f"{path}, row {number}, '{output}'") for number, row in enumerate(rows, 1)]
    if times is None:
        return Drawn(prompts, outputs)
    arrivals = [
        _seconds(row.get(times), TIME_NAMES[times], f"{path}, row {number}, '{times}'")
        for number, row in enumerate(rows, 1)
    ]
    order = sorted(range(len(arrivals)), key=arrivals.__getitem__)
    prompts, outputs = ([column[place] for place in order] for column in (prompts, outputs))
    return Drawn(prompts, outputs, [arrivals[place] - arrivals[order[0]] for place in order])


def _json_lines(text: str, path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise ScenarioError(f"{path}, line {number}: expected a JSON object a line.")
            rows.append(row)
    return rows


def _column(row: dict[str, Any], names: tuple[str, ...], path: Path) -> str:
    found = next((name for name in names if name in row), None)
    if found is None:
        raise ScenarioError(
            f"{path}: there is no column {' or '.join(names)}; there are {', '.join(map(str, row)) or 'none'}."
        )
    return found


def _tokens(value: object, place: str) -> int:
    try:
        tokens = float(str(value))
    except ValueError:
        tokens = 0.0
    if not (1 <= tokens < 2**31 and tokens == int(tokens)):
        raise ScenarioError(f"{place} is {value!r:.80}; expected a whole number of tokens, at least 1.")
    return int(tokens)


def _seconds(value: object, unit: float | None, place: str) -> float:
    try:
        seconds = datetime.fromisoformat(_cut(str(value))).timestamp() if unit is None else float(str(value)) * unit
    except ValueError:
        seconds = float("nan")
    if not abs(seconds) < 1e12:
        kind = "a date and time" if unit is None else "a time"
        raise ScenarioError(f"{place} is {value!r:.80}; expected {kind}.")
    return seconds


def _cut(date: str) -> str:
    """A date with no more than the microseconds that Python reads; Azure's traces have tenths of them."""
    return re.sub(r"(\.\d{6})\d+", r"\1", date.strip())


def _repeated(rows: Drawn, count: int) -> Drawn:
    """``count`` requests of a file, over and over, each round as long as the one before."""
    length = len(rows.prompts)
    places = [number % length for number in range(count)]
    arrivals = None
    if rows.arrivals is not None:
        last = rows.arrivals[-1]
        turn = last + (last / (length - 1) if length > 1 else 1.0)
        arrivals = [rows.arrivals[number % length] + number // length * turn for number in range(count)]
    return Drawn([rows.prompts[place] for place in places], [rows.outputs[place] for place in places], arrivals)
