"""Measure on a real GPU the tables that ``loopline validate`` and ``loopline calibrate`` read.

    python benchmarks/measure_gpu.py --chip h100 --out tables
    loopline validate --data tables
    loopline calibrate tables/h100_*.parquet --chip h100 -o mine.toml

Needs PyTorch and an NVIDIA GPU; ``flash_attn`` for decode attention, several GPUs for collectives. Writes a Parquet
file a table and ``CHIP_provenance.json``: what was measured on what, with which libraries. Belongs here: which shapes,
and the files. How a row is timed is in ``torch_gpu``, what the tables mean in ``docs/calibrate.md``.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import track
from torch_gpu import CALLS, REPLAYS, CannotMeasure, Row, TorchGpu, attention_bytes, gemm_bytes, stream_bytes

MEMORY_SHARE = 0.5  # of the GPU's memory, that the operands of a row may take
LAUNCHES = (100, 200, 400, 600, 800, 1000)


@dataclass(frozen=True)
class Table:
    """A table to measure: its name after the chip's, its rows without times, and what times one row, seconds."""

    name: str
    rows: Sequence[Row]
    operand_bytes: Callable[[Row], float]
    timer: str


def gemm_rows() -> list[Row]:
    """Shapes of decoders on 1 to 8 chips at 1 to 16,384 tokens, and powers of two between them."""
    tokens = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
    weights = ((4096, 4096), (6144, 4096), (28672, 4096), (4096, 14336), (10240, 8192), (8192, 8192), (8192, 28672))
    split = ((768, 4096), (4096, 512), (3584, 4096), (4096, 1792), (1280, 8192), (8192, 3584), (128256, 4096))
    squares = ((size, size) for size in (64, 128, 256, 512, 1024, 2048))
    return [{"m": m, "n": n, "k": k} for m, (n, k) in product(tokens, (*weights, *split, *squares))]


def odd_gemm_rows() -> list[Row]:
    """Rows beside a whole number of tiles, and weights whose rows are no multiple of 16 bytes."""
    tokens = (3, 17, 65, 129, 257, 513, 1025, 2049, 4097)
    odd = ((50257, 768), (50257, 1600), (4097, 4096), (4096, 4097), (4098, 4098), (4100, 4100), (1001, 1001))
    whole = ((4096, 4096), (8192, 8192), (1024, 8192))
    return [{"m": m, "n": n, "k": k} for m, (n, k) in product(tokens, (*odd, *whole))]


def attention_rows(tokens: Sequence[int], batches: Sequence[int], contexts: Sequence[int]) -> list[Row]:
    """Grouped-query attention of Llama on 1 to 8 chips; one row for every possible combination."""
    heads = ((32, 8), (16, 4), (8, 2), (4, 1), (32, 32), (64, 8), (8, 1))
    return [
        {"batch_size": batch, "tokens": new, "context": context, "heads": q, "kv_heads": kv, "head_dim": head_dim}
        for batch, new, context, (q, kv), head_dim in product(batches, tokens, contexts, heads, (64, 128))
        if context >= new
    ]


def prefill_rows() -> list[Row]:
    """Whole prompts of 64 to 16,384 tokens."""
    lengths = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
    return [row for length in lengths for row in attention_rows((length,), (1, 4, 16), (length,))]


def decode_rows() -> list[Row]:
    """One token over 128 to 131,072 keys."""
    return attention_rows((1,), (1, 4, 16, 64), tuple(2**power for power in range(7, 18)))


def stream_rows() -> list[Row]:
    """Copies (read once, write once) and sums (read twice, write once) of 4 KiB to 1 GiB."""
    sizes = [4096 * 2**power for power in range(19)]
    return [{"bytes_read": reads * size, "bytes_written": size} for size, reads in product(sizes, (1, 2))]


def launch_rows() -> list[Row]:
    """Chains of empty kernels in a graph and on a stream, and of eager operators of PyTorch."""
    return [{"kernels": kernels, "mode": mode} for kernels, mode in product(LAUNCHES, ("graph", "stream", "eager"))]


def collective_rows(gpus: int) -> list[Row]:
    """NCCL on 2 to ``gpus`` GPUs, 256 bytes to 256 MiB, back to back on a stream."""
    ranks = [count for count in (2, 4, 8, 16) if count <= gpus]
    sizes = [256 * 4**power for power in range(11)]
    operations = ("all_reduce", "all_gather", "reduce_scatter", "alltoall")
    return [
        {"library": "nccl", "mode": "stream", "op": operation, "n_chips": count, "bytes": size}
        for operation, count, size in product(operations, ranks, sizes)
    ]


def tables(gpus: int) -> dict[str, Table]:
    """Every table by name. Collectives only with several GPUs."""
    found = [
        Table("gemm_bf16", [*gemm_rows(), *odd_gemm_rows()], gemm_bytes, "gemm"),
        Table("gemm_fp8", gemm_rows(), gemm_bytes, "gemm_fp8"),
        Table("attention_prefill_bf16", prefill_rows(), attention_bytes, "attention"),
        Table("attention_decode_bf16", decode_rows(), attention_bytes, "attention"),
        Table("stream", stream_rows(), stream_bytes, "stream"),
        Table("launch", launch_rows(), lambda row: 0.0, "launch"),
    ]
    if gpus > 1:
        found.append(Table("collectives", collective_rows(gpus), lambda row: float(row["bytes"]), "collective"))
    return {table.name: table for table in found}


def measure(table: Table, time_row: Callable[[Row], float], memory_bytes: float) -> Iterator[Row]:
    """Rows with their time ``us``, microseconds; those whose operands do not fit are left out."""
    for row in table.rows:
        if table.operand_bytes(row) <= MEMORY_SHARE * memory_bytes:
            yield row | {"us": 1e6 * time_row(row)}


def write_table(rows: Sequence[Row], chip: str, name: str, folder: Path) -> Path:
    """``CHIP_NAME.parquet`` in ``folder``."""
    path = folder / f"{chip}_{name}.parquet"
    pd.DataFrame(rows).to_parquet(path, index=False)
    return path


def provenance(chip: str, measured: dict[str, int], device: Row, argv: Sequence[str]) -> Row:
    """What a reader needs to trust or repeat the tables. ``measured``: rows a table."""
    return {
        "chip": chip,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(argv),
        "host": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "method": f"median of {REPLAYS} replays of a CUDA graph of {CALLS} calls over rotating operands",
        "rows": measured,
        **device,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write, and say where; 2 and a sentence where this machine cannot."""
    names = list(tables(gpus=2))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chip", required=True, help="the name of the chip in the catalog, as in h100")
    parser.add_argument("--out", type=Path, required=True, help="an existing folder for the tables")
    parser.add_argument("--tables", nargs="+", choices=names, help="default: all that this machine can")
    options = parser.parse_args(argv)
    try:
        if not options.out.is_dir():
            raise CannotMeasure(f"the folder '{options.out}' does not exist.")
        gpu = TorchGpu()
        known = tables(gpu.gpus)
        missing = [name for name in options.tables or () if name not in known]
        if missing:
            raise CannotMeasure(f"'{missing[0]}' needs several GPUs; this machine has {gpu.gpus}.")
        counts: dict[str, int] = {}
        console = Console(stderr=True)
        for name in options.tables or known:
            gpu.rows = known[name].rows
            try:
                timed = measure(known[name], getattr(gpu, known[name].timer), gpu.memory_bytes)
                rows = list(track(timed, name, len(gpu.rows), console=console, disable=not console.is_terminal))
            except CannotMeasure as refusal:
                print(f"{name}: left out: {refusal}", file=sys.stderr)
                continue
            counts[name] = len(rows)
            print(f"wrote {write_table(rows, options.chip, name, options.out)}", file=sys.stderr)
        text = json.dumps(provenance(options.chip, counts, gpu.device(), sys.argv), indent=1)
        (options.out / f"{options.chip}_provenance.json").write_text(text + "\n", encoding="utf-8")
    except CannotMeasure as refusal:
        print(f"measure_gpu: {refusal}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
