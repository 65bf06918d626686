"""The on-chip network of a dataflow chip: a mesh of switches, one at every unit, and what its links carry.

Compute and memory units lie on it like the fields of a chessboard. Every row has a gateway to off-chip memory and to
other chips at either end. A message goes along its row, then along its column (dimension order); a multicast is one
message that forks where ways part, and counts once on each link (Prabhakar et al., arXiv 2405.07518, section IV-C).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from chips.spec import CatalogError, Dataflow

Cells = NDArray[np.int64]
"""Places on the mesh, shape (n, 2): row and column."""
DIRECTIONS = ("east", "west", "south", "north")
Links = NDArray[np.int64]
"""Places of links in ``LinkLoads.bytes``, flattened."""


@dataclass(frozen=True)
class Mesh:
    """``rows`` x ``columns`` units between two columns of gateways, which are columns 0 and ``columns`` + 1.

    ``link_bandwidth``: bytes/s of one link one way.
    """

    rows: int
    columns: int
    compute_units: int
    link_bandwidth: float

    @classmethod
    def of(cls, chip: Dataflow) -> Mesh:
        """The mesh of ``chip``. Raises CatalogError where its sides do not give its units."""
        on_chip, units = chip.on_chip, chip.compute.units + chip.on_chip.memory_units
        if on_chip.mesh_rows * on_chip.mesh_columns != units:
            raise CatalogError(
                f"{chip.name}: key 'on_chip.mesh_rows' is {on_chip.mesh_rows} and 'on_chip.mesh_columns' is "
                f"{on_chip.mesh_columns}; expected sides of a mesh of {units} compute and memory units."
            )
        bandwidth = on_chip.link_bytes_per_clock * chip.compute.clock_hz
        return cls(on_chip.mesh_rows, on_chip.mesh_columns, chip.compute.units, bandwidth)

    @cached_property
    def is_compute(self) -> NDArray[np.bool_]:
        """Shape (rows, columns): whether a compute unit lies there, or a memory unit; both spread evenly."""
        cells = self.rows * self.columns
        place = np.arange(cells)
        kinds = ((place + 1) * self.compute_units // cells > place * self.compute_units // cells).reshape(
            self.rows, self.columns
        )
        kinds[1::2] = kinds[1::2, ::-1].copy()  # every other row runs backwards, so that kinds alternate in columns too
        return kinds

    def walk(self, compute: bool, width: int) -> Cells:
        """All compute (or memory) units along strips of ``width`` columns, down one and up the next, row by row.

        Units that follow each other lie near each other.
        """
        rows, columns = np.indices((self.rows, self.columns)).reshape(2, -1)
        strip = columns // width
        down = np.where(strip % 2, self.rows - 1 - rows, rows)
        along = np.where(down % 2, -columns, columns)
        order = np.lexsort((along, down, strip))
        order = order[self.is_compute[rows[order], columns[order]] == compute]
        return np.stack((rows[order], columns[order] + 1), axis=1)

    def gateways(self, cells: Cells) -> Cells:
        """The gateway of each cell: in its row, at the nearer end."""
        west = cells[:, 1] <= self.columns / 2
        return np.stack((cells[:, 0], np.where(west, 0, self.columns + 1)), axis=1)


class LinkLoads:
    """Bytes over every link of a mesh. ``bytes[direction, row, column]``: of the link that leaves there that way."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.bytes = np.zeros((len(DIRECTIONS), mesh.rows, mesh.columns + 2))

    def send(self, sources: Cells, targets: Cells, num_bytes: float | NDArray[np.float64]) -> None:
        """Messages of ``num_bytes`` each from ``sources`` to ``targets``, shape (n, 2) both."""
        sizes = np.broadcast_to(np.asarray(num_bytes, dtype=float), len(sources))
        (row, column), (to_row, to_column) = sources.T, targets.T
        marks = np.zeros((len(DIRECTIONS), self.mesh.rows + 1, self.mesh.columns + 3))
        for direction, start, end in ((0, column, to_column), (1, to_column + 1, column + 1)):
            there = end > start
            np.add.at(marks[direction], (row[there], start[there]), sizes[there])
            np.add.at(marks[direction], (row[there], end[there]), -sizes[there])
        for direction, start, end in ((2, row, to_row), (3, to_row + 1, row + 1)):
            there = end > start
            np.add.at(marks[direction], (start[there], to_column[there]), sizes[there])
            np.add.at(marks[direction], (end[there], to_column[there]), -sizes[there])
        self.bytes[:2] += np.cumsum(marks[:2], axis=2)[:, :-1, :-1]
        self.bytes[2:] += np.cumsum(marks[2:], axis=1)[:, :-1, :-1]

    def multicast(self, source: Cells, targets: Cells, num_bytes: float) -> None:
        """One message from ``source``, shape (2,), to all of ``targets``: once on every link of their ways together."""
        self.bytes.reshape(-1)[tree(self.mesh, source, targets, 1)] += num_bytes

    @property
    def worst(self) -> tuple[float, str]:
        """Bytes over the busiest link, and which it is: ``east of (row, column)``, the first row and column being 0."""
        direction, row, column = np.unravel_index(int(np.argmax(self.bytes)), self.bytes.shape)
        return float(self.bytes[direction, row, column]), f"{DIRECTIONS[direction]} of ({row}, {column - 1})"


def tree(mesh: Mesh, source: Cells, targets: Cells, first: int) -> Links:
    """The links of one message from ``source``, shape (2,), to all of ``targets``: along axis ``first`` (1: its row),
    then along the other, forking where ways part."""
    second, links = 1 - first, []
    reached = targets[:, first]
    links += _run(mesh, first, int(source[second]), int(source[first]), reached)
    for at in np.unique(reached):
        links += _run(mesh, second, int(at), int(source[second]), targets[reached == at, second])
    return np.concatenate(links)


def _run(mesh: Mesh, axis: int, beside: int, start: int, ends: NDArray[np.int64]) -> list[Links]:
    """Links along ``axis`` both ways from ``start`` as far as ``ends`` lie, at ``beside`` on the other axis."""
    forward, back = (0, 1) if axis == 1 else (2, 3)
    width = mesh.columns + 2
    origin, stride = (beside * width, 1) if axis == 1 else (beside, width)
    ahead, behind = np.arange(start, ends.max()), np.arange(ends.min() + 1, start + 1)
    return [
        direction * mesh.rows * width + origin + stride * at for direction, at in ((forward, ahead), (back, behind))
    ]
