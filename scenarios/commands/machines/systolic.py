"""``loopline systolic``: a small product walking through a systolic array, clock by clock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.commands.output import Json, check_files, show, write

if TYPE_CHECKING:
    from chips.systolic.array import Cycle, Run, SystolicArray
    from results.pictures.grid import Frame

# What is drawn; larger arrays and products are counted by the closed form.
SHOWN_SIDE = 8
SHOWN_CYCLES = 64


def systolic(
    size: Annotated[str, typer.Argument(help="Rows and columns of the array: 4x4, 256x256")],
    matvec: Annotated[bool, typer.Option("--matvec", help="One vector times a matrix as large as the array.")] = False,
    product: Annotated[
        str | None, typer.Option(help="MxKxN, for (M, K) times (K, N) (default: as large as the array).")
    ] = None,
    dataflow: Annotated[str, typer.Option(help="What stays in the elements: weight | output | input")] = "weight",
    double_buffered: Annotated[
        bool, typer.Option("--double-buffered", help="The next tile comes in while this one computes.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw every clock into this .png or .svg file, or moving into a .gif.")
    ] = None,
    json: Json = False,
) -> None:
    """Walk a product through a systolic array: what sits in every element at every clock, and how many work.

    loopline systolic 4x4 --matvec --plot matvec.gif

    loopline systolic 256x256 --product 8192x4096x4096 --double-buffered
    """
    from chips.systolic.array import Dataflow, SystolicArray
    from chips.systolic.idle_elements import why_idle
    from results.pictures.grid import plot_moving, plot_panels, text
    from scenarios.errors import ScenarioError

    kinds: dict[str, Dataflow] = {"weight": "weight", "output": "output", "input": "input"}
    if dataflow not in kinds:
        raise ScenarioError(f"--dataflow {dataflow}: expected weight, output or input.")
    if matvec and product is not None:
        raise ScenarioError("--matvec is a product of its own; give either it or --product.")
    check_files(plot=plot, pictures=(".png", ".svg", ".gif"))
    rows, columns = _sizes(size, "the array", 2)
    array = SystolicArray(rows, columns, kinds[dataflow], double_buffered)
    m, k, n = _sizes(product, "--product", 3) if product else (1 if matvec else rows, rows, columns)
    cycles = array.cycles(m, k, n)
    shown = max(rows, columns) <= SHOWN_SIDE and cycles <= SHOWN_CYCLES
    if not shown and plot is not None:
        raise ScenarioError(
            f"{cycles} clocks of {size} elements cannot be drawn; at most {SHOWN_CYCLES} clocks "
            f"of {SHOWN_SIDE}x{SHOWN_SIDE} elements can."
        )
    record: dict[str, object] = {
        "array": f"{rows}x{columns}",
        "stationary": dataflow,
        "product": f"({m}, {k}) x ({k}, {n})",
        "cycles": cycles,
        "busy_elements": m * k * n / (cycles * rows * columns),
        **_energy(rows, columns, (m, k, n), cycles),
    }
    reasons = why_idle(array, m, k, n)
    if not shown:
        show([record | {"why": reasons}], json=json, tables=[[record]])
        if not json:
            print(f"\n{reasons}")
        return
    run, frames, clocks = _walk(array, m, k, n)
    more = {"utilisation": run.utilisation.tolist(), "result": run.product.tolist(), "clocks": clocks}
    if not json:
        print(text(frames))
    show([record | more | {"why": reasons}], json=json, tables=[[record]])
    if not json:
        print(f"\n{reasons}")
    title = f"({m}, {k}) x ({k}, {n}) on {rows}x{columns}, {dataflow}-stationary"
    write(plot, lambda path: (plot_moving if path.suffix.lower() == ".gif" else plot_panels)(frames, path, title))


def _energy(rows: int, columns: int, product: tuple[int, int, int], cycles: int) -> dict[str, object]:
    """Joules of the product of 8-bit values on an array of TPU v1's process and clock, with its static power an
    element.
    """
    from chips.spec import Systolic, load_chip

    tpu = load_chip("tpu-v1")
    assert isinstance(tpu, Systolic)
    events = tpu.model_copy(update={"rows": rows, "columns": columns}).events
    operations = 2.0 * product[0] * product[1] * product[2]
    static = events.static_watts * rows * columns / (tpu.rows * tpu.columns) * cycles / tpu.compute.clock_hz
    joules = float(events.joules(flops=operations).sum()) + static
    return {"nanojoules": joules * 1e9, "pJ_per_operation": joules / operations * 1e12, "static_share": static / joules}


def _sizes(given: str, what: str, count: int) -> tuple[int, ...]:
    from scenarios.errors import ScenarioError

    sizes = given.lower().split("x")
    if len(sizes) != count or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        expected = "ROWSxCOLUMNS, as in 4x4" if count == 2 else "MxKxN, as in 16x4x4"
        raise ScenarioError(f"{what} is '{given}'; expected {expected}.")
    return tuple(int(size) for size in sizes)


def _walk(array: SystolicArray, m: int, k: int, n: int) -> tuple[Run, list[Frame], list[dict[str, object]]]:
    """Run 1, 2, 3, ... times 1, 2, 3, ... and keep every clock."""
    import numpy as np

    from results.pictures.grid import Frame

    frames: list[Frame] = []
    clocks: list[dict[str, object]] = []

    def watch(cycle: Cycle) -> None:
        busy = int(cycle.busy.sum())
        waiting = "" if busy else ", a tile comes in" if array.dataflow != "output" else ""
        cells = [
            [_cell(cycle, i, j, array.dataflow == "output") for j in range(array.columns)] for i in range(array.rows)
        ]
        title = f"clock {cycle.number}: {busy} of {array.rows * array.columns} busy{waiting}"
        frames.append(Frame(title, cells, cycle.busy.copy()))
        state = {name: getattr(cycle, name).tolist() for name in ("held", "moving", "sums", "busy")}
        clocks.append({"clock": cycle.number} | state)

    a = (np.arange(m * k).reshape(m, k) % 9 + 1).astype(np.int8)
    b = (np.arange(k * n).reshape(k, n) % 9 + 1).astype(np.int8)
    return array.run(a, b, watch), frames, clocks


def _cell(cycle: Cycle, i: int, j: int, sums_stay: bool) -> str:
    """A busy element's product and its sum; an idle one's stationary value."""
    if cycle.busy[i, j]:
        return f"{cycle.moving[i, j]}×{cycle.held[i, j]}\n→{cycle.sums[i, j]}"
    held = cycle.sums[i, j] if sums_stay else cycle.held[i, j]
    return str(held) if held else "."
