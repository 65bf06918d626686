"""The front door: ``import loopline as ll``, and this is the index of what users call. Frames are pandas.

Ask
    compare            every chip, count and strategy of a model: a row each
    simulate           one point: one row
    boundaries         what a kernel boundary costs in each way to launch kernels, a record each
    sensitivities      how far each uncertain constant moves a row, a record each
    with_cost          a frame with what a million tokens cost, in chips by the hour and electricity
    efficiency         energy an operation against programmability, from scalar CPU to systolic array
    sweep              all points of a scenario into a folder, which may be stopped at any moment and goes on
    make_point         a checked request, for what takes one
    plan               the best layouts to train a model, the best chips to serve it
    scaling_law        what training to a loss, or with a budget of compute, takes on a cluster
    serve              how long users of servers under load wait, a row each
    serving_times      one server, for a point: every request and its times
    price_allreduce    what an AllReduce costs, as libraries run it or as a schedule, for every payload
    compare_allreduce  all algorithms side by side, and where one overtakes another
    validate           the predictions of every measured and published table beside it

Keep and read
    load, save         a frame from a file or a sweep's folder, and into a file; every bit comes back
    select, pivot      these rows only; side by side
    speedups           how much faster than a baseline
    crossovers         where one strategy stops being the better one
    scaling            speed-up and efficiency against chips
    pareto_front       the points that nothing beats
    to_picoseconds     the simulator's own integers

Show
    plot               a picture of a frame, by kind; ``.save("file.svg")``
    variation_costs    a picture of what it costs that chips differ
    show               a frame as a notebook shows it best
    report             a page about a frame, one file to read in any browser

Catalogs
    load_chip, chip_names      a datasheet by name or path
    what_if                    names of a chip with other values in its datasheet, for all that takes chips
    load_model, model_names    a model's shape by name or path

Run between ranks
    run_ranks, Executor        a program on every rank: here, between MPI processes, on Ray actors
    run_on_mpi                 one rank's part of a schedule, between MPI ranks

Rooms to build in
    tiles              the tile language: what runs on NumPy and compiles onto a chip
    pipeline           metapipelines: stages and buffers, balanced
    collectives        schedules, topologies, their proof and their price
    llama              a real Llama in NumPy, split over ranks

LooplineError is the root of all errors that a user can meet; the tree is in ``results.errors``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import collectives
    from chips import pipeline, tiles
    from chips.spec import chip_names, load_chip
    from chips.what_if import what_if
    from cluster import Executor, run_ranks
    from collectives.all_reduce import compare_allreduce, price_allreduce
    from collectives.mpi.run import run_on_mpi
    from results.analysis import crossovers, pareto_front, pivot, scaling, select, speedups
    from results.errors import LooplineError
    from results.pictures.kinds import plot
    from results.pictures.variation import variation_costs
    from results.report import report
    from results.schema import to_picoseconds
    from results.store import load, save
    from results.views.notebook import show
    from scenarios import llama
    from scenarios.anatomy.boundary import boundaries
    from scenarios.anatomy.efficiency import efficiency
    from scenarios.anatomy.sensitivity import sensitivities
    from scenarios.cost import with_cost
    from scenarios.evidence.validation import validate
    from scenarios.planning.budget import scaling_law
    from scenarios.planning.plan import plan
    from scenarios.point import make_point
    from scenarios.pricing import compare, simulate
    from scenarios.serving.served import serve
    from scenarios.serving.server import serving_times
    from scenarios.sweeps.sweep import sweep
    from scenarios.workload.model import load_model, model_names

    __version__: str

__all__ = [
    "Executor",
    "LooplineError",
    "__version__",
    "boundaries",
    "chip_names",
    "collectives",
    "compare",
    "compare_allreduce",
    "crossovers",
    "efficiency",
    "llama",
    "load",
    "load_chip",
    "load_model",
    "make_point",
    "model_names",
    "pareto_front",
    "pipeline",
    "pivot",
    "plan",
    "plot",
    "price_allreduce",
    "report",
    "run_on_mpi",
    "run_ranks",
    "save",
    "scaling",
    "scaling_law",
    "select",
    "sensitivities",
    "serve",
    "serving_times",
    "show",
    "simulate",
    "speedups",
    "sweep",
    "tiles",
    "to_picoseconds",
    "validate",
    "variation_costs",
    "what_if",
    "with_cost",
]

_FUNCTIONS = {
    "chips.spec": ("chip_names", "load_chip"),
    "chips.what_if": ("what_if",),
    "cluster": ("Executor", "run_ranks"),
    "collectives.all_reduce": ("compare_allreduce", "price_allreduce"),
    "collectives.mpi.run": ("run_on_mpi",),
    "results.analysis": ("crossovers", "pareto_front", "pivot", "scaling", "select", "speedups"),
    "results.errors": ("LooplineError",),
    "results.views.notebook": ("show",),
    "results.pictures.kinds": ("plot",),
    "results.pictures.variation": ("variation_costs",),
    "results.report": ("report",),
    "results.schema": ("to_picoseconds",),
    "results.store": ("load", "save"),
    "scenarios.anatomy.boundary": ("boundaries",),
    "scenarios.anatomy.efficiency": ("efficiency",),
    "scenarios.anatomy.sensitivity": ("sensitivities",),
    "scenarios.cost": ("with_cost",),
    "scenarios.evidence.validation": ("validate",),
    "scenarios.planning.budget": ("scaling_law",),
    "scenarios.planning.plan": ("plan",),
    "scenarios.point": ("make_point",),
    "scenarios.pricing": ("compare", "simulate"),
    "scenarios.serving.server": ("serving_times",),
    "scenarios.serving.served": ("serve",),
    "scenarios.sweeps.sweep": ("sweep",),
    "scenarios.workload.model": ("load_model", "model_names"),
}
_PLACES = {name: module for module, names in _FUNCTIONS.items() for name in names}
_ROOMS = {
    "collectives": "collectives",
    "llama": "scenarios.llama",
    "pipeline": "chips.pipeline",
    "tiles": "chips.tiles",
}


def __getattr__(name: str) -> object:
    """What is asked for, at first use: until then neither pandas nor the simulator is imported."""
    if name == "__version__":
        from importlib.metadata import version

        return version("loopline")
    if name in _ROOMS:
        return import_module(_ROOMS[name])
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'loopline' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
