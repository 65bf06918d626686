"""What kernel boundaries cost in each way to launch kernels: a bar a way, its time a token by part.

Takes records as ``loopline boundary --json`` prints them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from results.pictures.canvas.palette import PART_COLOURS
from results.pictures.canvas.picture import Picture, plain_axes
from results.units import seconds_unit

COLOURS = {
    "gap": ("gap: the next kernel is launched and starts", PART_COLOURS["launch_s"][1]),
    "ramp": ("ramp: its first bytes come", "#999999"),
    "drain": ("drain: the last blocks end", "#444444"),
    "dependency": ("dependency: results are known to be there", PART_COLOURS["dependency_s"][1]),
    "host": ("host: what the device waits for", PART_COLOURS["host_s"][1]),
}
WORK = ("work of the kernels", "#D6E4F0")


def boundary(records: Sequence[Mapping[str, Any]], title: str) -> Picture:
    """A bar for each record that has a time: work, and the parts of all boundaries of a pass."""
    there = [record for record in records if "seconds" in record]
    longest = max(record["seconds"] for record in there)
    size, unit = seconds_unit(longest)
    picture = Picture(10, 1.7 + 0.42 * len(there), _description(there))
    axes = picture.add_subplot()
    places = range(len(there))
    parts = {part: [record[f"{part}_us"] * 1e-6 * record["boundaries"] for record in there] for part in COLOURS}
    left = [record["seconds"] - sum(parts[part][at] for part in COLOURS) for at, record in enumerate(there)]
    axes.barh(places, [each / size for each in left], 0.66, color=WORK[1], label=WORK[0])
    for part, (name, colour) in COLOURS.items():
        axes.barh(
            places,
            [each / size for each in parts[part]],
            0.66,
            left=[each / size for each in left],
            color=colour,
            edgecolor="white",
            linewidth=0.3,
            label=name,
        )
        left = [before + own for before, own in zip(left, parts[part], strict=True)]
    for at, record in enumerate(there):
        per = (record["seconds"] - record["without"]) / record["boundaries"] * 1e6
        axes.text(left[at] / size, at, f"  {record['boundaries']:,} x {per:.3g} us", va="center", fontsize=8)
    axes.set_yticks(places, [record["mode"] for record in there])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18 * longest / size)
    axes.set_xlabel(f"time of a pass, {unit}; beside a bar: boundaries, and what each costs against none")
    axes.set_title(title, loc="left", weight="bold")
    plain_axes(axes, "x")
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.75 / (0.42 * len(there) + 0.3)), ncols=3, frameon=False)
    return picture


def _description(records: Sequence[Mapping[str, Any]]) -> str:
    told = ", ".join(f"{record['mode']} {1e3 * record['seconds']:.3g} ms" for record in records)
    return f"Time of a pass by the way to launch its kernels: {told}."
