"""The one tidy schema of a comparison: its columns with meaning, unit and dtype, and the checks every frame passes.

A row is one point: a chip, a count, a strategy. Nothing that prints or draws belongs here.

The simulator's clock counts integer picoseconds; a column in seconds is such an integer divided by 1e12. Up to 4096 s
the division loses nothing: neighbouring float64 numbers are then less than a picosecond apart, and rounding
``seconds * 1e12`` restores the integer (``to_picoseconds``). Longer times keep 16 digits, as float64 does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.errors import SchemaError
from results.units import NANOJOULES_PER_JOULE, PICOSECONDS_PER_SECOND
from results.words import CAUSES, KERNEL_SOURCES, KV_PRECISIONS, LAUNCH_NAMES, PARTS, PHASES, PRECISIONS

Dtype = Literal["str", "int64", "float64", "bool"]


@dataclass(frozen=True)
class Column:
    """One column: what it means, its unit (empty where it has none) and its dtype.

    ``categories``: the only values that the column takes, where they are few and closed.
    """

    meaning: str
    unit: str
    dtype: Dtype
    categories: tuple[str, ...] = ()


COLUMNS: dict[str, Column] = {
    "chip": Column("name of the chip in the catalog", "", "str"),
    "count": Column("chips in all: the tensor-parallel group, where parallel says nothing else", "chips", "int64"),
    "model": Column("name of the model", "", "str"),
    "phase": Column("decode, prefill, request (prefill and all output tokens) or train (one step)", "", "str", PHASES),
    "strategy": Column("per_operator, fused_decoder or kernel_loop", "", "str"),
    "launch": Column("how kernels are launched, in the chip's own word", "", "str", LAUNCH_NAMES),
    "precision": Column("of weights and products; int8 and int4 are of weights alone", "", "str", PRECISIONS),
    "kv_precision": Column("of keys and values in the cache", "", "str", KV_PRECISIONS),
    "batch": Column("sequences side by side", "sequences", "int64"),
    "context": Column("tokens of a sequence that the phase sees", "tokens", "int64"),
    "parallel": Column("how they share the work; empty for one tensor-parallel group", "", "str"),
    "variation": Column("how the chips differ from their datasheet; empty where they are all alike", "", "str"),
    "working": Column("chips that hold a shard of the model: fewer than count after failures", "chips", "int64"),
    "seconds": Column("per token for decode; per prefill, request or step otherwise", "s", "float64"),
    "seconds_low": Column("lower end of the band that holds 8 of 10 measurements of such times", "s", "float64"),
    "seconds_high": Column("upper end of that band", "s", "float64"),
    "alike_s": Column("the same if all chips worked and were alike: what variation costs is the rest", "s", "float64"),
    "tokens_per_s_user": Column("tokens a second of one sequence", "tokens/s", "float64"),
    "tokens_per_s": Column("tokens a second of the whole batch", "tokens/s", "float64"),
    "mfu": Column("FLOPs that the model needs / matrix peak of the working chips / seconds", "1", "float64"),
    "roofline_fraction": Column("bytes that must move / HBM bandwidth of all chips / seconds", "1", "float64"),
    "matmul_s": Column("matrix products that nothing else hides", "s", "float64"),
    "attention_s": Column("attention over the context", "s", "float64"),
    "other_s": Column("other operators: norms, rotary embedding, sampling", "s", "float64"),
    "allreduce_s": Column("communication between chips that no computation hides", "s", "float64"),
    "launch_s": Column("kernel launches: gaps between kernels, and their starts", "s", "float64"),
    "host_s": Column("work of the host that the device waits for", "s", "float64"),
    "dependency_s": Column("learning that results are there, between operators of one kernel too", "s", "float64"),
    "fill_drain_s": Column("pipelines filling and draining", "s", "float64"),
    "decoder_kernels": Column("kernels that work for one decoder, forward", "kernels", "int64"),
    "decoder_launches": Column("kernels launched for one decoder, the mean over all", "kernels", "float64"),
    "backward_kernels": Column("kernels of its backward pass; 0 where there is none", "kernels", "int64"),
    "backward_launches": Column("launches of its backward pass, the mean over all decoders", "kernels", "float64"),
    "bound_s": Column("physical lower bound of the whole: no such machine can be faster", "s", "float64"),
    "joules": Column("of all working chips in that time", "J", "float64"),
    "joules_low": Column("lower end of the band that holds 8 of 10 measurements of such joules", "J", "float64"),
    "joules_high": Column("upper end of that band", "J", "float64"),
    "watts": Column("mean power of a working chip's board", "W", "float64"),
    "joules_per_token": Column("joules / tokens of the whole batch", "J/token", "float64"),
    "tokens_per_joule": Column("tokens of the whole batch / joules", "tokens/J", "float64"),
    "energy_delay": Column("joules x seconds", "J s", "float64"),
    "matmul_j": Column("of matrix products, and static power while nothing hides them", "J", "float64"),
    "attention_j": Column("of attention, and static power while nothing hides it", "J", "float64"),
    "other_j": Column("of other operators, and static power while nothing hides them", "J", "float64"),
    "allreduce_j": Column("of collectives, and static power while nothing hides them", "J", "float64"),
    "launch_j": Column("static power while kernels are launched", "J", "float64"),
    "host_j": Column("static power while the device waits for the host", "J", "float64"),
    "dependency_j": Column("static power while operators learn that results are there", "J", "float64"),
    "fill_drain_j": Column("static power while pipelines fill and drain", "J", "float64"),
    "arithmetic_j": Column("the same joules by cause: operations", "J", "float64"),
    "on_chip_j": Column(
        "bytes on the chip: registers, shared or unit memory, L2, the way to and from them", "J", "float64"
    ),
    "hbm_j": Column("bytes of off-chip memory, HBM or another", "J", "float64"),
    "links_j": Column("bytes sent to other chips", "J", "float64"),
    "control_j": Column("instructions: fetch, decode, registers, sequencing", "J", "float64"),
    "static_j": Column("static power over the whole time", "J", "float64"),
    "limiter": Column("what most of the time waited for; empty where it does not fit", "", "str"),
    "kernels": Column(
        "whose kernels were measured: this chip's, a sibling's of its generation, or neither",
        "",
        "str",
        KERNEL_SOURCES,
    ),
    "fits": Column("whether the chip can hold the model and the strategy", "", "bool"),
    "reason": Column("why it does not fit: needs, has, what would fit; empty where it does", "", "str"),
}
# What a point was asked to be; the columns after these are what came out.
INPUTS = tuple(COLUMNS)[: list(COLUMNS).index("working")]
SETTING = tuple(name for name in INPUTS if name not in ("chip", "count", "strategy", "launch"))  # of a comparison
# Inputs that only sweeps write down, beside the schema's columns.
SWEPT = {
    "output_tokens": Column("output tokens of a request; 0 in other phases", "tokens", "int64"),
    "beyond_context": Column("whether a context may be longer than what the model was trained for", "", "bool"),
    "framework": Column("the software that runs the model on GPUs; empty where the chip is none", "", "str"),
    "collectives": Column("how collectives meet the operators around them; empty where the chip is no GPU", "", "str"),
    "synchronization": Column(
        "how operators of a persistent kernel wait for each other; empty where the chip is no GPU", "", "str"
    ),
    "sharding": Column("what replicas hold a share of in training; empty in other phases", "", "str"),
    "method": Column("what of the model is trained; empty in other phases", "", "str"),
}
PART_COLUMNS = tuple(f"{part}_s" for part in PARTS)
PART_JOULES = tuple(f"{part}_j" for part in PARTS)
CAUSE_JOULES = tuple(f"{cause}_j" for cause in CAUSES)
BAND = ("seconds_low", "seconds_high")
EXACT_SECONDS = 4096.0
ENERGY = tuple(COLUMNS)[list(COLUMNS).index("joules") : list(COLUMNS).index("limiter")]
EXACT_JOULES = 2.0**22  # to the nanojoule
# A bound is a float, a time a sum of rounded picoseconds: what rounding alone can put below a bound, relative to it.
ROUNDING = 1e-9


class PhysicsError(RuntimeError):
    """An internal error: a result beats its physical lower bound, which the message names."""


def frame(records: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """A frame of ``records`` with the schema's columns, in its order and dtypes.

    Raises SchemaError if a column is missing, unknown or of the wrong type, if the parts do not sum to ``seconds``
    (exactly, as integer picoseconds, up to 4096 s), or if a row that does not fit has a time or lacks a reason;
    PhysicsError if a time or the lower end of its band is below its bound or a fraction of the roofline above 1.
    """
    for number, record in enumerate(records):
        _check_columns(number, record)
    return frame_of_columns(
        {name: _values(name, column, [record[name] for record in records]) for name, column in COLUMNS.items()}
    )


def frame_of_columns(columns: Mapping[str, NDArray[np.generic]]) -> pd.DataFrame:
    """The same of columns: an array of its dtype for each name of the schema, objects for strings.

    Raises what ``frame`` does.
    """
    for name, column in COLUMNS.items():
        if name not in columns:
            raise SchemaError(f"the column '{name}' is missing.")
        if columns[name].dtype != (object if column.dtype == "str" else column.dtype):
            raise SchemaError(f"column '{name}' holds {columns[name].dtype}; expected {column.dtype}.")
    # Strings become an array of pandas here, not by a conversion of the frame, which takes longer than pricing a point.
    result = pd.DataFrame(
        {
            name: pd.array(columns[name], dtype="str") if column.dtype == "str" else columns[name]
            for name, column in COLUMNS.items()
        },
        copy=False,
    )
    return _held(result, columns)


def checked(results: pd.DataFrame) -> pd.DataFrame:
    """``results`` as a frame of the schema: its columns in order and dtype, then any others (a sweep's) as they are.

    Missing strings become "". Raises SchemaError and PhysicsError as ``frame`` does.
    """
    for name in COLUMNS:
        if name not in results:
            raise SchemaError(f"the column '{name}' is missing.")
    known = {name: _cast(name, column, results[name]) for name, column in COLUMNS.items()}
    others = {name: results[name] for name in results if name not in COLUMNS}
    whole = pd.DataFrame(known | others, copy=False).reset_index(drop=True)
    whole.attrs = dict(results.attrs)
    # Texts stay as they are: as objects of Python they would be most of a large frame.
    return _held(whole, {name: whole[name].to_numpy() for name, column in COLUMNS.items() if column.dtype != "str"})


def _held(result: pd.DataFrame, columns: Mapping[str, NDArray[np.generic]]) -> pd.DataFrame:
    """The frame itself, after all checks of its values; ``columns`` holds those of its numbers as arrays."""
    for name, column in COLUMNS.items():
        if column.categories:
            # A row that does not fit may have been refused before it had a word of its own.
            told = result["fits"] | (result[name] != "")
            wrong = (~result[name].isin(column.categories) & told).to_numpy()
            _refuse(result, wrong, f"must have one of {', '.join(column.categories)} as '{name}'")
    _check_fit(result, columns)
    _check_sums(result, columns)
    _check_physics(result, columns)
    return result


def _cast(name: str, column: Column, values: pd.Series) -> pd.Series:
    """A column read from a file in the schema's dtype; whole numbers may come as floats, missing strings as null."""
    numbers = pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)
    if column.dtype == "str":
        if numbers and values.notna().any():
            raise SchemaError(f"column '{name}' holds numbers; expected text.")
        return values.astype("str").fillna("")
    try:
        cast = values.astype(column.dtype)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"column '{name}' is not {column.dtype}: {error}.") from None
    if column.dtype != "float64" and not (cast == values).all():
        row = int(np.flatnonzero(~(cast == values))[0])
        raise SchemaError(f"record {row}: column '{name}' is {values.iloc[row]}; expected {column.dtype}.")
    return cast


def to_picoseconds(results: pd.DataFrame) -> pd.DataFrame:
    """The simulator's own integers: ``seconds`` and the parts in picoseconds, dtype Int64, <NA> where nothing fits.

    The parts of a row sum to its ``seconds`` exactly. Raises SchemaError for times of 4096 s and more, which float64
    no longer holds to the picosecond.
    """
    seconds = results[["seconds", *PART_COLUMNS]]
    if (seconds["seconds"] >= EXACT_SECONDS).any():
        longest = seconds["seconds"].max()
        raise SchemaError(f"a time of {longest:.0f} s is not exact to the picosecond; below {EXACT_SECONDS:.0f} s is.")
    return (seconds * PICOSECONDS_PER_SECOND).round().astype("Int64")


def _check_columns(number: int, record: Mapping[str, object]) -> None:
    if record.keys() == COLUMNS.keys():
        return
    for name in COLUMNS:
        if name not in record:
            raise SchemaError(f"record {number} lacks the column '{name}'.")
    unknown = next(name for name in record if name not in COLUMNS)
    raise SchemaError(f"record {number} has a column '{unknown}' that the schema does not know.")


def _values(name: str, column: Column, values: Sequence[object]) -> NDArray[np.generic]:
    """One column as an array. A float column takes ints too; every other type must match."""
    accepted = {
        "str": (str,),
        "int64": (int, np.integer),
        "float64": (float, int, np.floating),
        "bool": (bool, np.bool_),
    }
    for number, value in enumerate(values):
        if not isinstance(value, accepted[column.dtype]) or (isinstance(value, bool) and column.dtype != "bool"):
            raise SchemaError(f"record {number}: column '{name}' is {value!r}; expected {column.dtype}.")
    return np.array(values, dtype=object if column.dtype == "str" else column.dtype)


def _check_fit(result: pd.DataFrame, columns: Mapping[str, NDArray[np.generic]]) -> None:
    fits = columns["fits"].astype(bool)
    told = (result["reason"] != "").to_numpy()
    _refuse(result, fits == told, "must have a reason exactly if it does not fit")
    for name in (
        "seconds",
        "alike_s",
        *BAND,
        *PART_COLUMNS,
        *ENERGY,
        "bound_s",
        "mfu",
        "roofline_fraction",
        "tokens_per_s",
        "tokens_per_s_user",
    ):
        known = np.isfinite(columns[name].astype(np.float64))
        _refuse(result, known != fits, f"must have a finite '{name}' if it fits, and NaN if it does not")
    for name in (*PART_COLUMNS, *PART_JOULES, *CAUSE_JOULES):
        _refuse(result, columns[name].astype(np.float64) < 0, f"has a negative '{name}'")
    for quantity in ("seconds", "joules"):
        low, middle, high = (columns[f"{quantity}{end}"].astype(np.float64) for end in ("_low", "", "_high"))
        between = f"must have '{quantity}' between '{quantity}_low' and '{quantity}_high'"
        _refuse(result, (low > middle) | (high < middle), between)


def _check_sums(result: pd.DataFrame, columns: Mapping[str, NDArray[np.generic]]) -> None:
    for quantity, unit, exact, sums in (
        ("seconds", PICOSECONDS_PER_SECOND, EXACT_SECONDS, {"parts": PART_COLUMNS}),
        ("joules", NANOJOULES_PER_JOULE, EXACT_JOULES, {"parts": PART_JOULES, "causes": CAUSE_JOULES}),
    ):
        whole = columns[quantity].astype(np.float64)
        counted = np.rint(whole * unit)
        lost = np.where(whole < exact, 0.0, ROUNDING * counted)
        for what, names in sums.items():
            parts = np.sum([np.rint(columns[name].astype(np.float64) * unit) for name in names], axis=0)
            _refuse(result, np.abs(parts - counted) > lost, f"has {what} that do not sum to its '{quantity}'")


def _check_physics(result: pd.DataFrame, columns: Mapping[str, NDArray[np.generic]]) -> None:
    bound = columns["bound_s"].astype(np.float64)
    for name in ("seconds", "seconds_low"):
        seconds = columns[name].astype(np.float64)
        for row in np.flatnonzero(seconds < bound * (1 - ROUNDING)):
            raise PhysicsError(
                f"internal error: {_row_name(result, int(row))} takes {seconds[row]:.6g} s ({name}), "
                f"below its physical lower bound bound_s of {bound[row]:.6g} s."
            )
    fraction = columns["roofline_fraction"].astype(np.float64)
    for row in np.flatnonzero(fraction > 1 + ROUNDING):
        raise PhysicsError(
            f"internal error: {_row_name(result, int(row))} reaches {fraction[row]:.6g} of its HBM roofline; "
            "the bytes that must move cannot move faster than 1."
        )
    utilisation = columns["mfu"].astype(np.float64)
    for row in np.flatnonzero(utilisation > 1 + ROUNDING):
        raise PhysicsError(
            f"internal error: {_row_name(result, int(row))} has an MFU of {utilisation[row]:.6g}; no matrix unit "
            "computes faster than its peak."
        )
    result["roofline_fraction"] = np.minimum(fraction, 1.0)


def _refuse(result: pd.DataFrame, wrong: NDArray[np.bool_], what: str) -> None:
    for row in np.flatnonzero(wrong):
        raise SchemaError(f"record {row} ({_row_name(result, int(row))}) {what}.")


def _row_name(result: pd.DataFrame, row: int) -> str:
    values = result.iloc[row]
    return f"{values['chip']} x{values['count']} {values['strategy']} {values['phase']} of {values['model']}"
