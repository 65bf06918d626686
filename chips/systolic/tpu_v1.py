"""The engines and instructions of TPU v1 (Jouppi et al. 2017, section 2), as tasks on a clock.

Five engines work side by side: PCIe, the weight memory, the shift chain that brings a tile of weights into the array,
the array, and the activation unit behind the accumulators. Instructions say what they wait for; what a layer is made of
does not belong here. Sizes and rates are those of the datasheet.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from chips.clock.time import Time, seconds_to_ps, spend
from chips.clock.timeline import Timeline
from chips.spec import Systolic


@dataclass(slots=True)
class Gaps:
    """Picoseconds of the array, by what it did or waited for; where waits overlap, the first that applies counts.

    ``weight_stall``: no tile had come from memory. ``weight_shift``: it was shifting in. ``non_matrix``: the tile was
    ready, but inputs or accumulators were not (or the array had nothing to do). ``useful`` is the part of ``active``
    that multiplied weights of the model rather than the padding of partial tiles.
    """

    active: int = 0
    useful: float = 0.0
    weight_stall: int = 0
    weight_shift: int = 0
    non_matrix: int = 0


@dataclass
class Machine:
    """One TPU v1 and its clock. Every method is one instruction: it returns when it ends."""

    chip: Systolic
    clock: Timeline = field(default_factory=Timeline)
    gaps: Gaps = field(default_factory=Gaps)
    tiles_read: int = 0

    def __post_init__(self) -> None:
        chip, clock = self.chip, self.clock
        self._host_in, self._host_out = clock.engine("PCIe in"), clock.engine("PCIe out")
        self._weight_memory, self._shift_chain = clock.engine("weight memory"), clock.engine("weight shift")
        self._array, self._activation = clock.engine("array"), clock.engine("activation")
        self._fifo = clock.buffer(chip.weight_fifo_tiles)
        # Half of the accumulators fill while the activation unit reads the other half.
        self._accumulators = clock.buffer(2)
        self._second_weights = clock.buffer(1)

    @property
    def tile_bytes(self) -> int:
        """One tile of weights: a byte an element."""
        return self.chip.rows * self.chip.columns

    @property
    def accumulator_rows(self) -> int:
        """Rows of 32-bit partial sums in one half of the accumulators."""
        return self.chip.accumulator_bytes // (2 * 4 * self.chip.columns)

    @property
    def array_free_ps(self) -> int:
        """When the array has done all that it was asked for."""
        return int(self._array.free.ps)

    def cycles(self, count: float) -> int:
        """``count`` clocks in picoseconds."""
        return seconds_to_ps(count / self.chip.compute.clock_hz)

    def read_host_memory(self, amount_bytes: float, after: tuple[Time, ...] = ()) -> Time:
        """Inputs from the host into the unified buffer."""
        return self.clock.task(
            self._host_in, seconds_to_ps(amount_bytes / self.chip.host_bandwidth), after, "read host memory"
        )

    def write_host_memory(self, amount_bytes: float, after: tuple[Time, ...]) -> Time:
        """Outputs from the unified buffer to the host."""
        return self.clock.task(
            self._host_out, seconds_to_ps(amount_bytes / self.chip.host_bandwidth), after, "write host memory"
        )

    def read_weights(self) -> Time:
        """Fetch the next tile into the weight FIFO. Runs ahead of the array by as many tiles as the FIFO holds."""
        self.tiles_read += 1
        duration = seconds_to_ps(self.tile_bytes / self.chip.sustained_weight_bandwidth)
        return self.clock.task(self._weight_memory, duration, (self._fifo.acquire(),), "read weights")

    def matrix_multiply(
        self, tile: Time, rows: int, operand_bytes: int, filled: float, after: tuple[Time, ...]
    ) -> Time:
        """``rows`` inputs of 256 elements times a ``tile`` that was read; ``filled`` of its elements are weights.

        A row enters every clock; 16-bit inputs (``operand_bytes`` 2) take two. The next tile shifts in meanwhile.
        """
        # The array's second set of weight registers is free when the tile before has begun to be used.
        shifted = self.clock.task(
            self._shift_chain, self.cycles(self.chip.rows), (tile, self._second_weights.acquire()), "weight shift"
        )
        self._fifo.release(shifted)
        idle = self.array_free_ps
        duration = self.cycles(rows * operand_bytes)
        finish = self.clock.task(self._array, duration, (shifted, *after), "matrix multiply")
        start = self.clock.join(shifted, *after, Time(idle, {}))
        self._second_weights.release(start)
        self._account(idle, int(tile.ps), int(shifted.ps), int(start.ps), duration, filled)
        return finish

    def acquire_accumulators(self) -> Time:
        """When half of the accumulators is free for a new block of partial sums."""
        return self._accumulators.acquire()

    def activate(self, rows: int, operand_bytes: int, after: Time) -> Time:
        """Read a finished block of sums, apply the non-linearity, and write it to the unified buffer.

        The last sum leaves the array rows + columns - 2 clocks after its input has entered.
        """
        drained = spend(after, self.cycles(self.chip.rows + self.chip.columns - 2), "drain of the array", 1)
        finish = self.clock.task(self._activation, self.cycles(rows * operand_bytes), (drained,), "activate")
        self._accumulators.release(finish)
        return finish

    def vector(self, rows: float, operand_bytes: int, after: tuple[Time, ...]) -> Time:
        """Pass ``rows`` vectors of 256 elements through the activation unit: pooling and element-wise layers."""
        return self.clock.task(self._activation, self.cycles(rows * operand_bytes), after, "vector")

    def _account(self, idle: int, fetched: int, shifted: int, start: int, active: int, filled: float) -> None:
        gaps = self.gaps
        gaps.active += active
        gaps.useful += active * filled
        stalled, shifting = max(idle, fetched), max(idle, shifted)
        gaps.weight_stall += stalled - idle
        gaps.weight_shift += shifting - stalled
        gaps.non_matrix += start - shifting
