"""Engines that run at their own rates, and maxima over them: who wins when is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import example, given, settings
from hypothesis import strategies as st

from chips.clock.timeline import Time, Timeline


@dataclass(frozen=True)
class Runner:
    """An engine with a ``lead``, that takes ``inner`` ps each inner and ``outer`` ps each outer iteration."""

    lead: int
    inner: int
    outer: int
    label: str

    def after(self, outer: int, inner: int) -> tuple[int, dict[str, int]]:
        """Time and parts after this many outer iterations in full, and inner ones of the next."""
        run = outer * self.outer + inner * self.inner
        parts = {"lead": self.lead}
        parts[self.label] = parts.get(self.label, 0) + run
        return self.lead + run, {label: ps for label, ps in parts.items() if ps}


runners = st.lists(
    st.builds(
        Runner, st.integers(0, 120), st.integers(0, 5), st.integers(0, 5), st.sampled_from(["lead", "odd", "even"])
    ),
    min_size=2,
    max_size=5,
)


@settings(max_examples=400)
@given(
    runners,
    st.permutations(range(5)),
    st.integers(0, 60),
    st.integers(0, 40),
    st.integers(0, 6),
    st.integers(0, 12),
)
@example(  # a winner changes in the very period that is probed, and nothing shows it before the next
    [Runner(8, 3, 41, "odd"), Runner(3, 4, 5, "odd"), Runner(3, 3, 0, "odd"), Runner(7, 5, 4, "even")],
    [4, 3, 1, 2, 0],
    20,
    18,
    6,
    7,
)
@example(  # who wins in outer iterations to come shows only at the end of the inner loop
    [Runner(2, 3, 0, "lead"), Runner(24, 1, 27, "lead"), Runner(52, 2, 33, "odd")], [1, 3, 2, 4, 0], 26, 34, 6, 1
)
@example(  # a tie is reached in the last period before the horizon
    [
        Runner(22, 3, 49, "odd"),
        Runner(4, 0, 2, "even"),
        Runner(4, 5, 15, "even"),
        Runner(2, 2, 0, "even"),
        Runner(20, 2, 4, "lead"),
    ],
    [3, 4, 1, 2, 0],
    1,
    11,
    2,
    5,
)
def test_maxima_of_independent_engines_equal_their_closed_form(
    runners: list[Runner], order: list[int], outer: int, inner: int, inner_memory: int, outer_memory: int
) -> None:
    """A loop in a loop; who was ahead in the last inner iterations, and at the ends of the last outer ones."""
    order = [index for index in order if index < len(runners)]
    clock = Timeline()
    engines = [clock.engine(str(index)) for index in range(len(runners))]
    for engine, runner in zip(engines, runners, strict=True):
        clock.task(engine, runner.lead, label="lead")

    def inner_step(past: tuple[Time, ...]) -> tuple[Time, ...]:
        for engine, runner in zip(engines, runners, strict=True):
            clock.task(engine, runner.inner, label=runner.label)
        return (clock.join(*(engines[index].free for index in order)), *past[:-1])

    def outer_step(past: tuple[Time, ...]) -> tuple[Time, ...]:
        within = clock.loop(inner, inner_step, past[: inner_memory + 1])
        for engine, runner in zip(engines, runners, strict=True):
            clock.task(engine, runner.outer, label=runner.label)
        return (*within, within[0], *past[inner_memory + 1 : -1])

    def ahead(outers: int, inners: int) -> tuple[int, dict[str, int]]:
        at = [Runner(r.lead, r.inner, r.outer + inner * r.inner, r.label).after(outers, inners) for r in runners]
        return max((at[index] for index in order), key=lambda time: time[0])

    past = clock.loop(outer, outer_step, (Time.zero,) * (inner_memory + outer_memory + 2))
    seen = [(time.ps, {label: spent for label, spent in time.parts.items() if spent}) for time in past]
    never = (0, {})
    last = inner * outer - 1
    assert seen[: inner_memory + 1] == [
        ahead((last - back) // inner, (last - back) % inner + 1) if back <= last else never
        for back in range(inner_memory + 1)
    ]
    assert seen[inner_memory + 1 :] == [
        ahead(outer - 1 - back, inner) if inner and back < outer else never for back in range(outer_memory + 1)
    ]
