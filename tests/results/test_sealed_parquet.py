"""Parquet with a seal: whatever happens to a file's bytes, no value that differs from what was saved is read."""

from __future__ import annotations

import random
from contextlib import suppress

import pandas as pd
import pyarrow.parquet as pq
import pytest
from damage import damaged
from frame_rows import record, unfit

import loopline as ll
from results.errors import ReadError
from results.schema import COLUMNS, SWEPT, frame
from results.sealed_parquet import is_sealed, sealed
from results.served import SERVED, served_frame
from results.store import save_table

DAMAGES = 120


@pytest.fixture(scope="module")
def rows():
    return frame([*(record(count=count, context=count * 7) for count in range(1, 200)), unfit()])


def test_every_damage_is_told_in_one_sentence(tmp_path, rows):
    path = tmp_path / "rows.parquet"
    ll.save(rows, path)
    whole = path.read_bytes()
    for seed in range(DAMAGES):
        path.write_bytes(damaged(whole, random.Random(seed)))
        with pytest.raises(ReadError, match=r"rows\.parquet is damaged") as refusal:
            ll.load(path)
        assert "\n" not in str(refusal.value)


def test_a_seal_that_is_lost_is_a_damage_too(tmp_path, rows):
    whole = sealed(rows)
    (tmp_path / "rows.parquet").write_bytes(whole.replace(b"loopline.sha256=", b"loopline.sha257="))
    with pytest.raises(ReadError, match="damaged"):
        ll.load(tmp_path / "rows.parquet")


@pytest.mark.parametrize("seed", range(40))
def test_damaged_parquet_of_other_programs_gives_a_sentence_or_rows(tmp_path, rows, seed):
    path = tmp_path / "rows.parquet"
    rows.to_parquet(path)
    path.write_bytes(damaged(path.read_bytes(), random.Random(seed)))
    with suppress(ReadError):
        ll.load(path)


def test_other_programs_read_what_is_sealed_and_check_its_pages(tmp_path, rows):
    path = tmp_path / "rows.parquet"
    ll.save(rows, path)
    pd.testing.assert_frame_equal(pd.read_parquet(path), rows)
    data = bytearray(path.read_bytes())
    data[pq.ParquetFile(path).metadata.row_group(0).column(1).data_page_offset - 9] ^= 1  # in its dictionary's page
    path.write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


def test_fields_say_what_a_column_means_in_this_kind_of_table(tmp_path, rows):
    def meanings(table):
        save_table(table, tmp_path / "rows.parquet")
        return {
            field.name: field.metadata[b"meaning"].decode()
            for field in pq.read_schema(tmp_path / "rows.parquet")
            if field.metadata
        }

    swept = rows.assign(**{name: "" if column.dtype == "str" else 0 for name, column in SWEPT.items()})
    assert meanings(swept) == {name: column.meaning for name, column in (COLUMNS | SWEPT).items()}
    served = served_frame([dict.fromkeys(SERVED, 1)])
    assert meanings(served) == {name: column.meaning for name, column in SERVED.items()}
    assert meanings(pd.DataFrame({"requests": [1], "layout": ["a"]})) == {}


def test_labels_belong_to_what_is_sealed(rows):
    data = sealed(rows, {"sweep": "a", "part": "1"})
    assert data == sealed(rows, {"sweep": "a", "part": "1"})
    assert is_sealed(data, {"sweep": "a", "part": "1"})
    assert not is_sealed(data, {"sweep": "a", "part": "2"})
    assert not is_sealed(data, {"sweep": "a", "of": "1"})
    assert not is_sealed(data[:-1], {"sweep": "a", "part": "1"})
