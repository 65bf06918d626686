"""Frames of servers under load: a row a server, its columns with meaning, unit and dtype."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from results.schema import COLUMNS, Column

if TYPE_CHECKING:
    import pandas as pd

PERCENTILES = (50, 90, 99)
_WAITS = {
    "first_token": "from sending to the first token (TTFT)",
    "output_token": "a token after the first, mean of a request (TPOT)",
    "between_tokens": "between two tokens (ITL), over all tokens",
    "request": "from sending to the last token",
}
SERVED: dict[str, Column] = {
    **{name: COLUMNS[name] for name in ("chip", "count", "model", "strategy", "launch")},
    "framework": Column("the software that serves; empty where the chip has none", "", "str"),
    **{name: COLUMNS[name] for name in ("precision", "kv_precision")},
    "arrivals": Column("how requests come", "", "str"),
    "concurrency": Column("clients of a closed loop; 0 of a stream", "clients", "int64"),
    "engines": Column("engines that read prompts, each with count chips", "engines", "int64"),
    "decoders": Column("engines that decode alone; 0 where all do both", "engines", "int64"),
    "stages": Column("pipeline stages of an engine, each with count chips", "stages", "int64"),
    "input_tokens": Column("tokens of a prompt, as stated", "tokens", "int64"),
    "output_tokens": Column("tokens of an answer, as stated", "tokens", "int64"),
    "kernels": COLUMNS["kernels"],
    "requests": Column("requests in all", "requests", "int64"),
    "first_token_seconds": Column(f"mean {_WAITS['first_token']}", "s", "float64"),
    "output_token_seconds": Column(f"mean {_WAITS['output_token']}", "s", "float64"),
    "request_seconds": Column(f"mean {_WAITS['request']}", "s", "float64"),
    **{
        f"{name}_p{percent}_s": Column(f"{percent} of 100 wait no longer {wait}", "s", "float64")
        for name, wait in _WAITS.items()
        for percent in PERCENTILES
    },
    "output_tokens_per_s": Column("output tokens a second of all requests together", "tokens/s", "float64"),
    "requests_per_s": Column("requests answered a second", "requests/s", "float64"),
    "goodput_per_s": Column("those of them that keep within all limits asked for", "requests/s", "float64"),
    "running": Column("requests that decode, mean over iterations", "requests", "float64"),
    "evictions": Column("times that a request lost its room in the cache", "requests", "int64"),
    "seconds": Column("from the first request to the last token", "s", "float64"),
}


def served_frame(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Rows as a frame with the columns of ``SERVED``, in their order and dtypes."""
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=list(SERVED))
    return frame.astype({name: column.dtype for name, column in SERVED.items()})
