"""Which rows of a table no fit may see: by a hash of their shape, the same on every machine and in any order.

Rows of one shape stay together, so that a repeated measurement cannot tell a fit what it will be judged on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

HELD_OUT = 0.3  # of the shapes
SHAPES = {
    "_gemm_": ["m", "n", "k"],
    "_attention_": ["batch_size", "tokens", "context", "heads", "kv_heads", "head_dim"],
    "_collectives": ["n_chips", "bytes"],
    "_stream": ["bytes_read", "bytes_written"],
    "_launch": ["kernels"],
}
FEW_SHAPES = 40  # of fewer, a hash may hold out none, or all
# The catalog's collectives were fitted on rows drawn at random whose draw is not kept, so none of theirs is unseen.
SPLIT_BY_THE_CATALOG = ("_gemm_", "_attention_")


def shape_columns(table: str) -> list[str]:
    """The columns that make the shape of a row in this table; none for a table of runs."""
    return next((columns for pattern, columns in SHAPES.items() if pattern in table), [])


def unseen_rows(shapes: pd.DataFrame) -> NDArray[np.bool_]:
    """Which of ``shapes`` (a row each) are held out."""
    import pandas as pd

    numbers = shapes.to_numpy(np.int64)
    if shapes.shape[1] < 4:
        return np.asarray(pd.util.hash_pandas_object(shapes, index=False).to_numpy() % 10 >= 7)
    mixed = (numbers @ np.array([7919, 104729, 1299709, 15485863, 32452843, 49979687])) % 1009
    return np.asarray((mixed * 2654435761 % 2**32) / 2**32 > 1 - HELD_OUT)


def held_out_for_calibration(shapes: pd.DataFrame) -> NDArray[np.bool_]:
    """Which of ``shapes`` (a row each) a calibration does not see: as ``unseen_rows``, or every third of a few."""
    number = shapes.groupby(list(shapes.columns), sort=True).ngroup().to_numpy()
    if number.max() + 1 >= FEW_SHAPES:
        return unseen_rows(shapes)
    return np.asarray(number % 3 == 1)


def held_out(rows: pd.DataFrame, table: str) -> NDArray[np.bool_]:
    """Rows of ``table`` that the fits of the catalog have not seen; all where there is no such split."""
    if not any(pattern in table for pattern in SPLIT_BY_THE_CATALOG):
        return np.ones(len(rows), dtype=bool)
    return unseen_rows(rows[shape_columns(table)])
