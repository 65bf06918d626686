"""Points of a scenario priced at once into one frame. Many points: ``sweep``, which keeps what it has priced."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from scenarios.sweeps.parts import model_version, price_part
from scenarios.sweeps.scenario_file import Points

if TYPE_CHECKING:
    import pandas as pd

PART = 512  # points priced between two reports of progress


def run(
    points: Points, on_progress: Callable[[int, int, int], None] = lambda total, done, priced: None
) -> pd.DataFrame:
    """A row for each point, in order, with the columns of ``price_part``.

    ``on_progress`` hears how many points there are, how many are done, and how many of these were priced now.
    """
    import pandas as pd

    on_progress(len(points), 0, 0)
    parts = []
    for first in range(0, len(points), PART):
        parts.append(price_part(points.part(first, PART), model_version()))
        done = first + len(parts[-1])
        on_progress(len(points), done, done)
    return pd.concat(parts, ignore_index=True)
