"""Datasheets: what a chip is, as frozen, validated models read from ``chips/catalog``.

A chip is one TOML file. What a whole architecture generation shares (how its matrix units ramp, what its launches
cost) stands once in ``catalog/generations`` and is inherited by every chip that names it, so that a chip known only
from its datasheet is priced like its measured siblings. Every number in those files carries its source in a comment.
What a chip is asked is a field, or follows from fields alone; no time lives here. SI units throughout: seconds, bytes,
hertz, watts; GB is 1e9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache, reduce
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, Field

from chips.catalog_file import CatalogError as CatalogError
from chips.catalog_file import Key, nearest_names, validate
from chips.changes import ChangedName, Value, read_name
from chips.energy import ArrayEnergy, Events, MemoryKind, array_events, gpu_events
from chips.frozen import Frozen, Source
from chips.generation import GpuGeneration
from chips.quantity import (
    Bandwidth,
    Bytes,
    BytesOrNone,
    Count,
    Cycles,
    Few,
    Fraction,
    Hertz,
    Name,
    PerClock,
    Seconds,
    Watts,
    WholeBytes,
)
from results.text_file import read_toml

Table = dict[str, Any]
OWN = ("name", "title", "kernels_measured")
"""Keys of a datasheet that no chip inherits from another."""
FIXED = (*OWN, "kind", "generation.name")
"""Keys of a datasheet that are no values of the hardware."""
CATALOG = Path(__file__).parent / "catalog"
Precision = Literal["bf16", "fp8", "int8", "nvfp4"]
ELEMENT_BYTES: dict[Precision, float] = {"bf16": 2, "fp8": 1, "int8": 1, "nvfp4": 0.5625}
"""Of a stored value with its share of scales: NVFP4 is 4 bits, and an 8-bit scale for every 16 values."""
KvPrecision = Literal["bf16", "fp8"]
"""Of the keys and values in a KV cache."""
MatrixFormat = Literal["bf16", "tf32", "fp8", "int8", "nvfp4"]
"""That matrix units multiply; kernels are priced for a ``Precision``."""


class Compute(Frozen):
    """Arithmetic of one chip. Rates are per unit and clock."""

    units: Count
    """what the field counts: streaming multiprocessors, pattern compute units, systolic arrays."""
    clock_hz: Hertz
    """the clock of the vendor's peak figure."""
    max_clock_hz: Hertz | None = None
    """the highest that the chip can run, where it differs."""
    matrix_flop_per_clock: dict[MatrixFormat, Count]
    """dense, of each format that the matrix unit takes."""
    vector_lanes: Count
    special_functions_per_clock: PerClock

    @property
    def highest_clock_hz(self) -> float:
        """The highest clock that the chip can run."""
        return self.max_clock_hz or self.clock_hz


class Memory(Frozen):
    """Off-chip memory that holds weights and KV cache: HBM, GDDR or DDR."""

    bandwidth: Bandwidth
    """bytes/s, of the datasheet."""
    capacity_bytes: Bytes
    kind: Annotated[MemoryKind, Source("the memory of most chips of its years")] = "hbm3"
    """what it is made of, which tells what a byte of it takes in joules."""


class Link(Frozen):
    """Chip-to-chip network: a domain of chips, and beyond it each chip's share of a scale-out network."""

    bandwidth: Bandwidth
    """bytes/s one way, of one chip, all its links together."""
    topology: Literal["switch", "fully_connected", "ring", "host"]
    """any pair at full rate, each pair with its own share of the bandwidth, neighbours, or PCIe through the host."""
    domain: Count
    """chips that reach each other at this bandwidth."""
    host: Literal["switch", "dual-socket"] = "switch"
    """where the cards of a ``host`` meet: in PCIe switches, or half of them at each of two CPUs."""
    peers: Count | None = None
    """cards of a ``host`` that reach each other peer to peer; a larger group's bytes pass through the host's memory.
    None: all of the domain."""
    staging_bandwidth: Annotated[Bandwidth, Source("one PCIe 4 x16 slot's worth")] = 32e9
    """bytes/s one way that pass through the memory of a ``host``, for all its cards together."""
    socket_share: Annotated[
        Fraction,
        Source("rings over two sockets, 22 to 38 of the 41 GB/s of rings over switches (rtx6kpro, NVIDIA/nccl#1639)"),
    ] = 0.75
    """of a slot's rate, what passes between two sockets."""
    bridge_bandwidth: Bandwidth | None = None
    """bytes/s one way of the NVLink bridge that joins pairs of a ``host``'s cards; None: no bridge."""
    in_switch_reduction: Annotated[bool, Source("no reduction in a switch")] = False
    network_bandwidth: Annotated[Bandwidth, Source("one 400 Gb/s InfiniBand adapter a chip (NDR)")] = 50e9
    """bytes/s one way of a chip beyond the domain."""
    network_latency: Annotated[Seconds, Source("a switched RDMA write (approximate)")] = 2e-6
    """seconds a message beyond the domain."""


class GpuOnChip(Frozen):
    """On-chip memory of a GPU: the shared L2, and per streaming multiprocessor the shared memory and registers.

    The thread blocks of a cluster reach each other's shared memory.
    """

    l2_bytes: Bytes
    shared_bytes: Bytes
    register_bytes: Bytes
    tensor_bytes: Annotated[BytesOrNone, Source("none, accumulators lie in registers")] = 0.0
    """memory beside the registers in which the matrix unit accumulates."""
    cluster_units: Annotated[Count, Source("no thread block clusters")] = 1
    """streaming multiprocessors that the thread blocks of a cluster lie on."""
    cluster_bytes_per_clock: Annotated[
        PerClock, Source("Hopper's 2.65e12 bytes/s over 132 units of an H800 (Luo et al., arXiv 2501.12084)")
    ] = 11.4
    """from the others' shared memory into each of them."""
    cluster_latency_cycles: Annotated[Cycles, Source("Hopper's in clusters of 8 (Luo et al., arXiv 2501.12084)")] = 203
    """a load from another's shared memory."""
    warp_matrix_flop_per_clock: Annotated[
        PerClock,
        Source(
            "Hopper's, 62.9% of 4096 (Luo et al., arXiv 2501.12084); "
            "elsewhere the same [inferred]: the register files are equal"
        ),
    ] = 2576
    """16-bit products that warps hand to the matrix unit from registers (``mma.sync``), whatever it could do itself."""


class ChipBase(Frozen):
    """What every chip has, whatever its kind."""

    has_framework: ClassVar[bool] = False
    """Whether a framework of a host launches its kernels and brings libraries of kernels and collectives."""
    runs_decoders: ClassVar[bool] = True
    """Whether it computes all operators of a decoder, alone and together with others of its kind."""
    lays_out_in_space: ClassVar[bool] = False
    """Whether a fused kernel is mapped onto its units anew for each shape, not dealt out to them in waves."""
    converts_as_it_reads: ClassVar[bool] = False
    """Whether its kernels bring weights, keys and values that are stored in fewer bits back to 16 as they read them."""

    name: Name
    title: Name
    compute: Compute
    memory: Memory
    link: Link
    power_watts: Watts

    def peak_flops(self, precision: MatrixFormat) -> float:
        """Dense matrix peak, FLOP/s (a multiply-accumulate counts two). Raises CatalogError if not supported."""
        rates = self.compute.matrix_flop_per_clock
        if precision not in rates:
            raise CatalogError(f"{self.name} has no {precision} matrix unit; it has {', '.join(sorted(rates))}.")
        return self.compute.units * rates[precision] * self.compute.clock_hz

    @property
    def vector_flops(self) -> float:
        """Peak of the fp32 lanes outside the matrix unit, FLOP/s (a multiply-accumulate counts two)."""
        return 2.0 * self.compute.units * self.compute.vector_lanes * self.compute.clock_hz

    @property
    def cache_bytes(self) -> float:
        """Of a cache that may hold what the kernel before has written; 0 where on-chip memory is no cache."""
        return 0.0

    @property
    def events(self) -> Events:
        """What an event of each kind takes on it, in joules."""
        raise NotImplementedError


class Gpu(ChipBase):
    """A GPU: streaming multiprocessors behind a shared L2, one kernel an operator, launched by a host."""

    has_framework = True
    converts_as_it_reads = True

    kind: Literal["gpu"]
    generation: GpuGeneration
    design_watts: Watts | None = None
    """that it was designed for, where ``power_watts`` is a lower limit that was set."""
    on_chip: GpuOnChip
    kernels_measured: bool = False
    """whether kernels of this very chip were measured; its siblings inherit their coefficients, with wider bands."""

    @property
    def cache_bytes(self) -> float:
        """Its L2, bytes."""
        return self.on_chip.l2_bytes

    @property
    def on_chip_bytes(self) -> float:
        """On-chip memory for data: L2 and shared memory, bytes."""
        return self.on_chip.l2_bytes + self.compute.units * self.on_chip.shared_bytes

    @property
    def reads_shared_operands(self) -> bool:
        """Whether its matrix unit reads shared memory itself: it multiplies more than warps can hand to it."""
        return self.compute.matrix_flop_per_clock["bf16"] > self.on_chip.warp_matrix_flop_per_clock

    @property
    def streaming_bandwidth(self) -> float:
        """Bytes/s at which weights stream in: what HBM achieves, or what the loads in flight allow (Little's law)."""
        matmul = self.generation.matmul
        latency = matmul.memory_latency_cycles / self.compute.highest_clock_hz
        in_flight = self.compute.units * matmul.in_flight_bytes
        return min(self.memory.bandwidth * matmul.memory_efficiency, in_flight / latency)

    @property
    def hop_latency(self) -> float:
        """Seconds of one dependent step between neighbours over their links: NCCL's with LL."""
        return self.generation.collective.ll.hop

    @property
    def hop_detour(self) -> float:
        """Seconds that a hop takes longer where links lead through the host (PCIe)."""
        return self.generation.collective.host_detour if self.link.topology == "host" else 0.0

    @property
    def link_efficiency(self) -> float:
        """What large transfers reach of the link's bandwidth, a fraction."""
        collective = self.generation.collective
        return collective.host_efficiency if self.link.topology == "host" else collective.link_efficiency

    @property
    def events(self) -> Events:
        design = self.design_watts or self.power_watts
        return gpu_events(self.generation.energy, self.memory.kind, self.power_watts, design)


class DataflowOnChip(Frozen):
    """Distributed SRAM of a dataflow chip. Compute and memory units lie on a mesh."""

    memory_units: Count
    unit_bytes: WholeBytes
    """of one memory unit."""
    port_bytes_per_clock: Count
    """of one port of a memory unit."""
    stream_buffer_bytes: WholeBytes
    """what the compiler sets aside a chip to run weight streams ahead of their use."""
    mesh_rows: Few
    mesh_columns: Few
    link_bytes_per_clock: Count
    """what one link of the mesh carries one way."""

    @property
    def total_bytes(self) -> int:
        return self.memory_units * self.unit_bytes


class DataflowTiming(Frozen):
    """What a dataflow chip's pipelines and launches cost, seconds unless named otherwise.

    A launch is program load (skipped when the program is resident), argument load and execute, each sequenced by the
    host (``software``) or by the chip's own sequencer (``hardware``).
    """

    memory_efficiency: Fraction
    matrix_efficiency: Fraction
    memory_latency: Seconds
    stage_latency: Seconds
    hop_latency: Seconds
    program_load: Seconds
    argument_load: Seconds
    execute: Seconds
    software_dispatch: Seconds
    unit_share: Fraction


class Dataflow(ChipBase):
    """A reconfigurable dataflow chip: compute and memory units in a mesh; a fused kernel is laid out in space."""

    lays_out_in_space = True
    hop_detour: ClassVar[float] = 0.0
    link_efficiency: ClassVar[float] = 1.0

    kind: Literal["dataflow"]
    on_chip: DataflowOnChip
    timing: DataflowTiming
    energy: Annotated[
        ArrayEnergy, Source("[inferred] a chip of 7 nm; the static share is that of GPUs, fitted to their watts")
    ] = ArrayEnergy(process_nm=7, static_power_share=0.31)

    @property
    def on_chip_bytes(self) -> float:
        """On-chip memory for data: distributed SRAM, bytes."""
        return float(self.on_chip.total_bytes)

    @property
    def streaming_bandwidth(self) -> float:
        """Bytes/s at which weights stream in: what HBM achieves."""
        return self.memory.bandwidth * self.timing.memory_efficiency

    @property
    def hop_latency(self) -> float:
        """Seconds of one dependent step between neighbours over their links."""
        return self.timing.hop_latency

    @property
    def events(self) -> Events:
        """A port feeds a unit's arithmetic; from off-chip memory a byte crosses a third of either side of the mesh."""
        on_chip = self.on_chip
        ports = on_chip.port_bytes_per_clock / self.compute.matrix_flop_per_clock["bf16"]
        hops = (on_chip.mesh_rows + on_chip.mesh_columns) / 3.0
        return array_events(
            self.energy, self.memory.kind, self.power_watts, "bf16", ports, hops, ("sram_32kb_byte", "sram_1mb_byte")
        )


class Systolic(ChipBase):
    """A systolic-array accelerator: one large array fed from a weight FIFO and a unified buffer."""

    runs_decoders = False

    kind: Literal["systolic"]
    rows: Count
    columns: Count
    unified_buffer_bytes: WholeBytes
    accumulator_bytes: WholeBytes
    weight_fifo_tiles: Count
    sustained_weight_bandwidth: Bandwidth
    """bytes/s at which tiles reach the FIFO, of the memory's peak ``memory.bandwidth``."""
    host_bandwidth: Bandwidth
    energy: Annotated[ArrayEnergy, Source("[inferred] a chip of 28 nm; the static share is TPU v1's")] = ArrayEnergy(
        process_nm=28, static_power_share=0.373
    )

    @property
    def on_chip_bytes(self) -> float:
        """On-chip memory for data: unified buffer and accumulators, bytes."""
        return float(self.unified_buffer_bytes + self.accumulator_bytes)

    @property
    def streaming_bandwidth(self) -> float:
        """Bytes/s at which weights stream in: tiles into the FIFO."""
        return self.sustained_weight_bandwidth

    @property
    def events(self) -> Events:
        """A row of operands enters and a row of sums is read and written back (4 bytes each) for rows x columns
        multiply-adds.
        """
        rates = self.compute.matrix_flop_per_clock
        element = min(size for precision, size in ELEMENT_BYTES.items() if precision in rates)
        moved = (self.rows * element + 8.0 * self.columns) / (2.0 * self.rows * self.columns)
        precision = "int8" if "int8" in rates else "bf16"
        return array_events(self.energy, self.memory.kind, self.power_watts, precision, moved, 1.0, ("sram_32kb_byte",))


SomeChip = TypeVar("SomeChip", Gpu, Dataflow)
ChipSpec = Annotated[Gpu | Dataflow | Systolic, Field(discriminator="kind")]


def chip_names() -> list[str]:
    """Names in the catalog, in alphabetical order."""
    return sorted(path.stem for path in CATALOG.glob("*.toml"))


def chip_path(name: str) -> Path:
    """The file of a catalog chip, whose name is case-blind, or the path that ``name`` already is.

    Of a chip with changes that of the chip which is changed. Raises CatalogError for an unknown name.
    """
    name = read_name(name).base
    if name.lower().endswith(".toml"):
        return Path(name)
    if name.lower() in chip_names():
        return CATALOG / f"{name.lower()}.toml"
    if Path(name).exists():
        raise CatalogError(f"{name} is no datasheet of a chip: a TOML file, whose name ends in .toml.")
    raise CatalogError(f"unknown chip '{name}'; {nearest_names(name, chip_names(), 'loopline chips')}.")


@cache
def load_chip(name: str) -> Gpu | Dataflow | Systolic:
    """The datasheet of a catalog chip, or of the TOML file at the path ``name``; changes to it stand in braces behind.

    Raises CatalogError in one sentence: unknown name (with the nearest ones), or file, key and what was expected;
    ReadError for what is no TOML.
    """
    base, changes = read_name(name)
    if changes:
        return _changed(name, load_chip(base), changes)
    path = chip_path(name)
    return parse_chip(read_toml(path), path)


def _changed(name: str, chip: ChipBase, changes: Mapping[str, Value]) -> Gpu | Dataflow | Systolic:
    """``chip`` with these values instead of its own: another chip, of which nobody measured a kernel."""
    stated = values_of(chip)
    tables: Table = {"inherits": str(chip_path(name).absolute()), "name": chip.name, "title": chip.title}
    for key, value in changes.items():
        if key not in stated:
            raise CatalogError(f"{name}: {chip.name} has no key '{key}'; {_nearest_key(key, list(stated))}.")
        whole = isinstance(stated[key], int) and isinstance(value, float) and value.is_integer()
        *sections, last = key.split(".")
        stood: Table = {last: int(value) if whole else value}
        tables = _merge(tables, reduce(lambda table, part: {part: table}, reversed(sections), stood))
    try:
        made = parse_chip(tables, Path(name))
    except CatalogError as error:
        own = ChangedName(chip.name, {key: said for key in changes if (said := stated[key]) is not None})
        raise CatalogError(f"{str(error)[:-1]}; the datasheet, in SI units, says {own}.") from None
    title = f"{chip.title}, changed"
    return made.model_copy(update={"name": str(ChangedName(chip.name, dict(changes))), "title": title})


def values_of(chip: BaseModel, at: Key = ()) -> dict[str, Value | None]:
    """Every number, word and truth value of a datasheet that can be another, by its key: "memory.bandwidth"."""
    found: dict[str, Value | None] = {}
    for name, field in type(chip).model_fields.items():
        value, key = getattr(chip, name), (*at, name)
        if isinstance(value, BaseModel):
            found |= values_of(value, key)
        elif isinstance(value, dict):
            known = get_args(get_args(field.annotation)[0])
            found |= {".".join((*key, each)): value.get(each) for each in known}
        elif ".".join(key) not in FIXED and not isinstance(value, tuple):
            found[".".join(key)] = value
    return found


def _nearest_key(key: str, known: Sequence[str]) -> str:
    """The known keys that ``key`` could have meant: those with its last word, or one that is written like it."""
    last = key.rpartition(".")[2]
    if same := [each for each in known if each.rpartition(".")[2] == last and "." not in key]:
        return f"expected {' or '.join(same[:4])}"
    words = [each.rpartition(".")[2] for each in known]
    near = get_close_matches(key, known, n=1, cutoff=0.75) or [
        known[words.index(each)] for each in get_close_matches(last, words, n=1, cutoff=0.7)
    ]
    return f"the nearest is {near[0]}" if near else "`loopline chips` with its name shows all"


def load_gpu(name: str) -> Gpu:
    """The same of a GPU. Raises CatalogError for another chip too: no kernels of its library are known."""
    chip = load_chip(name)
    if not isinstance(chip, Gpu):
        raise CatalogError(f"{name} is no GPU; kernels of a library are priced for GPUs.")
    return chip


def parse_chip(data: dict[str, Any], path: Path) -> Gpu | Dataflow | Systolic:
    """Validate one datasheet: ``data`` as it stands in the file ``path``, and what it inherits."""
    found = layers(data, path)
    merged = reduce(_merge, (layer.placed for layer in reversed(found)))

    def place_of(key: Key) -> tuple[Path, Key]:
        """Where a key stands: in the newest file that has it, or else where it would be written."""
        for layer in found:
            if key[: len(layer.at)] == layer.at and layer.states(key[len(layer.at) :]):
                return layer.path, key[len(layer.at) :]
        if key[:1] == ("generation",):
            named = next(layer for layer in found if layer.at)
            return named.path, key[1:]
        return path, key

    return validate(ChipSpec, merged, place_of, kind="kind")  # type: ignore[arg-type]


class Layer(NamedTuple):
    """What one file says of a chip: its tables, and under which key of the datasheet they belong."""

    path: Path
    at: Key
    table: dict[str, Any]

    @property
    def placed(self) -> dict[str, Any]:
        """The tables where they belong."""
        return reduce(lambda table, key: {key: table}, reversed(self.at), self.table)

    def states(self, key: Key) -> bool:
        """Whether this file gives ``key``, as it stands in the file, to the chip."""
        return _holds(self.table, key)


def layers(data: dict[str, Any], path: Path, younger: tuple[Path, ...] = ()) -> list[Layer]:
    """The files that make a chip's datasheet, newest first: its own, those of the chips that it inherits from, and the
    generation's.

    A chip that ``inherits`` another (a name of the catalog, or a path beside its own file) takes over all that it does
    not state itself, except what is ``OWN``; its ``generation`` may then be a table that overrides coefficients.
    Raises CatalogError where one is not known, or inherits itself.
    """
    own = _without(data, "inherits")
    older: list[Layer] = []
    if "inherits" in data:
        parent = _inherited_path(data["inherits"], path)
        if parent in (path, *younger):
            raise CatalogError(f"{path}: key 'inherits' is {data['inherits']!r}, which inherits from this file.")
        first, *older = layers(read_toml(parent), parent, (path, *younger))
        older = [first._replace(table=_without(first.table, *OWN)), *older]
    kind = next((layer.table["kind"] for layer in (Layer(path, (), own), *older) if "kind" in layer.table), None)
    overrides = bool(older) and isinstance(own.get("generation", {}), dict)
    if kind != "gpu" or overrides:
        return [Layer(path, (), own), *older]
    files = generation_paths(own.pop("generation", None), path)
    shared = [Layer(file, ("generation",), _without(read_toml(file), "inherits")) for file in files]
    return [Layer(path, (), own), *(layer for layer in older if not layer.at), *shared]


def _inherited_path(name: object, user: Path) -> Path:
    if not isinstance(name, str):
        raise CatalogError(f"{user}: key 'inherits' is {name!r}; expected the name of a chip or a .toml file.")
    return user.parent / name if name.lower().endswith(".toml") else chip_path(name)


def _without(table: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}


def generation_paths(name: object, user: Path) -> list[Path]:
    """A generation's file and those it inherits from, newest first; ``user`` is the file that names it."""
    path = CATALOG / "generations" / f"{name}.toml"
    known = sorted(file.stem for file in path.parent.glob("*.toml"))
    if name not in known:
        found = "is missing" if name is None else f"is {name!r}"
        raise CatalogError(f"{user}: the generation {found}; expected one of {', '.join(known)}.")
    older = read_toml(path).get("inherits")
    if older is None:
        return [path]
    return [path, *generation_paths(older, path)]


def _merge(older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    merged = dict(older)
    for key, value in newer.items():
        both = isinstance(value, dict) and isinstance(older.get(key), dict)
        merged[key] = _merge(older[key], value) if both else value
    return merged


def _holds(table: object, key: Key) -> bool:
    if not key:
        return True
    return isinstance(table, dict) and key[0] in table and _holds(table[key[0]], key[1:])
