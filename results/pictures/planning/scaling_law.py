"""What a loss costs by scaling laws: compute against loss, and the steps of one law, each as much less loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from results.pictures.canvas.palette import FAINT, OTHER_STYLES
from results.pictures.canvas.picture import Picture, plain_axes

STEP = 0.1  # nats a token
BEFORE, BEHIND = 4, 5  # steps, of the asked loss
DOWN_TO = 0.02  # nats above what no compute goes below
MARGIN = 10.0


class Curve(NamedTuple):
    """A law: the loss at so many FLOPs, the FLOPs of a loss, and the loss that none goes below."""

    loss_at: Callable[[float], float]
    compute_of: Callable[[float], float]
    least: float


def scaling_law(curves: Mapping[str, Curve], law: str, loss: float, days_per_flop: float, cluster: str) -> Picture:
    """A line a law; on the right axis days on the ``cluster``. Dashed: the loss that no compute goes below.

    Steps lead past the asked ``loss`` of ``law`` to less and less of it, each with how many times as much it costs as
    the one before.
    """
    curve = curves[law]
    losses = [loss - STEP * number for number in range(-BEFORE, BEHIND) if loss - STEP * number > curve.least + DOWN_TO]
    computes = curve.compute_of(losses[0]) / MARGIN, curve.compute_of(losses[-1]) * MARGIN
    described = f"Training compute against loss by {', '.join(curves)}; {law} takes {curve.compute_of(loss):.3g} FLOPs."
    picture = Picture(7.4, 4.6, described)
    axes = picture.add_subplot()
    for (name, each), (colour, _) in zip(curves.items(), OTHER_STYLES[1:], strict=False):
        spent = np.geomspace(*computes, 200)
        axes.plot([each.loss_at(flops) for flops in spent], spent, color=colour, label=name, linewidth=1.6)
        if each.least > 0:
            axes.axvline(each.least, color=colour, linewidth=0.8, linestyle=(0, (4, 3)))
    _steps(axes, curve, losses)
    axes.scatter([loss], [curve.compute_of(loss)], s=45, color="#000000", zorder=4, label=f"asked: {loss:.3g}")
    axes.set_yscale("log")
    axes.set_ylim(*computes)
    least = min(each.least for each in curves.values() if each.least > 0)
    axes.set_xlim(losses[0] + 2 * STEP, min(least, losses[-1]) - STEP)
    axes.set(xlabel="loss, nats a token (better to the right)", ylabel="training compute, FLOPs")
    plain_axes(axes)
    days = axes.twinx()
    days.set_yscale("log")
    days.set_ylim(*(flops * days_per_flop for flops in computes))
    days.spines["top"].set_visible(False)
    days.set_ylabel(f"days on {cluster}")
    axes.legend(frameon=False, loc="upper left")
    picture.suptitle(f"What {STEP:g} nats less cost, again and again, by {law}", x=0.01, ha="left", weight="bold")
    picture.tight_layout()
    return picture


def _steps(axes: Axes, curve: Curve, losses: Sequence[float]) -> None:
    """From one loss to the next: along, then up, and by which factor."""
    for before, after in pairwise(losses):
        low, high = curve.compute_of(before), curve.compute_of(after)
        axes.plot([before, after, after], [low, low, high], color=FAINT, linewidth=1.0, zorder=1)
        place = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "color": FAINT, "fontsize": 8}
        axes.annotate(f"×{high / low:.3g}", (after, (low * high) ** 0.5), **place)  # type: ignore[arg-type]
