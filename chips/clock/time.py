"""A time that carries its own explanation: picoseconds, and the labels in which its critical path spent them.

Here: the value type ``Time`` and the three operations of the max-plus algebra on it (the latest of several, the
latest over all chips, a duration spent after one). Engines, buffers and loops, whatever changes, live in
``chips.clock.timeline``.

A time is a path through the program: each ``latest`` continues along its winner (the first argument wins a tie), each
``spend`` adds one step. So the parts of a time always sum to the time itself, exactly, because all are integers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from results.errors import LooplineError

IntArray = NDArray[np.int64]
Picoseconds = int | IntArray


class Breakdown(NamedTuple):
    """A duration of chips whose times are explained by a table: a label's parts are a row of it, not an entry each.

    One addition or choice then serves all labels, which is what short clocks of a few dozen chips spend their time on.
    ``ps`` (chips,) is the sum of ``parts`` (labels, chips), none below 0. All tasks of one clock have the same rows.
    """

    ps: IntArray
    parts: IntArray


Duration = Picoseconds | Mapping[Hashable, Picoseconds] | Breakdown

PICOSECONDS_PER_SECOND = 1e12
LAST_PS = int(np.iinfo(np.int64).max)  # 107 days: of a clock whose times are arrays
LONGEST_PS = 2**58  # of one duration: three days


class ClockError(LooplineError, OverflowError):
    """A time that the clock cannot tell; the message says how long it is, and how long it may be."""


def plain(number: IntArray) -> int | IntArray:
    """An array of no dimensions as the integer that it is; any other as it is."""
    return number if number.ndim else int(number)


@overload
def seconds_to_ps(seconds: float) -> int: ...
@overload
def seconds_to_ps(seconds: NDArray[np.float64]) -> IntArray: ...
@overload
def seconds_to_ps(seconds: float | NDArray[np.float64]) -> Picoseconds: ...
def seconds_to_ps(seconds: float | NDArray[np.float64]) -> Picoseconds:
    """Round ``seconds`` to whole picoseconds, once, where a duration enters the clock: int, or int64 for an array.

    Raises ClockError for a duration of more than ``LONGEST_PS``, or of NaN.
    """
    ps = seconds * PICOSECONDS_PER_SECOND
    longest = float(ps.max(initial=0.0)) if isinstance(ps, np.ndarray) else ps
    if not longest <= LONGEST_PS:
        raise ClockError(
            f"something would take {longest / PICOSECONDS_PER_SECOND:.3g} s; the clock tells at most "
            f"{LONGEST_PS / PICOSECONDS_PER_SECOND:,.0f} s of one step."
        )
    return np.rint(ps).astype(np.int64) if isinstance(ps, np.ndarray) else round(float(ps))


class Rate:
    """A mark among the parts of a time: by how many picoseconds it moves each period of one probed loop.

    Marks ride along critical paths as parts do, but no task adds to them and nobody outside the clock sees them.
    A time without the mark does not move with that loop: its rate is 0.
    """

    __slots__ = ()


class Time:
    """A moment on a clock: ``ps`` picoseconds, an int, or an int64 array over chips. Never changed once made.

    ``path`` is what the clock keeps of the critical path, marks of loops included; users read ``parts``.
    """

    __slots__ = ("path", "ps")
    zero: ClassVar[Time]

    def __init__(self, ps: Picoseconds, path: dict[Hashable, Picoseconds]) -> None:
        self.ps = ps
        self.path = path

    @property
    def parts(self) -> dict[Hashable, Picoseconds]:
        """Picoseconds that the critical path to this time spent in each label; they sum to ``ps``, chip by chip."""
        parts = {label: spent for label, spent in self.path.items() if type(label) is not Rate}
        if isinstance(self.ps, np.ndarray):
            return {label: np.broadcast_to(spent, self.ps.shape) for label, spent in parts.items()}
        return parts

    def __repr__(self) -> str:
        return f"Time({self.ps} ps)"


Time.zero = Time(0, {})


def latest(times: Sequence[Time]) -> Time:
    """The latest of ``times``, chip by chip where they are arrays; the first wins a tie."""
    winner = times[0]
    for time in times[1:]:
        if time is winner:
            continue
        later = time.ps > winner.ps
        if isinstance(later, bool):
            winner = time if later else winner
        elif won := np.count_nonzero(later):  # several times as fast as all() and any()
            winner = time if won == later.size else _merge(winner, time, later)
    return winner


def latest_across(time: Time, group: int | None = None) -> Time:
    """The latest over all chips, for every chip, explained by that chip's critical path (the first chip wins a tie).

    With ``group``, the same for every ``group`` chips in a row.
    """
    ps = time.ps
    if not isinstance(ps, np.ndarray):
        return time
    if group is None or group == ps.size:
        chip = int(ps.argmax())
        path: dict[Hashable, Picoseconds] = {
            label: int(spent[chip]) if isinstance(spent, np.ndarray) else spent for label, spent in time.path.items()
        }
        return Time(np.full_like(ps, ps[chip]), path)
    winners = np.arange(0, ps.size, group) + ps.reshape(-1, group).argmax(axis=1)
    winner = np.repeat(winners, group)
    spread: dict[Hashable, Picoseconds] = {
        label: spent[winner] if isinstance(spent, np.ndarray) else spent for label, spent in time.path.items()
    }
    return Time(ps[winner], spread)


def spend(start: Time, duration: Duration, label: Hashable, chips: int) -> Time:
    """``duration`` after ``start``, spent in ``label``, or in the labels that ``duration`` maps to picoseconds.

    Of a ``Breakdown`` the table of parts is what the path keeps under ``label``. Raises ClockError.
    """
    ps = start.ps
    path = start.path.copy()
    if isinstance(duration, Breakdown):
        path[label] = path.get(label, 0) + duration.parts
        return Time(_told(ps + duration.ps), path)
    for name, spent in steps(duration, label, chips):
        ps = ps + spent
        path[name] = path.get(name, 0) + spent
    return Time(_told(ps), path)


def _told(ps: Picoseconds) -> Picoseconds:
    """``ps``, unless that is beyond the clock: in an array, a sum of two times that is, is negative."""
    if isinstance(ps, np.ndarray) and np.count_nonzero(ps < 0):
        raise ClockError(f"what is simulated ends after more than {LAST_PS} ps, 107 days, which the clock cannot tell.")
    return ps


def steps(duration: Duration, label: Hashable, chips: int) -> Iterator[tuple[Hashable, Picoseconds]]:
    """The (label, picoseconds) pairs of one task's duration.

    Raises ValueError for what is negative, not whole, or an array of another shape than (chips,).
    """
    if isinstance(duration, Breakdown):
        yield label, duration.ps
        return
    for name, spent in duration.items() if isinstance(duration, Mapping) else ((label, duration),):
        if type(spent) is int and spent >= 0:
            yield name, spent
            continue
        if isinstance(spent, np.ndarray):
            if chips == 1 or spent.shape != (chips,):
                raise ValueError(
                    f"A duration of shape {spent.shape} in {name!r} does not fit a clock for {chips} chips."
                )
            allowed = spent.dtype.kind == "i" and not np.count_nonzero(spent < 0)
        else:
            allowed = isinstance(spent, int | np.integer) and bool(spent >= 0)
        if not allowed:
            shortest = np.min(spent)
            raise ValueError(f"A duration of {shortest} ps in {name!r} is no whole number of picoseconds from 0 up.")
        yield name, spent if isinstance(spent, np.ndarray) else int(spent)


def chosen(first: Time, second: Time, take_second: NDArray[np.bool_]) -> Time:
    """``second`` on the chips where ``take_second`` is true, ``first`` on the others, whichever is later."""
    if first is second:
        return first
    return Time(np.where(take_second, second.ps, first.ps), _mixed(first, second, take_second))


def _merge(first: Time, second: Time, second_wins: NDArray[np.bool_]) -> Time:
    """The winner of two times chip by chip."""
    return Time(np.maximum(first.ps, second.ps), _mixed(first, second, second_wins))


def _mixed(first: Time, second: Time, take_second: NDArray[np.bool_]) -> dict[Hashable, Picoseconds]:
    """The paths of two times chip by chip; parts that both share are shared by the result too (no copy)."""
    path: dict[Hashable, Picoseconds] = {}
    for label in first.path | second.path:
        ours, theirs = first.path.get(label, 0), second.path.get(label, 0)
        same = ours is theirs or (isinstance(ours, int) and isinstance(theirs, int) and ours == theirs)
        path[label] = ours if same else np.where(take_second, theirs, ours)
    return path
