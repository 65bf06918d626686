"""Joules of an operation against what a programmer must say: a point a machine and workload, and where they go.

Takes records as ``loopline efficiency --json`` prints them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import FuncFormatter, PercentFormatter

from results.pictures.canvas.palette import CAUSE_COLOURS
from results.pictures.canvas.picture import Picture, plain_axes

PARTS = {
    "instruction_pj": CAUSE_COLOURS["control_j"],
    "on_chip_pj": CAUSE_COLOURS["on_chip_j"],
    "memory_pj": CAUSE_COLOURS["hbm_j"],
    "arithmetic_pj": CAUSE_COLOURS["arithmetic_j"],
}
SERIES = (("#000000", "o"), ("#E69F00", "s"), ("#7A4EAB", "^"), ("#666666", "D"))


def efficiency(records: Sequence[Mapping[str, Any]], title: str) -> Picture:
    """Above, energy an operation by machine, in the order of what is to be said; below, its parts for each workload."""
    machines = list(dict.fromkeys(record["machine"] for record in records))
    workloads = list(dict.fromkeys(record["workload"] for record in records))
    picture = Picture(10, 7.6, _description(records))
    grid = picture.add_gridspec(2, len(workloads), height_ratios=(1.25, 1), hspace=0.45, wspace=0.08)
    picture.subplots_adjust(left=0.15, right=0.98, top=0.93, bottom=0.11)
    above = picture.add_subplot(grid[0, :])
    places = range(len(machines))
    for number, (workload, (colour, marker)) in enumerate(zip(workloads, SERIES * len(workloads), strict=False)):
        values = [_of(records, machine, workload)["pj_per_operation"] for machine in machines]
        above.plot(places, values, color=colour, marker=marker, linewidth=1.2, label=workload)
        for place, value in zip(places, values, strict=True):
            above.annotate(
                f"{value:.3g}",
                (place, value),
                xytext=(0, 6 if number else -12),
                textcoords="offset points",
                fontsize=7,
                ha="center",
            )
    above.set(
        yscale="log",
        xlabel="a program must say more, from nothing but the computation to a circuit  →  a machine for one operation",
    )
    above.set_ylabel("pJ an operation")
    above.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    above.set_xticks(places, [machine.replace(", ", ",\n") for machine in machines])
    above.margins(y=0.15)
    above.set_title(title, loc="left", weight="bold")
    above.legend(frameon=False, fontsize=8, loc="center right", bbox_to_anchor=(1, 0.72))
    plain_axes(above, "y")
    for number, workload in enumerate(workloads):
        axes = picture.add_subplot(grid[1, number])
        left = [0.0] * len(machines)
        for part, (name, colour) in PARTS.items():
            found = [_of(records, machine, workload) for machine in machines]
            shares = [record[part] / record["pj_per_operation"] for record in found]
            axes.barh(places, shares, 0.7, left=left, color=colour, label=name, edgecolor="white", linewidth=0.3)
            left = [before + own for before, own in zip(left, shares, strict=True)]
        axes.set_yticks(places, machines if number == 0 else [""] * len(machines))
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xticks((0, 0.25, 0.5, 0.75))
        axes.set_title(workload, loc="left", fontsize=9)
        axes.tick_params(axis="y", length=0)
        plain_axes(axes, "x")
        if number == 0:
            names = axes.get_legend_handles_labels()
    picture.legend(*names, loc="lower center", ncols=len(PARTS), frameon=False, fontsize=9)
    return picture


def _of(records: Sequence[Mapping[str, Any]], machine: str, workload: str) -> Mapping[str, Any]:
    return next(record for record in records if (record["machine"], record["workload"]) == (machine, workload))


def _description(records: Sequence[Mapping[str, Any]]) -> str:
    first = records[0]["workload"]
    told = ", ".join(
        f"{record['machine']} {record['pj_per_operation']:.3g} pJ" for record in records if record["workload"] == first
    )
    return f"Energy an operation of machines from least to most to say, of a {first}: {told}."
