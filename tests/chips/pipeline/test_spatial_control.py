"""The Spatial compiler's equations, worked by hand, and beside the schedule of the same metapipeline."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chips.pipeline import spatial_control as spatial
from chips.pipeline.metapipeline import Buffer, Metapipeline, Stage, chain

STAGES = [10, 30, 20]


def test_equations_of_the_runtime_model() -> None:
    assert spatial.outer_sequenced(5, STAGES) == 3 + 5 * 60 + 5 * 3 * 1 + 5 * 2
    assert spatial.outer_pipelined(5, STAGES) == 3 + 4 * 30 + 60 + 5 * 3 * 1
    assert spatial.outer_streaming(5, STAGES) == 3 + 5 * 30 + 1
    assert spatial.fork_join(5, STAGES) == 3 + 5 * 30 + 1
    assert spatial.inner_pipelined(64, 29, 1) == 63 + 29 + 3 + 1
    assert spatial.inner_sequenced(64, 29) == 64 * 29 + 3
    assert spatial.iterations(0, 100, 8, 4) == 4
    assert [spatial.initiation_interval(29), spatial.initiation_interval(29, 12, 4)] == [1, 3]
    assert spatial.initiation_interval(5, 12) == 5


@given(st.lists(st.integers(1, 50), min_size=1, max_size=5), st.integers(1, 100))
def test_spatial_control_is_the_schedule_plus_its_constants(works: list[int], count: int) -> None:
    """Startup, shutdown and a token a stage and iteration are all that the compiler's model adds to the recurrence."""
    stages = tuple(Stage(f"s{place}", work) for place, work in enumerate(works))
    compiled = Metapipeline("spatial", count, stages, control="spatial").total_ps
    assert compiled == spatial.outer_pipelined(count, works)
    assert compiled - chain("row", count, works).total_ps == 3 + count * len(works)


def test_spatial_control_nests() -> None:
    inner = Metapipeline("inner", 4, (Stage("a", 7), Stage("b", 9)), control="spatial")
    outer = Metapipeline("outer", 3, (Stage("inner", inner), Stage("c", 50)), control="spatial")
    assert outer.total_ps == spatial.outer_pipelined(3, [spatial.outer_pipelined(4, [7, 9]), 50])


def test_default_depths_are_the_compilers() -> None:
    row = chain("row", 1, [1, 1, 1, 1])
    pipeline = Metapipeline("skip", 1, row.stages, (*row.links, Buffer("s0", "s3"), Buffer("s1", "s3")))
    depths = {(link.source, link.target): link.depth for link in pipeline.links}
    assert depths["s0", "s1"] == spatial.buffer_depth(0, 1) == 2
    assert depths["s1", "s3"] == spatial.buffer_depth(1, 3) == 3
    assert depths["s0", "s3"] == spatial.buffer_depth(0, 3) == 4
