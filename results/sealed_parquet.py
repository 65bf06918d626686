"""Parquet files that show any damage: the SHA-256 of all bytes of a file stands in its own footer.

Any reader of Parquet reads them. The digest is taken while its own place holds zeros, so that it covers every byte
beside itself, the footer's too; pages have their CRC-32 as well, for readers that know nothing of the seal.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from results.errors import ReadError
from results.schema import COLUMNS, SWEPT
from results.served import SERVED

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MARK = b"loopline.sha256="
BLANK = b"0" * 64
# Says that a file has a seal, at another place of the footer: without, a file whose seal is lost would look like one
# that never had one.
SEALED = b"loopline.sealed"


def sealed(results: pd.DataFrame, labels: Mapping[str, str] | None = None) -> bytes:
    """The frame as a Parquet file with its seal; the fields say what a column means, and its unit.

    ``labels`` are kept in the footer, for ``is_sealed``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = _described(results)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(dict(labels or {}) | {"seal": (MARK + BLANK).decode()})
    data = bytearray(sink.getvalue())
    at = data.rindex(MARK) + len(MARK)
    data[at : at + len(BLANK)] = sha256(data).hexdigest().encode()
    return bytes(data)


def is_sealed(data: bytes, labels: Mapping[str, str]) -> bool:
    """Whether these are all the bytes of a file that ``sealed`` made with these labels."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not _seal_holds(data):
        return False
    held = pq.read_metadata(pa.BufferReader(data)).metadata
    return all(held.get(name.encode()) == value.encode() for name, value in labels.items())


def read_frame(path: Path) -> pd.DataFrame:
    """The frame of a Parquet file, of another program's too, which has no seal. Raises ReadError for a damaged one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    broken = ReadError(f"{path} is damaged, or no whole Parquet file; compute it again.")
    data = path.read_bytes()
    if MARK in data and not _seal_holds(data):
        raise broken
    try:
        table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
        results: pd.DataFrame = table.to_pandas()
    except Exception:  # damaged bytes make Arrow's decoders fail in every way that Python knows
        raise broken from None
    if MARK not in data and SEALED in (table.schema.metadata or {}):
        raise broken
    return results


def _seal_holds(data: bytes) -> bool:
    at = data.rfind(MARK) + len(MARK)
    if at < len(MARK):
        return False
    view = memoryview(data)
    digest = sha256(view[:at])
    digest.update(BLANK)
    digest.update(view[at + len(BLANK) :])
    return data[at : at + len(BLANK)] == digest.hexdigest().encode()


def _described(results: pd.DataFrame) -> pa.Table:
    import pyarrow as pa

    table = pa.Table.from_pandas(results, preserve_index=False)
    # Both kinds of table name some columns alike, with other meanings.
    told = SERVED if list(results) == list(SERVED) else COLUMNS | SWEPT
    fields = [
        field.with_metadata({"meaning": told[field.name].meaning, "unit": told[field.name].unit})
        if field.name in told
        else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields, metadata={**table.schema.metadata, SEALED: b"yes"}))
