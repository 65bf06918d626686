"""Metapipelines: stages joined by buffers, nested, with fill, steady state and drain.

metapipeline.py     a pipeline of stages and its time
stage.py            what one stage takes
graph.py            stages that fork and join
balance.py          units dealt to stages so that none waits
max_plus.py         the recurrence of a pipeline as max-plus matrices, and its cycle time
spatial_control.py  the tokens with which stages laid out in space start each other
"""

from chips.pipeline.balance import balance, in_turn, row_par_for, single_buffered, totals_by_depth, with_jitter
from chips.pipeline.metapipeline import Buffer, Metapipeline, Stage, chain

__all__ = [
    "Buffer",
    "Metapipeline",
    "Stage",
    "balance",
    "chain",
    "in_turn",
    "row_par_for",
    "single_buffered",
    "totals_by_depth",
    "with_jitter",
]
