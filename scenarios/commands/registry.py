"""The commands of ``loopline`` by name: where each is, and what the list of them says. A module is imported when it is
asked for. A command is the function of its module that is named as it is, with ``_`` for ``-``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from scenarios.commands.chip_options import taking_chips
from scenarios.commands.completion import offer_names
from scenarios.commands.launched import AnsweredOnce, Launched
from scenarios.commands.several_values import spread

ASK, LOOK, HOLD = "Ask", "Look inside of a machine", "Hold it against reality"
HELP_NAMES = {"help_option_names": ["-h", "--help"]}


class Registered(NamedTuple):
    """A command: the module that has its function, its panel of the help, and the first line of its docstring.

    ``between_ranks``: whether the processes of one ``mpiexec`` carry it out together.
    """

    module: str
    panel: str
    help: str
    between_ranks: bool = False


COMMANDS = {
    "compare": Registered(
        "scenarios.commands.questions.compare",
        ASK,
        "Price a model on chips, counts and strategies: where does the time go, and what do kernel boundaries cost?",
    ),
    "scenarios": Registered(
        "scenarios.commands.questions.run",
        ASK,
        "List the shipped scenarios: a question each, and how many points answer it.",
    ),
    "run": Registered(
        "scenarios.commands.questions.run",
        ASK,
        "Price all points of a scenario and print them. Many points: `loopline sweep`, which can be stopped.",
    ),
    "plan": Registered(
        "scenarios.commands.questions.plan",
        ASK,
        "Which layouts train a model fastest, and which chips serve it best?",
    ),
    "scaling-law": Registered(
        "scenarios.commands.questions.scaling_law",
        ASK,
        "How large a model, how many tokens, how many days: what does a loss cost on these chips?",
    ),
    "serve": Registered(
        "scenarios.commands.questions.serve",
        ASK,
        "How long do users of a server wait for the first token, and for each one after it?",
    ),
    "sweep": Registered(
        "scenarios.commands.questions.sweep",
        ASK,
        "Price all points of a scenario into a folder of Parquet files. "
        "Stop it at any moment; the same command goes on.",
    ),
    "plot": Registered(
        "scenarios.commands.questions.plot",
        ASK,
        "Draw results: where time goes, how it scales, where a strategy pays, which points nothing beats.",
    ),
    "report": Registered(
        "scenarios.commands.questions.report",
        ASK,
        "Write a page that answers the question: numbers, pictures, a chart to filter, and how to compute it again.",
    ),
    "boundary": Registered(
        "scenarios.commands.questions.boundary",
        ASK,
        "What does a kernel boundary cost in each way to launch kernels, and what would removing each part of it save?",
    ),
    "efficiency": Registered(
        "scenarios.commands.questions.efficiency",
        ASK,
        "What does an operation cost in energy, from a scalar CPU to a systolic array, and what must a programmer say?",
    ),
    "chips": Registered(
        "scenarios.commands.questions.catalog",
        ASK,
        "List the catalog with its key figures, or show one datasheet with the source of every number.",
    ),
    "models": Registered(
        "scenarios.commands.questions.catalog",
        ASK,
        "List the models with their shapes, or show one with the tensor-parallel counts that divide it.",
    ),
    "bandwidth": Registered(
        "scenarios.commands.machines.bandwidth",
        LOOK,
        "How busy is a chip's memory, and how long does it wait at kernel boundaries?",
    ),
    "roofline": Registered(
        "scenarios.commands.machines.roofline",
        LOOK,
        "Which operators are bound by memory, which by arithmetic, and how close does each come to its roof?",
    ),
    "training": Registered(
        "scenarios.commands.machines.training",
        LOOK,
        "What does each stage of a training step hold and do, and how long does it wait?",
    ),
    "allreduce": Registered(
        "scenarios.commands.machines.allreduce.command",
        LOOK,
        "Price an AllReduce: time, bandwidth as nccl-tests defines it, algorithm, bound. Or run it between MPI ranks.",
        between_ranks=True,
    ),
    "schedule": Registered(
        "scenarios.commands.machines.schedule",
        LOOK,
        "Prove and price collectives as schedules on any links: what each costs, and where a straggler is felt.",
    ),
    "fit": Registered(
        "scenarios.commands.machines.fit",
        LOOK,
        "Place a fused decoder on a chip: units, links, rates, and the fewest kernels that hold it.",
    ),
    "tiles": Registered(
        "scenarios.commands.machines.tiles",
        LOOK,
        "Compile a tile program to a metapipeline on a chip: who limits it, what it buffers, how busy each engine is.",
    ),
    "systolic": Registered(
        "scenarios.commands.machines.systolic",
        LOOK,
        "Walk a product through a systolic array: what sits in every element at every clock, and how many work.",
    ),
    "tpu-v1": Registered(
        "scenarios.commands.machines.tpu_v1",
        LOOK,
        "TPU v1 whole: TOPS and clocks of the array for the six applications of its paper, beside the measured ones.",
    ),
    "generate": Registered(
        "scenarios.commands.reality.generate",
        HOLD,
        "Generate text with a real Llama split over the chips, and show what each token takes on them.",
    ),
    "validate": Registered(
        "scenarios.commands.reality.validate",
        HOLD,
        "Hold the simulator against measured kernels, collectives and published runs, "
        "and print its errors as they are.",
    ),
    "accuracy": Registered(
        "scenarios.commands.reality.accuracy",
        HOLD,
        "Write down how accurate every prediction is: errors by table, size and cause, with pictures, as Markdown.",
    ),
    "calibrate": Registered(
        "scenarios.commands.reality.calibrate",
        HOLD,
        "Fit a chip's physical constants to your own measurements, and write a chip that inherits the catalog's.",
    ),
}


def load_command(name: str) -> Any:
    """The command ``name`` of ``COMMANDS`` with its parameters, whose names a shell completes."""
    known = COMMANDS[name]
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings=HELP_NAMES)
    kind = Launched if known.between_ranks else AnsweredOnce
    function = taking_chips(getattr(import_module(known.module), name.replace("-", "_")))
    alone.command(name, cls=kind, rich_help_panel=known.panel)(function)
    command = typer.main.get_command(alone)
    offer_names(command)
    return command


def spread_line(words: list[str]) -> list[str]:
    """The words of a whole line as the parser takes them."""
    if not words or words[0] not in COMMANDS:
        return words
    return [words[0], *spread(words[1:], load_command(words[0]).params)]


class LazyCommands(TyperGroup):
    """The group of ``COMMANDS``: listed from the table, loaded where one is to run or to be completed."""

    def __init__(self, **settings: Any) -> None:
        listed = {
            name: TyperCommand(name, help=known.help, rich_help_panel=known.panel) for name, known in COMMANDS.items()
        }
        super().__init__(**settings | {"commands": listed})

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, listed, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name and listed else listed, rest
