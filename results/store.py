"""Results on disk: frames of the schema read from and written to Parquet, CSV, JSON, and folders of Parquet parts.

What a sweep writes is a folder of ``part-*.parquet`` with a ``manifest.json`` (what was asked, which versions
answered); ``load`` reads it whole, and keeps the manifest in ``frame.attrs["manifest"]``. No damaged byte of Parquet is
read: ``results.sealed_parquet``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from results.atomic_file import OutputError, written_beside
from results.errors import ReadError, SchemaError
from results.manifest import MANIFEST, Manifest, part_path, read_manifest
from results.schema import COLUMNS, PhysicsError, checked
from results.sealed_parquet import is_sealed, read_frame, sealed
from results.table import json_records, read_csv, write_csv
from results.text_file import read_json, read_text

if TYPE_CHECKING:
    import pyarrow as pa

MOST_TEXT_BYTES = 2**30  # of results: about a million rows


def load(path: str | Path) -> pd.DataFrame:
    """The results at ``path``, checked: a sweep's folder, or a .parquet, .csv or .json file of the schema's columns.

    Other columns stay, after the schema's. ``attrs["manifest"]`` holds a folder's manifest. Raises ReadError.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise ReadError(f"{path}: there is no such file or folder.")
        results = _reader(path)(path)
        if results.empty:
            raise ReadError(f"{path}: holds no results.")
        return checked(results)
    except (SchemaError, PhysicsError) as error:
        raise ReadError(f"{path}: {error}") from None
    except ReadError:
        raise
    except ValueError:  # of pandas or json, which tell of their own insides
        raise ReadError(f"{path} {_BROKEN.get(path.suffix.lower(), 'is no table of results')}.") from None
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror or 'broken'}.") from None


def _reader(path: Path) -> Callable[[Path], pd.DataFrame]:
    reader = _read_folder if path.is_dir() else _READERS.get(path.suffix.lower())
    if reader is None:
        raise ReadError(
            f"{path}: results are a {', '.join(_READERS)} file or a sweep's folder, not '{path.suffix or path.name}'."
        )
    return reader


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
    save_table(checked(results), path)


def save_table(table: pd.DataFrame, path: str | Path) -> None:
    """The same of a frame with other columns, such as those of ``results.served``, which ``load`` does not read."""
    path = Path(path)
    check_path(path)
    with written_beside(path) as beside:
        _WRITERS[path.suffix.lower()](table, beside)


def _read_folder(path: Path) -> pd.DataFrame:
    import pyarrow as pa

    manifest = read_manifest(path)
    if manifest is None:
        raise ReadError(f"{path}: a sweep's folder holds a {MANIFEST}, and this one has none.")
    numbers = [number for number in range(manifest.parts) if part_path(path, number).exists()]
    strangers = {part.name for part in path.glob("part-*")} - {part_path(path, number).name for number in numbers}
    if strangers:
        raise ReadError(f"{path} holds {min(strangers)}, which is no part of its sweep.")
    if manifest.complete and len(numbers) < manifest.parts:
        lost = next(number for number in range(manifest.parts) if number not in numbers)
        raise ReadError(f"{part_path(path, lost)} is missing; the same `loopline sweep` prices it again.")
    if not numbers:
        raise ReadError(f"{path}: holds no results yet; the same `loopline sweep` goes on.")
    table = pa.concat_tables([_read_part(path, manifest, number) for number in numbers]).combine_chunks()
    results: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    results.attrs = {"manifest": manifest.model_dump()}
    return results


def _read_part(folder: Path, manifest: Manifest, number: int) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    part = part_path(folder, number)
    data = part.read_bytes()
    if not is_sealed(data, manifest.labels(number)):
        raise ReadError(f"{part} is damaged or of another sweep; the same `loopline sweep` prices it again.")
    return pq.read_table(pa.BufferReader(data)).replace_schema_metadata()


def _read_csv(path: Path) -> pd.DataFrame:
    floats, texts = ([name for name, column in COLUMNS.items() if column.dtype == kind] for kind in ("float64", "str"))
    return read_csv(read_text(path, MOST_TEXT_BYTES), texts, floats)


def _read_json(path: Path) -> pd.DataFrame:
    records = read_json(path, MOST_TEXT_BYTES)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ReadError(f"{path}: expected a list of records, as `loopline compare --json` prints them.")
    return pd.DataFrame(records)


def _write_parquet(results: pd.DataFrame, path: Path) -> None:
    path.write_bytes(sealed(results))


def _write_csv(results: pd.DataFrame, path: Path) -> None:
    write_csv(results, path)


def _write_json(results: pd.DataFrame, path: Path) -> None:
    path.write_text(json.dumps(json_records(results, [str(name) for name in results]), indent=1), encoding="utf-8")


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": read_frame,
    ".csv": _read_csv,
    ".json": _read_json,
}
# What is said of a file whose suffix promises what it is not.
_BROKEN = {
    ".csv": "is no CSV with a line of column names, as `loopline compare --csv` prints it",
    ".json": "is not valid JSON; expected a list of records, as `loopline compare --json` prints them",
}
_WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".json": _write_json,
}
