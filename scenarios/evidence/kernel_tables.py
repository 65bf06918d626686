"""Tables of measured kernels: which files they are, what their columns mean, and what a chip is predicted to take.

A file's name says what it holds (``FORMS``): a chip, a family and perhaps a precision, as in
``h100_gemm_bf16.parquet``. Belongs here: one form for every family, from a checked frame to predicted seconds on any
chip. Published runs of whole models are in ``scenarios.evidence.tables``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from chips.spec import Gpu, KvPrecision, Precision
from results.errors import ReadError
from results.text_file import check_file, read_text
from scenarios.errors import ScenarioError, Unpredictable

if TYPE_CHECKING:
    import pandas as pd

    from chips.kernels.kernel_time import KernelTime
    from chips.kernels.matmul.price import ProductLibrary
    from chips.kernels.quantize import Quantizer

Floats = NDArray[np.float64]
PRECISIONS: dict[str, Precision] = {
    "bf16": "bf16",
    "fp16": "bf16",
    "fp8": "fp8",
    "int8": "int8",
    "nvfp4": "nvfp4",
}  # fp16 runs at the rate of bf16
OPERATIONS = {"alltoall": "all_to_all"}
SUFFIXES = (".parquet", ".csv")
WEIGHTS_IN_TURN = 6
"""That the measured products use one after the other; those in NVFP4 use one again and again."""
LAUNCH_MODES = ("graph", "stream", "eager")


@dataclass(frozen=True)
class KernelTable:
    """One table: its family (of ``FORMS``), its rows as read, measured seconds, and how a chip is predicted on rows.

    ``unread``: columns that say nothing to its form.

    ``predict`` raises CatalogError, Unpredictable or ValueError where it cannot.
    """

    path: Path
    family: str
    rows: pd.DataFrame
    predict: Callable[[Gpu, pd.DataFrame], Floats]
    unread: tuple[str, ...]

    @property
    def measured(self) -> Floats:
        """Seconds, shape (rows,)."""
        return self.rows["us"].to_numpy(np.float64) * 1e-6


@dataclass(frozen=True)
class Form:
    """What tables of one family look like: the pattern of their names, columns of numbers and of words.

    ``optional``: columns that may be there as well.
    """

    family: str
    pattern: str
    numbers: tuple[str, ...]
    words: tuple[str, ...]
    predict: Callable[..., Floats]
    optional: tuple[str, ...] = ()


def chip_of(path: Path) -> str | None:
    """The chip that the name of a kernel table begins with; None for a file of another name."""
    found = _form_of(path)
    return None if found is None else found[1]["chip"]


def read_kernel_table(path: Path) -> KernelTable:
    """Read and check a table. Raises as ``read_columns`` does, and ScenarioError where its name says no kernel."""
    found = _form_of(path)
    if found is None:
        expected = ", ".join(
            re.sub(r"\(\?P<(\w+)>[^)]*\)", lambda name: name[1].upper(), form.pattern) for form in FORMS
        )
        raise ScenarioError(
            f"{path}: its name does not say what it measures; expected {expected}, as .parquet or .csv."
        )
    form, known = found
    rows = read_columns(path, (*form.numbers, "us"), form.words)
    given = {name: value for name, value in known.items() if name != "chip"}
    unread = unread_columns(rows, {*form.numbers, *form.words, *form.optional, "us"})
    return KernelTable(path, form.family, rows, partial(form.predict, **given), unread)


def unread_columns(rows: pd.DataFrame, known: Collection[str]) -> tuple[str, ...]:
    """The columns of a table that are none of the ``known`` ones."""
    return tuple(str(column) for column in rows if column not in known)


def _form_of(path: Path) -> tuple[Form, dict[str, str]] | None:
    if path.suffix not in SUFFIXES:
        return None
    for form in FORMS:
        match = re.fullmatch(form.pattern, path.stem)
        if match:
            return form, match.groupdict()
    return None


def read_columns(path: Path, numbers: tuple[str, ...], words: tuple[str, ...] = ()) -> pd.DataFrame:
    """A table whose columns are checked: ``numbers`` are finite and above 0, ``words`` are there.

    Raises ScenarioError in one sentence: file, and the row and column that is wrong; ReadError for what is no table.
    """
    import pandas as pd

    check_file(path)
    try:
        rows = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(StringIO(read_text(path)))
    except ReadError:
        raise
    except (OSError, ValueError):
        raise ScenarioError(f"{path}: cannot be read as a table; expected a whole {path.suffix} file.") from None
    for column in numbers + words:
        if column not in rows:
            raise ScenarioError(f"{path}: column '{column}' is missing; it has {', '.join(map(str, rows.columns))}.")
    for column in numbers:
        values = pd.to_numeric(rows[column], errors="coerce")
        known = values.to_numpy(np.float64)
        wrong = np.flatnonzero(~(np.isfinite(known) & (known > 0)))
        if wrong.size:
            found = f"row {wrong[0] + 1}, column '{column}' is '{rows[column].iloc[wrong[0]]}'"
            raise ScenarioError(f"{path}: {found}; expected a number above 0.")
        rows[column] = values
    return rows.reset_index(drop=True)


def _gemm(chip: Gpu, rows: pd.DataFrame, precision: str) -> Floats:
    """A product of 16 bits, or one alone of fewer, or with a ``library`` its linear layer with all its kernels."""
    from chips.kernels.matmul.price import price_matmul
    from chips.kernels.quantize import SEARCH_KERNELS

    known = _precision(precision)
    if "library" not in rows:
        if known == "nvfp4":
            return _nvfp4_layer(chip, rows)
        shape = (rows[name].to_numpy() for name in ("m", "n", "k"))
        return _in_graph(chip, price_matmul(chip, *shape, precision=known, weights_in_turn=WEIGHTS_IN_TURN))
    predicted = np.full(len(rows), np.nan)
    libraries = rows["library"].astype(str).to_numpy()
    for library in dict.fromkeys(libraries):
        if library not in SEARCH_KERNELS:
            raise Unpredictable(f"library '{library}' of matrix products; known are {', '.join(SEARCH_KERNELS)}")
        own, same = rows[libraries == library], libraries == library
        predicted[same] = _nvfp4_layer(chip, own) if known == "nvfp4" else _scaled_layer(chip, own, known, library)
    return predicted


def _nvfp4_layer(chip: Gpu, rows: pd.DataFrame) -> Floats:
    """Activations quantized with a scale a block, and the product."""
    from chips.kernels.matmul.price import price_matmul
    from chips.kernels.quantize import price_quantize

    m, n, k = (rows[name].to_numpy() for name in ("m", "n", "k"))
    quantize = price_quantize(chip, m, k, precision="nvfp4", scales="block")
    return _in_graph(
        chip, quantize, price_matmul(chip, m, n, k, precision="nvfp4", library="cutlass", weights_in_turn=1)
    )


def _scaled_layer(chip: Gpu, rows: pd.DataFrame, precision: Precision, library: Quantizer) -> Floats:
    """Activations quantized with one scale of the tensor, which is found before, and the product."""
    from chips.kernels.matmul.price import price_matmul
    from chips.kernels.quantize import price_quantize, price_scale_search

    m, n, k = (rows[name].to_numpy() for name in ("m", "n", "k"))
    search = price_scale_search(chip, m, k, library=library)
    quantize = price_quantize(chip, m, k, precision=precision, library=library)
    runs: ProductLibrary = "cutlass" if library == "vllm" else "cublas"
    # [inferred] TensorRT-LLM's table has as many weights as fill the L2: 33.5 MB are read faster than 42 on Ada.
    turns = WEIGHTS_IN_TURN if library == "vllm" else np.ceil(chip.on_chip.l2_bytes / (n * k))
    product = price_matmul(chip, m, n, k, precision=precision, library=runs, weights_in_turn=turns)
    return _in_graph(chip, search, quantize, product)


def _in_graph(chip: Gpu, *kernels: KernelTime) -> Floats:
    """Seconds of kernels one after the other in a graph, with the gap that each adds."""
    times = np.array([kernel.seconds for kernel in kernels])
    whole: Floats = times.sum(axis=0) + len(times) * chip.generation.launch.graph_gap
    return whole


def _attention_prefill(chip: Gpu, rows: pd.DataFrame, precision: str) -> Floats:
    from chips.kernels.attention.price import price_attention_prefill

    shape = (rows[name].to_numpy() for name in ATTENTION)
    return _in_graph(chip, price_attention_prefill(chip, *shape, kv_precision=_kv_precision(precision), resident=True))


def _attention_decode(chip: Gpu, rows: pd.DataFrame, precision: str) -> Floats:
    from chips.kernels.attention.price import price_attention_decode

    shape = (rows[name].to_numpy() for name in ATTENTION if name != "tokens")
    return _in_graph(chip, price_attention_decode(chip, *shape, kv_precision=_kv_precision(precision), resident=True))


def _collectives(chip: Gpu, rows: pd.DataFrame) -> Floats:
    from collectives.collective_time import Library, Mode, Operation
    from collectives.libraries.choice import measured_seconds

    predicted = np.full(len(rows), np.nan)
    numbered = rows.reset_index(drop=True)
    for (library, mode, operation, ranks), same in numbered.groupby(["library", "mode", "op", "n_chips"]):
        predicted[same.index] = measured_seconds(
            chip,
            cast(Operation, OPERATIONS.get(str(operation), str(operation))),
            int(str(ranks)),
            same["bytes"].to_numpy(np.float64),
            library=cast(Library, library),
            mode=cast(Mode, mode),
        )
    return predicted


def _stream(chip: Gpu, rows: pd.DataFrame) -> Floats:
    """A kernel that reads and writes arrays once, in a graph: each element one operation."""
    from chips.kernels.vector import price_vector

    read, written = (rows[name].to_numpy(np.float64) for name in ("bytes_read", "bytes_written"))
    return _in_graph(chip, price_vector(chip, read, written, written / 2))


def _launch(chip: Gpu, rows: pd.DataFrame) -> Floats:
    """What one more launch costs: of an empty kernel in a graph or on a stream, or of a framework's eager operator."""
    launch = chip.generation.launch
    costs = dict(zip(LAUNCH_MODES, (launch.graph_gap, launch.stream_gap, launch.host_operator), strict=True))
    unknown = sorted(set(rows["mode"].astype(str)) - set(costs))
    if unknown:
        raise Unpredictable(f"launch mode '{unknown[0]}'; known are {', '.join(costs)}")
    return np.asarray(rows["mode"].astype(str).map(costs), dtype=np.float64)


def _precision(name: str) -> Precision:
    if name not in PRECISIONS:
        raise Unpredictable(f"precision '{name}'; known are {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def _kv_precision(name: str) -> KvPrecision:
    """A table of attention says what its KV cache holds."""
    match PRECISIONS.get(name):
        case "bf16" | "fp8" as precision:
            return precision
    raise Unpredictable(f"precision '{name}' of a KV cache; known are bf16, fp8")


ATTENTION = ("batch_size", "tokens", "context", "heads", "kv_heads", "head_dim")
FORMS = (
    Form("gemm", r"(?P<chip>.+)_gemm_(?P<precision>\w+)", ("m", "n", "k"), (), _gemm, ("library",)),
    Form(
        "attention",
        r"(?P<chip>.+)_attention_prefill_(?P<precision>\w+)",
        ATTENTION,
        (),
        _attention_prefill,
        ("kernel",),
    ),
    Form(
        "attention", r"(?P<chip>.+)_attention_decode_(?P<precision>\w+)", ATTENTION, (), _attention_decode, ("kernel",)
    ),
    Form("collectives", r"(?P<chip>.+)_collectives", ("n_chips", "bytes"), ("library", "mode", "op"), _collectives),
    Form("stream", r"(?P<chip>.+)_stream", ("bytes_read", "bytes_written"), (), _stream),
    Form("launch", r"(?P<chip>.+)_launch", ("kernels",), ("mode",), _launch),
)
