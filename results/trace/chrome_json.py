"""A trace as JSON, in Google's "Trace Event Format": complete events, counters and flows; times in microseconds."""

from __future__ import annotations

import json
from collections.abc import Iterator

from results.step_series import StepSeries
from results.trace.events import Trace, Track

PICOSECONDS_PER_NANOSECOND = 1000


def json_lines(trace: Trace) -> Iterator[str]:
    """The file in pieces, an event a line. Numbers of processes and tracks begin at 1."""
    texts = [json.dumps(text) for text in trace.texts]
    yield '{"displayTimeUnit":"ns","traceEvents":[\n'
    yield ",\n".join(_named("process_name", number, 0, name) for number, name in enumerate(trace.processes, start=1))
    for number, track in enumerate(trace.tracks, start=1):
        yield ",\n" + _named("thread_name", track.process + 1, number, track.engine)
        yield from _slices(track, number, texts)
    for process, series in trace.counters:
        yield from _counter(process + 1, series)
    yield "\n]}\n"


def _slices(track: Track, number: int, texts: list[str]) -> Iterator[str]:
    where = f'"pid":{track.process + 1},"tid":{number}'
    columns = (track.name, track.category, track.start_ps, track.finish_ps, track.sends, track.receives)
    for name, category, start, finish, sends, receives in zip(*(column.tolist() for column in columns), strict=True):
        begin, end = start // PICOSECONDS_PER_NANOSECOND, finish // PICOSECONDS_PER_NANOSECOND
        yield (
            f',\n{{"ph":"X","name":{texts[name]},"cat":{texts[category]},{where},"ts":{_micro(begin)},'
            f'"dur":{_micro(end - begin)},"args":{{"start_ps":{start},"duration_ps":{finish - start}}}}}'
        )
        for kind, arrow in (("s", sends), ("f", receives)):
            if arrow:
                bound = ',"bp":"e"' if kind == "f" else ""
                what = f'"ph":"{kind}"{bound},"id":{arrow},"name":"message","cat":"message"'
                yield f',\n{{{what},{where},"ts":{_micro(begin)}}}'


def _counter(process: int, series: StepSeries) -> Iterator[str]:
    name = json.dumps(f"{series.name}, {series.unit}")
    for ps, value in zip(series.times_ps.tolist(), [*series.values.tolist(), 0.0], strict=True):
        at = _micro(ps // PICOSECONDS_PER_NANOSECOND)
        yield f',\n{{"ph":"C","name":{name},"pid":{process},"ts":{at},"args":{{"value":{value!r}}}}}'


def _micro(nanoseconds: int) -> str:
    """Exact: no float comes between."""
    return f"{nanoseconds // 1000}.{nanoseconds % 1000:03d}"


def _named(kind: str, process: int, track: int, name: str) -> str:
    return f'{{"ph":"M","name":"{kind}","pid":{process},"tid":{track},"args":{{"name":{json.dumps(name)}}}}}'
