"""A trace in Perfetto's own format: a sequence of TracePacket messages (perfetto/trace/perfetto_trace.proto).

Slices are millions, so their packets are built as arrays: a row of bytes each, in which integers are varints padded to
one width (which every protobuf reader takes), and a mask of the bytes that are there. Field numbers are the schema's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from results.step_series import StepSeries
from results.trace.events import Trace, Track

Bytes = NDArray[np.uint8]
PICOSECONDS_PER_NANOSECOND = 1000
SLICE_BEGIN, SLICE_END, COUNTER = 1, 2, 4
CLEARED, NEEDED = 1, 2  # sequence flags: interned texts begin here; they are needed here
TIME_WIDTH, TEXT_WIDTH, TRACK_WIDTH = 8, 4, 5  # bytes of padded varints: 56, 28 and 35 bits


def encoded(trace: Trace) -> Iterator[bytes]:
    """The file in pieces: texts, then for each process and engine a description and its slices, then counters."""
    yield _packet(_varint(13, CLEARED), _interned(trace.texts))
    for number, name in enumerate(trace.processes, start=1):
        described = _varint(1, number) + _bytes(6, name.encode())
        yield _packet(_bytes(60, _varint(1, number) + _bytes(3, described)))
    place = len(trace.processes)
    for track in trace.tracks:
        place += 1
        yield _described(place, track.process, _bytes(2, track.engine.encode()))
        yield _slices(track, place).tobytes()
    for process, series in trace.counters:
        place += 1
        unit = _bytes(8, _bytes(6, series.unit.encode()))
        yield _described(place, process, _bytes(2, series.name.encode()) + unit)
        yield _counter(series, place).tobytes()


def _slices(track: Track, place: int) -> Bytes:
    """Two packets a slice: where it begins, with texts and arrows, and where it ends."""
    size = track.name.size
    begin = [
        _fixed(b"\x48", size),
        _fixed(bytes([SLICE_BEGIN]), size),
        _on_track(place, size),
        *_varints(b"\x50", track.name + 1, TEXT_WIDTH),
        *_varints(b"\x18", track.category + 1, TEXT_WIDTH),
    ]
    present = np.ones((size, sum(part.shape[1] for part in begin) + 20), dtype=np.bool_)
    for key, arrows, there in (
        (b"\xf9\x02", track.sends, slice(-20, -10)),
        (b"\x81\x03", track.receives, slice(-10, None)),
    ):
        begin += [_fixed(key, size), arrows.astype("<u8").view(np.uint8).reshape(size, 8)]
        present[:, there] = (arrows > 0)[:, None]
    end = [_fixed(b"\x48", size), _fixed(bytes([SLICE_END]), size), _on_track(place, size)]
    pair = [_packets(track.start_ps, begin, present), _packets(track.finish_ps, end, None)]
    width = max(rows.shape[1] for rows, _ in pair)
    rows = np.zeros((size, 2, width), dtype=np.uint8)
    kept = np.zeros((size, 2, width), dtype=np.bool_)
    for side, (packets, mask) in enumerate(pair):
        rows[:, side, : packets.shape[1]], kept[:, side, : packets.shape[1]] = packets, mask
    return rows[kept]


def _counter(series: StepSeries, place: int) -> Bytes:
    size = series.times_ps.size
    values = np.append(series.values, 0.0).astype("<f8").view(np.uint8).reshape(size, 8)
    event = [
        _fixed(b"\x48", size),
        _fixed(bytes([COUNTER]), size),
        _on_track(place, size),
        _fixed(b"\xe1\x02", size),
        values,
    ]
    rows, mask = _packets(series.times_ps, event, None)
    return rows[mask]


def _packets(
    times_ps: NDArray[np.int64], event: Sequence[Bytes], present: NDArray[np.bool_] | None
) -> tuple[Bytes, NDArray[np.bool_]]:
    """Rows of whole packets around the bytes of their track events, and which of their bytes are there."""
    body = np.concatenate(event, axis=1)
    there = np.ones(body.shape, dtype=np.bool_) if present is None else present
    head = [
        *_varints(b"\x40", times_ps // PICOSECONDS_PER_NANOSECOND, TIME_WIDTH),
        _fixed(b"\x50\x01" + b"\x68" + bytes([NEEDED]), len(body)),
        *_varints(b"\x5a", there.sum(axis=1), 2),
    ]
    lengths = sum(part.shape[1] for part in head) + there.sum(axis=1)
    rows = np.concatenate([*_varints(b"\x0a", lengths, 2), *head, body], axis=1)
    mask = np.ones(rows.shape, dtype=np.bool_)
    mask[:, -body.shape[1] :] = there
    return rows, mask


def _varints(key: bytes, values: NDArray[np.int64], width: int) -> list[Bytes]:
    """A field of one integer a row: its key, and 7 bits a byte, the lowest first, padded to ``width`` bytes."""
    shifts = 7 * np.arange(width)
    groups = (np.asarray(values, dtype=np.int64)[:, None] >> shifts) & 0x7F
    groups[:, :-1] |= 0x80
    return [_fixed(key, len(groups)), groups.astype(np.uint8)]


def _fixed(data: bytes, rows: int) -> Bytes:
    return np.broadcast_to(np.frombuffer(data, dtype=np.uint8), (rows, len(data)))


def _on_track(place: int, rows: int) -> Bytes:
    return np.concatenate(_varints(b"\x58", np.full(rows, place), TRACK_WIDTH), axis=1)


def _interned(texts: Sequence[str]) -> bytes:
    """Texts once, by number from 1: a slice's name and its category."""
    entries = [_varint(1, number) + _bytes(2, text.encode()) for number, text in enumerate(texts, start=1)]
    return _bytes(12, b"".join(_bytes(kind, entry) for kind in (1, 2) for entry in entries))


def _described(place: int, process: int, description: bytes) -> bytes:
    return _packet(_bytes(60, _varint(1, place) + _varint(5, process + 1) + description))


def _packet(*fields: bytes) -> bytes:
    return _bytes(1, _varint(10, 1) + b"".join(fields))


def _varint(number: int, value: int) -> bytes:
    return _number(number << 3) + _number(value)


def _bytes(number: int, data: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(data)) + data


def _number(value: int) -> bytes:
    """A varint of as few bytes as it needs."""
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return struct.pack(f"{len(parts) + 1}B", *parts, value)
