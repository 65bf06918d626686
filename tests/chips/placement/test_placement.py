"""Placement: every unit in one place, every byte on its links, no stage faster than its units, no kernel too many."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chips.placement import (
    OUTSIDE,
    Buffer,
    ComputeUnit,
    FusedProgram,
    Operand,
    Stage,
    TooLarge,
    fits,
    kernel_count,
    place,
    product_stage,
    sections,
    tile_program,
    vector_stage,
)
from chips.placement.allocation import allocate
from chips.placement.mesh import LinkLoads, Mesh
from chips.placement.routing import Messages, _flows, _ways, routed
from chips.spec import CatalogError, Dataflow, load_chip
from chips.tiles.programs.catalog import EXAMPLES

SN40L = load_chip("sn40l")
assert isinstance(SN40L, Dataflow)
UNIT = ComputeUnit.of(SN40L)
MIB = 2.0**20


def product(name: str, rows: int, columns: int, depth: int, *, resident: bool) -> Stage:
    size = 2.0 * columns * depth
    held = Operand(size, UNIT.turns(rows), resident_bytes=size, loaded_bytes=size)
    operand = held if resident else Operand(size, UNIT.turns(rows), streamed_bytes=size)
    return product_stage(UNIT, name, rows, columns, depth, operand=operand)


def chain(stages: list[Stage], sizes: list[float], control: str = "pipelined", passes: int = 8) -> FusedProgram:
    """A buffer into every stage from the one before, and one out of the last."""
    count = len(stages)
    buffers = [Buffer(f"buffer {i}", sizes[i], sizes[i], i - 1, (i,), i) for i in range(count)]
    buffers.append(Buffer("result", sizes[-1], sizes[-1], count - 1, (), count))
    return FusedProgram("chain", tuple(stages), tuple(buffers), control, passes)  # type: ignore[arg-type]


@st.composite
def programs(draw: st.DrawFn) -> FusedProgram:
    control = draw(st.sampled_from(["in turn", "pipelined"]))
    stages, sizes = [], []
    for index in range(draw(st.integers(1, 7))):
        rows, columns, depth = draw(st.tuples(*[st.integers(1, side) for side in (300, 9000, 9000)]))
        if draw(st.booleans()):
            stages.append(product(f"product {index}", rows, columns, depth, resident=control == "pipelined"))
        else:
            stages.append(vector_stage(UNIT, f"vector {index}", rows * columns, 5.0 * rows * columns, 0.0, rows * 2.0))
        sizes.append(2.0 * rows * columns)
    return chain(stages, sizes, control, draw(st.integers(1, 100)))


def test_units_alternate_on_the_mesh_and_the_catalog_has_as_many() -> None:
    for name in ("sn40l", "sn10"):
        chip = load_chip(name)
        assert isinstance(chip, Dataflow)
        mesh = Mesh.of(chip)
        assert mesh.is_compute.sum() == chip.compute.units
        assert mesh.is_compute.size - mesh.is_compute.sum() == chip.on_chip.memory_units
        assert (mesh.is_compute[:, 1:] != mesh.is_compute[:, :-1]).all()
        assert (mesh.is_compute[1:] != mesh.is_compute[:-1]).all()


def test_a_mesh_whose_sides_do_not_give_its_units_is_refused() -> None:
    wrong = SN40L.model_copy(update={"on_chip": SN40L.on_chip.model_copy(update={"mesh_rows": 41})})
    with pytest.raises(CatalogError, match=r"mesh_rows' is 41 .* expected sides of a mesh of 2080"):
        Mesh.of(wrong)


MESH = Mesh(rows=5, columns=6, compute_units=15, link_bandwidth=1.0)
CELLS = st.tuples(st.integers(0, 4), st.integers(0, 7))


def route(source: tuple[int, int], target: tuple[int, int]) -> set[tuple[int, int, int]]:
    """Links of the way along the row, then along the column: (direction, row, column) as in ``LinkLoads.bytes``."""
    row, column = source
    links = set()
    while column != target[1]:
        links.add((0 if target[1] > column else 1, row, column))
        column += 1 if target[1] > column else -1
    while row != target[0]:
        links.add((2 if target[0] > row else 3, row, column))
        row += 1 if target[0] > row else -1
    return links


@given(st.lists(st.tuples(CELLS, CELLS, st.integers(1, 9)), min_size=1, max_size=12))
def test_messages_load_the_links_of_their_way(messages: list[tuple[tuple[int, int], tuple[int, int], int]]) -> None:
    expected = np.zeros((4, 5, 8))
    for source, target, size in messages:
        for link in route(source, target):
            expected[link] += size
    loads = LinkLoads(MESH)
    sources, targets, sizes = (np.array(part) for part in zip(*messages, strict=True))
    loads.send(sources, targets, sizes)
    np.testing.assert_allclose(loads.bytes, expected)
    distance = np.abs(sources - targets).sum(axis=1)
    assert loads.bytes.sum() == pytest.approx(float((distance * sizes).sum()))


@given(CELLS, st.lists(CELLS, min_size=1, max_size=12))
def test_a_multicast_counts_once_on_every_link_of_all_ways(
    source: tuple[int, int], targets: list[tuple[int, int]]
) -> None:
    expected = np.zeros((4, 5, 8))
    for link in set().union(*(route(source, target) for target in targets)):
        expected[link] = 3.0
    loads = LinkLoads(MESH)
    loads.multicast(np.array(source), np.array(targets), 3.0)
    np.testing.assert_allclose(loads.bytes, expected)


def reached(links: np.ndarray, source: tuple[int, int]) -> set[tuple[int, int]]:
    """Cells that ``source`` reaches over flat places of links."""
    found, more = {source}, True
    moves = ((0, 1), (0, -1), (1, 0), (-1, 0))
    ways = [np.unravel_index(int(link), (4, MESH.rows, MESH.columns + 2)) for link in links]
    while more:
        there = {(row + moves[way][0], column + moves[way][1]) for way, row, column in ways if (row, column) in found}
        found, more = found | there, not there <= found
    return found


@given(CELLS, st.lists(CELLS, min_size=1, max_size=6))
def test_every_route_leads_to_all_that_its_message_is_for(
    source: tuple[int, int], targets: list[tuple[int, int]]
) -> None:
    sent = Messages()
    sent.multicast(np.array(source), np.array(targets), 1.0)
    (flow,) = _flows(MESH, [sent])
    for way in _ways(MESH, flow):
        assert set(targets) <= reached(way, source)
        assert len(np.unique(way)) == len(way)


@given(st.lists(st.tuples(CELLS, CELLS, st.integers(1, 9)), min_size=1, max_size=12), st.floats(0, 30))
def test_routes_only_ever_relieve_the_busiest_link(
    messages: list[tuple[tuple[int, int], tuple[int, int], int]], most: float
) -> None:
    stages = [Messages() for _ in messages]
    for sent, (source, target, size) in zip(stages, messages, strict=True):
        sent.send(np.array([source]), np.array([target]), float(size))
    usual = [sent.loads(MESH).bytes for sent in stages]
    found = [loads.bytes for loads in routed(MESH, stages, most)]
    assert sum(found).max() <= max(sum(usual).max(), 0.0)
    if sum(usual).max() <= most:
        np.testing.assert_allclose(found, usual)
    for before, after, (source, target, _) in zip(usual, found, messages, strict=True):
        assert after.sum() >= before.sum() * (1 - 1e-9)  # no way is shorter than along row and column
        assert target in reached(np.flatnonzero(after), source)


@settings(max_examples=60)
@given(programs())
def test_an_allocation_uses_no_more_than_there_is_and_no_stage_beats_its_units(program: FusedProgram) -> None:
    found = allocate(program, SN40L)
    assert (found is not None) == fits(program, SN40L)
    if found is None:
        return
    assert found.compute_units <= SN40L.compute.units
    assert found.memory_units <= SN40L.on_chip.memory_units
    for stage, share in zip(program.stages, found.shares, strict=True):
        assert share.seconds >= stage.unit_seconds / share.compute_units * (1 - 1e-9)
        held = stage.operand.resident_bytes if stage.operand else 0.0
        assert share.operand_units * SN40L.on_chip.unit_bytes >= held
        assert stage.operand is None or share.operand_units >= share.compute_units


@settings(max_examples=15)
@given(programs())
def test_every_unit_has_one_place_and_no_kernel_beats_its_units_memory_and_links(program: FusedProgram) -> None:
    if not fits(program, SN40L):
        return
    kernel = place(program, SN40L).sections[0]
    compute = np.concatenate(kernel.positions.compute)
    slots = {slot for held in kernel.allocation.buffer_slots for slot in held}
    buffers = {tuple(cell) for cells in kernel.positions.buffer for cell in cells}
    operands = [tuple(cell) for cells in kernel.positions.operand for cell in cells]
    assert len(compute) == kernel.allocation.compute_units == len({tuple(cell) for cell in compute})
    assert len(buffers) == len(slots)
    assert len(operands) + len(buffers) == kernel.allocation.memory_units == len(set(operands) | buffers)
    assert kernel.mesh.is_compute[compute[:, 0], compute[:, 1] - 1].all()
    assert not any(kernel.mesh.is_compute[row, column - 1] for row, column in {*operands, *buffers})
    assert kernel.link_use.max() <= 1 + 1e-9

    work = sum(stage.unit_seconds for stage in program.stages) / SN40L.compute.units
    streamed = sum(stage.operand.streamed_bytes for stage in program.stages if stage.operand)
    assert kernel.pass_seconds >= work * (1 - 1e-9)
    assert kernel.pass_seconds >= streamed / SN40L.memory.bandwidth
    assert kernel.seconds >= kernel.launch_seconds + program.passes * kernel.pass_seconds
    for rate in kernel.rates:
        assert rate.seconds <= kernel.pass_seconds * (1 + 1e-9)


def test_work_gets_units_in_proportion() -> None:
    stages = [product("a", 64, 4096, 4096, resident=True), product("b", 64, 12288, 4096, resident=True)]
    found = allocate(chain(stages, [MIB, MIB]), SN40L)
    assert found is not None
    one, three = (share.compute_units for share in found.shares)
    assert three / one == pytest.approx(3, rel=0.08)


def test_stages_in_turn_share_the_memory_units_of_what_no_longer_lives() -> None:
    stages = [vector_stage(UNIT, f"stage {index}", 1e6, 1e6, 0.0, 64 * MIB) for index in range(6)]
    in_turn = allocate(chain(stages, [64 * MIB] * 6, "in turn", 1), SN40L)
    assert in_turn is not None
    assert len(in_turn.buffer_slots[0]) >= 128
    assert in_turn.buffer_units == 2 * len(in_turn.buffer_slots[0])  # what one stage reads and what it writes
    assert allocate(chain(stages, [64 * MIB] * 6, "pipelined"), SN40L) is None  # seven double buffers of 128 units each


def test_a_value_that_skips_stages_is_held_for_all_of_them() -> None:
    skipping = Buffer("residual", 1.0, 1.0, 0, (1, 4), 4)
    program = FusedProgram("x", (), (skipping,), "pipelined", 8)
    assert program.copies(skipping) == 5
    assert program.copies(Buffer("next", 1.0, 1.0, 2, (3,), 3)) == 2


@settings(max_examples=40)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=7))
def test_sections_are_as_few_as_any_cut_gives(mebibytes: list[int]) -> None:
    stages = [product(f"stage {index}", 64, size * 64, 8192, resident=True) for index, size in enumerate(mebibytes)]
    program = chain(stages, [MIB] * len(stages))
    found = sections(program, SN40L)
    assert [stage.name for part in found for stage in part.stages] == [stage.name for stage in stages]
    assert all(fits(part, SN40L) for part in found)
    assert kernel_count(program, SN40L) == len(found)
    if len(found) > 1:
        for cuts in combinations(range(1, len(stages)), len(found) - 2):
            ends = [0, *cuts, len(stages)]
            assert not all(fits(program.part(first, last), SN40L) for first, last in pairwise(ends))


def test_a_stage_too_large_for_the_chip_is_cut_into_the_fewest_shares() -> None:
    stage = product("wide", 64, 65536, 8192, resident=True)  # 1 GiB on a chip of 520 MiB
    found = place(chain([stage], [MIB]), SN40L)
    assert not found.fits
    assert [section.program.stages[0].name for section in found.sections] == ["wide, 1 of 2", "wide, 2 of 2"]
    held = sum(section.program.stages[0].operand.resident_bytes for section in found.sections)  # type: ignore[union-attr]
    assert held == stage.operand.resident_bytes  # type: ignore[union-attr]


def test_an_input_larger_than_the_chip_fits_no_number_of_kernels() -> None:
    stage = vector_stage(UNIT, "norm", 1e9, 1e9, 0.0, 2e9)
    with pytest.raises(TooLarge, match="norm alone is too large"):
        place(chain([stage], [600 * MIB], "in turn", 1), SN40L)


def test_what_crosses_the_ends_of_a_section_crosses_memory() -> None:
    stages = [vector_stage(UNIT, f"stage {index}", 1e6, 1e6, 0.0, 2e6) for index in range(3)]
    program = chain(stages, [1.0, 10.0, 100.0])
    assert program.part(0, 1).memory_bytes == 11.0
    assert program.part(1, 3).memory_bytes == 10.0 + 100.0
    assert program.part(0, 3) is program
    assert program.part(1, 2).buffers[0].source == OUTSIDE


@pytest.mark.parametrize("name", ["matmul", "softmax", "swiglu", "flash-attention"])
def test_a_tile_program_is_placed_with_all_its_work(name: str) -> None:
    example = EXAMPLES[name]
    program = tile_program(example.tiled(False), SN40L, **example.shapes)
    found = place(program, SN40L)
    from chips.tiles.compiler import compile_program

    compiled = compile_program(example.tiled(False), SN40L, **example.shapes)
    work = program.passes * sum(stage.unit_seconds for stage in program.stages if stage.operand)
    rate = SN40L.peak_flops("bf16") / SN40L.compute.units * SN40L.timing.matrix_efficiency
    padded = work * rate / max(compiled.flop, 1)  # rows come in sixes, columns in lanes
    assert (1 - 1e-9) <= padded < 1.2 if compiled.flop else padded == 0
    assert program.passes * program.memory_bytes == pytest.approx(compiled.memory_bytes)
    assert found.seconds > compiled.flop / SN40L.peak_flops("bf16")
