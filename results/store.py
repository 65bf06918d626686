"""Results on disk: frames of the schema read from and written to Parquet, CSV, JSON, and folders of Parquet parts.

What a sweep writes is a folder of ``part-*.parquet`` with a ``manifest.json`` (what was asked, which versions
answered); ``load`` reads it whole, and keeps the manifest in ``frame.attrs["manifest"]``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from results.atomic_file import OutputError, written_beside
from results.errors import ReadError, SchemaError
from results.schema import COLUMNS, PhysicsError, checked
from results.table import json_records
from results.text_file import read_json, read_text

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest.json"
PARTS_PATTERN = "part-*.parquet"
MOST_TEXT_BYTES = 2**30  # of results: about a million rows


def load(path: str | Path) -> pd.DataFrame:
    """The results at ``path``, checked: a sweep's folder, or a .parquet, .csv or .json file of the schema's columns.

    Other columns stay, after the schema's. ``attrs["manifest"]`` holds a folder's manifest. Raises ReadError.
    """
    path = Path(path)
    if not path.exists():
        raise ReadError(f"{path}: there is no such file or folder.")
    reader = _read_folder if path.is_dir() else _READERS.get(path.suffix.lower())
    if reader is None:
        raise ReadError(
            f"{path}: results are a {', '.join(_READERS)} file or a sweep's folder, not '{path.suffix or path.name}'."
        )
    try:
        results = reader(path)
        if results.empty:
            raise ReadError(f"{path}: holds no results.")
        return checked(results)
    except (SchemaError, PhysicsError) as error:
        raise ReadError(f"{path}: {error}") from None
    except ReadError:
        raise
    except ValueError:  # of Arrow, pandas or json, which tell of their own insides
        raise ReadError(f"{path} {_BROKEN[path.suffix.lower()]}.") from None
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror or 'broken'}.") from None


def check_path(path: Path) -> None:
    """Raise OutputError in one sentence unless a frame can be saved at ``path``, by its suffix and its folder."""
    if path.suffix.lower() not in _WRITERS:
        raise OutputError(f"{path}: results are saved as {', '.join(_WRITERS)}, not '{path.suffix or path.name}'.")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder '{path.parent}' does not exist.")


def save(results: pd.DataFrame, path: str | Path) -> None:
    """Write a frame of the schema, whole or not at all, to a .parquet, .csv or .json file that ``load`` reads back.

    Every value comes back as it was, bit for bit. Parquet also holds what each column means, and its unit. Raises
    SchemaError if it is not of the schema, OutputError if ``path`` cannot be written.
    """
    path = Path(path)
    check_path(path)
    held = checked(results)
    with written_beside(path) as beside:
        _WRITERS[path.suffix.lower()](held, beside)


def _read_folder(path: Path) -> pd.DataFrame:
    import pyarrow.dataset as ds

    parts = sorted(path.glob(PARTS_PATTERN))
    if not parts:
        raise ReadError(f"{path}: a sweep's folder holds files {PARTS_PATTERN}, and this one has none.")
    try:
        results: pd.DataFrame = ds.dataset([str(part) for part in parts], format="parquet").to_table().to_pandas()
    except (OSError, ValueError):
        broken = next((part for part in parts if not _is_parquet(part)), path)
        raise ReadError(
            f"{broken} is no whole Parquet file; delete it, and the same `loopline sweep` prices it again."
        ) from None
    manifest = path / MANIFEST
    try:
        results.attrs = {"manifest": read_json(manifest)} if manifest.is_file() else {}
    except ValueError:
        raise ReadError(f"{manifest} is no manifest of a sweep; `loopline sweep ... --fresh` starts over.") from None
    return results


def _is_parquet(path: Path) -> bool:
    import pyarrow.parquet as pq

    try:
        pq.read_table(path)
    except (OSError, ValueError):
        return False
    return True


def _read_csv(path: Path) -> pd.DataFrame:
    floats = {name: [""] for name, column in COLUMNS.items() if column.dtype == "float64"}
    texts = {name: "str" for name, column in COLUMNS.items() if column.dtype == "str"}
    # Only floats may be missing; "None" or "NA" could be a name.
    return pd.read_csv(StringIO(read_text(path, MOST_TEXT_BYTES)), dtype=texts, keep_default_na=False, na_values=floats)


def _read_json(path: Path) -> pd.DataFrame:
    records = read_json(path, MOST_TEXT_BYTES)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ReadError(f"{path}: expected a list of records, as `loopline compare --json` prints them.")
    return pd.DataFrame(records)


def _write_parquet(results: pd.DataFrame, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(described(results), path)


def described(results: pd.DataFrame) -> pa.Table:
    """The frame as an Arrow table whose fields say in their metadata what a column means, and its unit."""
    import pyarrow as pa

    table = pa.Table.from_pandas(results, preserve_index=False)
    fields = [
        field.with_metadata({"meaning": COLUMNS[field.name].meaning, "unit": COLUMNS[field.name].unit})
        if field.name in COLUMNS
        else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields, metadata=table.schema.metadata))


def _write_csv(results: pd.DataFrame, path: Path) -> None:
    results.to_csv(path, index=False, lineterminator="\n")


def _write_json(results: pd.DataFrame, path: Path) -> None:
    path.write_text(json.dumps(json_records(results), indent=1), encoding="utf-8")


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": pd.read_parquet,
    ".csv": _read_csv,
    ".json": _read_json,
}
# What is said of a file whose suffix promises what it is not.
_BROKEN = {
    ".parquet": "is no whole Parquet file; compute it again",
    ".csv": "is no CSV with a line of column names, as `loopline compare --csv` prints it",
    ".json": "is not valid JSON; expected a list of records, as `loopline compare --json` prints them",
}
_WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".json": _write_json,
}
