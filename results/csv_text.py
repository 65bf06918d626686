"""CSV of frames, to be opened anywhere: a spreadsheet takes a cell that begins so for a formula, and a name may.

Such a text gets an apostrophe in front, which spreadsheets take for the mark of a text, and ``read_csv`` takes off.
"""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import TextIO

import pandas as pd

FORMULA = r"^('*[=+\-@\t\r])"
QUOTED = r"^'('*[=+\-@\t\r])"


def write_csv(frame: pd.DataFrame, to: Path | TextIO) -> None:
    """Write ``frame`` with a line of column names."""
    texts = _texts(frame)
    quoted = frame.assign(**{name: frame[name].str.replace(FORMULA, r"'\1", regex=True) for name in texts})
    quoted.to_csv(to, index=False, lineterminator="\n", encoding="utf-8")


def read_csv(text: str, texts: list[str], numbers: list[str]) -> pd.DataFrame:
    """The frame again, with these columns of text; of ``numbers`` alone a cell may be empty."""
    missing = {name: [""] for name in numbers}  # elsewhere "None" or "NA" could be a name
    frame = pd.read_csv(StringIO(text), dtype=dict.fromkeys(texts, "str"), keep_default_na=False, na_values=missing)
    return frame.assign(**{name: frame[name].str.replace(QUOTED, r"\1", regex=True) for name in _texts(frame)})


def _texts(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame if pd.api.types.is_string_dtype(frame[name])]
