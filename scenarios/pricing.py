"""The door to a price: ``price(points)``, and who asks for a frame through it: ``simulate``, ``compare``.

A point is resolved once (``scenarios.assignment``), checked against its chips' memory, and run: alone
(``scenarios.running``), with others on shared clocks (``scenarios.shared_clocks``), or with a rank a chip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

from chips.spec import Dataflow, Gpu
from cluster import LOCAL, Communicator, Executor, run_ranks
from scenarios.assignment import Assignment, assign
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.framework import check_framework
from scenarios.inputs import INPUTS, Option, listed, showing_inputs
from scenarios.memory import assign_fitting, with_fitting_micro_batch
from scenarios.outcome import Columns, Outcome, Record, asked, figures
from scenarios.passes import decoders_of_point
from scenarios.point import Point, make_point
from scenarios.running import Together, run, run_alike, run_alone
from scenarios.shared_clocks import run_together
from scenarios.strategies import STRATEGIES
from scenarios.strategies.decoder_kernels import decoder_kernels
from scenarios.workload.model import Model

if TYPE_CHECKING:
    import pandas as pd

KERNEL_COLUMNS = ("decoder_kernels", "decoder_launches", "backward_kernels", "backward_launches")
FEW = 64  # points; more are recorded first, and share clocks
Refusal = DoesNotFit | ScenarioError


@dataclass(frozen=True)
class Prices:
    """What ``price`` found: of every point its outcome, or why it has none.

    ``together``: points that ran side by side, with their numbers among ``points``; ``refusals``: the others.
    """

    points: Sequence[Point]
    together: Sequence[Together]
    refusals: dict[int, Refusal]

    def outcome(self, number: int = 0) -> Outcome:
        """What point ``number`` took. Raises the refusal of one that does not fit or cannot be split so."""
        found, place = self._found(number)
        return found.outcome.of(place)

    @property
    def outcomes(self) -> list[Outcome]:
        """Those of all points. Raises the first refusal."""
        return [self.outcome(number) for number in range(len(self.points))]

    def assignment(self, number: int = 0) -> Assignment:
        """How point ``number`` was resolved. Raises as ``outcome`` does."""
        found, point = self._found(number)[0].assignment, self.points[number]
        return found if found.point is point else assign(point)  # of points side by side, one was resolved for all

    def record(self, number: int = 0) -> Record:
        """Point ``number`` as a row of the results' schema."""
        return {name: values[number : number + 1].tolist()[0] for name, values in self.columns.items()}

    def checked(self) -> Prices:
        """These prices. Raises ScenarioError in one sentence where a model cannot be split as it was asked for."""
        for _, refusal in sorted(self.refusals.items()):
            if isinstance(refusal, ScenarioError):
                raise refusal
        return self

    @cached_property
    def columns(self) -> Columns:
        """Columns of the results' schema, a row for each point in their order; a refusal is a row that says why."""
        columns = asked(self.points)
        for number, refusal in self.refusals.items():
            columns["reason"][number] = str(refusal)
        for each in self.together:
            batches, contexts = columns["batch"][each.numbers], columns["context"][each.numbers]
            if len(each.numbers) == 1:
                batches, contexts = batches[0], contexts[0]
            for name, values in figures(each.assignment, each.outcome, each.alike, batches, contexts).items():
                columns[name][each.numbers] = values
            # Of points side by side one speaks for all: their chips map them alike.
            for name, value in _kernels(self.assignment(each.numbers[0])).items():
                columns[name][each.numbers] = value
        return columns

    def frame(self) -> pd.DataFrame:
        """The same as a frame."""
        from results.schema import frame_of_columns

        return frame_of_columns(self.columns)

    def _found(self, number: int) -> tuple[Together, int]:
        if number in self.refusals:
            raise self.refusals[number]
        return self._places[number]

    @cached_property
    def _places(self) -> dict[int, tuple[Together, int]]:
        """With whom each point ran, and which of them it is."""
        return {number: (each, place) for each in self.together for place, number in enumerate(each.numbers)}


def price(points: Sequence[Point], *, executor: Executor = LOCAL, communicator: Communicator | None = None) -> Prices:
    """Price points: what each takes, on what, and why another does not fit. The same, to the picosecond, anywhere.

    Training steps whose replicas cannot compute their share at once do so in the largest micro-batches that fit.

    ``executor``: where their chips run. ``communicator``: of a rank that runs its own chip of each point and meets the
    others in messages. Raises ClusterError where a rank cannot be started or is lost, ScenarioError where ``points``
    are none for its ranks.
    """
    if executor.name != "local":
        return _on_ranks(points, executor)
    points = [with_fitting_micro_batch(point) for point in points]
    if communicator is None and len(points) > FEW:
        return Prices(points, *run_together(points))
    together: list[Together] = []
    refusals: dict[int, Refusal] = {}
    for number, point in enumerate(points):
        try:
            together.append(run_alone(point, number, communicator))
        except (DoesNotFit, ScenarioError) as refusal:
            refusals[number] = refusal
    return Prices(points, together, refusals)


def _kernels(assignment: Assignment) -> dict[str, float]:
    """Kernels and launches of one decoder, forward and backward."""
    point, layout, found = assignment.point, assignment.layout, dict.fromkeys(KERNEL_COLUMNS, 0.0)
    assert isinstance(point.chip, Gpu | Dataflow)
    runs = layout.pipeline * layout.interleaved
    names = zip(KERNEL_COLUMNS[::2], KERNEL_COLUMNS[1::2], decoders_of_point(assignment), strict=False)
    for kernels, launches, decoder in names:
        how = point.chip, assignment.shard.ranks, point.strategy, point.launch, point.framework
        found[kernels], found[launches] = decoder_kernels(*how, decoder, runs)
    return found


@showing_inputs
def simulate(model: str | Model, chip: str, count: int = 1, **options: Option) -> pd.DataFrame:
    """Price one point: one row in the schema of ``results.schema``; where it does not fit, ``reason`` says why.

    ``options`` are those of the command line, with its defaults (``scenarios.inputs``). Raises ScenarioError or
    CatalogError in one sentence for a wrong request.
    """
    check_framework(options.get("framework"), [chip])
    return price([make_point(model, chip, count, **options)]).checked().frame()


@showing_inputs
def compare(
    model: str | Model,
    chips: str | Sequence[str],
    count: int | Sequence[int] = 1,
    *,
    strategy: str | Sequence[str] = tuple(STRATEGIES),
    executor: Executor = LOCAL,
    **options: Option | Sequence[Option],
) -> pd.DataFrame:
    """Price every chip, count and strategy: a row each, in that order. ``options`` as for ``simulate``, or lists.

    The frame is the same on every ``executor``. Raises ScenarioError or CatalogError in one sentence for a wrong
    request, ClusterError where a rank of the executor cannot be started or is lost; what does not fit is a row that
    says so.
    """
    points = list(grid(model, chips, count, strategy=strategy, **options))
    return price(points, executor=executor).checked().frame()


def grid(
    model: str | Model,
    chips: str | Sequence[str],
    count: int | Sequence[int] = 1,
    *,
    strategy: str | Sequence[str] = tuple(STRATEGIES),
    **options: Option | Sequence[Option],
) -> Iterator[Point]:
    """The points that ``compare`` prices: all that is listed combined, as a scenario does, each point once.

    Words of several kinds of chip may mean the same on one. Raises as ``compare`` does.
    """
    check_framework(options.get("framework"), listed(chips))
    asked = options | {"model": [model], "chip": chips, "count": count, "strategy": strategy}
    places = {row.name: row.axis for row in INPUTS}
    # Strategies stand side by side, and the ways to launch each of them.
    names = sorted(asked, key=lambda name: (name == "launch", places.get(name, 0)))
    seen: set[Point] = set()
    for values in product(*(listed(asked[name]) for name in names)):
        point = make_point(**dict(zip(names, values, strict=True)))
        if point not in seen:
            yield point
        seen.add(point)


def _on_ranks(points: Sequence[Point], executor: Executor) -> Prices:
    """The same with a rank a chip: the ranks of one count are started once for all of its points."""
    together: list[Together] = []
    refusals: dict[int, Refusal] = {}
    by_ranks: dict[int, list[Assignment]] = {}
    numbers: dict[int, list[int]] = {}
    for number, point in enumerate(points):
        try:
            assignment = assign(point)
        except (DoesNotFit, ScenarioError) as refusal:
            refusals[number] = refusal
            continue
        if not assignment.one_group:
            raise ScenarioError(
                f"--executor {executor.name} runs the ranks of one tensor-parallel group; --parallel {point.parallel} "
                "makes several on these chips: --executor local."
            )
        by_ranks.setdefault(len(assignment.working), []).append(assignment)
        numbers.setdefault(len(assignment.working), []).append(number)
    for ranks, assignments in by_ranks.items():
        own = [assignment.point for assignment in assignments]
        answers = run_ranks(answers_of_rank, own, count=ranks, executor=executor)[0]
        for number, assignment, answer in zip(numbers[ranks], assignments, answers, strict=True):
            if isinstance(answer, Outcome):
                together.append(Together([number], assignment, answer, run_alike(assignment.point, answer)))
            else:
                refusals[number] = answer
    return Prices(points, together, refusals)


def answers_of_rank(communicator: Communicator, points: Sequence[Point]) -> list[Outcome | DoesNotFit]:
    """One rank's program: all ranks come to the same answers, because a pass is over where all of them meet."""
    return [_answer(point, communicator) for point in points]


def _answer(point: Point, communicator: Communicator) -> Outcome | DoesNotFit:
    try:
        return run(assign_fitting(point), communicator)
    except DoesNotFit as refusal:
        return refusal
