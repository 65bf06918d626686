"""What a point is asked to be: one row an input, in the order of the command line.

From these rows are made the options of commands, the keys and axes of scenario files and their JSON Schema, the checks
of ``scenarios.point.make_point`` and the asked columns of results. How inputs depend on each other is checked there,
not here; what they do is in the code that reads them off a ``Point``, from the field of their name or from the traits
of its framework. Imports nothing heavy: the command line asks it for every command.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from inspect import Parameter, signature
from typing import Any, TypeVar, get_args

from results.errors import LooplineError
from results.words import KV_PRECISIONS, LAUNCH_NAMES, PHASES, PRECISIONS
from scenarios.errors import ScenarioError
from scenarios.quantities import check_count

Option = str | int | bool | None
Function = TypeVar("Function", bound=Callable[..., object])
REQUIRED = ...


@dataclass(frozen=True)
class Input:
    """An input of a point: a text, a whole number from 1 up, or whether something is so."""

    name: str
    kind: type[str] | type[int] | type[bool]
    default: Any
    """REQUIRED, or None where a point may be without."""
    meaning: str
    """What it is, as an editor shows it in a scenario file."""
    help: str
    """What it is, as the command line says it."""
    axis: int
    """Where it stands among the axes of a scenario, each at a place of its own; the last changes fastest."""
    known: Callable[[], Collection[str]] | None = None
    """The names that it can have."""
    listed: str = ""
    """Where users find names and files, if a file may stand for a name."""
    parse: Callable[[str], object] | None = None
    """What a text stands for; raises an error in one sentence."""
    example: str = ""
    """A text that it may be, where it may also be empty."""
    several: str = ""
    """Its name where more than one may be given, where that is another."""
    every: bool = False
    """Whether all known ones are the default where more than one may be given."""
    argument: bool = False
    """Whether commands take it without the name of an option."""
    read: Callable[[Any], str | int] | None = None
    """Its column in results, off a ``scenarios.point.Point``; None: the point's field as it is."""

    @cached_property
    def option(self) -> str:
        """Its name on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def key(self) -> str:
        """Its name in scenario files."""
        return self.several or self.name

    @property
    def choices(self) -> Collection[str]:
        """All that it can be; empty where this has no end."""
        return self.known() if self.known and not self.listed else ()

    def resolved(self, value: Any) -> Any:
        """What a point holds for ``value``. Raises ScenarioError or CatalogError in one sentence."""
        if value is None and self.default is None:
            return None
        if self.kind is int:
            check_count(self.option, value)
        elif self.kind is bool:
            if not isinstance(value, bool):
                raise ScenarioError(f"{self.option} is {value!r:.40}; expected true or false.")
        elif (choices := self.choices) and value not in choices:
            raise ScenarioError(f"{self.option} '{value}' is unknown; {_expected(value, choices)}")
        if self.parse is None or not isinstance(value, str):
            return value
        try:
            return self.parse(value)
        except LooplineError:
            raise
        except ValueError as error:
            raise ScenarioError(f"{self.option} {error}") from None

    def asked_of(self, point: Any) -> str | int:
        """What results say that a point was asked to be."""
        return self.read(point) if self.read else getattr(point, self.name)


def _models() -> Collection[str]:
    from scenarios.workload.model import model_names

    return model_names()


def _model(name: str) -> object:
    from scenarios.workload.model import load_model

    return load_model(name)


def _chips() -> Collection[str]:
    from chips.spec import chip_names

    return chip_names()


def _chip(name: str) -> object:
    from chips.spec import load_chip

    return load_chip(name)


def _strategies() -> Collection[str]:
    from scenarios.strategies import STRATEGIES

    return STRATEGIES


def _frameworks() -> Collection[str]:
    from scenarios.framework import frameworks

    return frameworks()


def _framework(name: str) -> object:
    from scenarios.framework import frameworks

    return frameworks()[name]


def _collective_modes() -> Collection[str]:
    from scenarios.framework import CollectiveMode

    return get_args(CollectiveMode)


def _synchronizations() -> Collection[str]:
    from scenarios.framework import Synchronization

    return get_args(Synchronization)


def _shardings() -> Collection[str]:
    from scenarios.framework import Sharding

    return get_args(Sharding)


@lru_cache
def _method(text: str) -> object:
    from scenarios.workload.adapters import Method

    return Method.parse(text)


@lru_cache
def _variation(text: str) -> object:
    from cluster import Variation

    return Variation.parse(text)


@lru_cache
def _parallel(text: str) -> object:
    from scenarios.workload.parallel import Parallel

    return Parallel.parse(text)


INPUTS = (
    Input(
        "model",
        str,
        REQUIRED,
        meaning="what runs",
        help="A model of `loopline models`, or the path of a config.json.",
        axis=1,
        known=_models,
        listed="models of `loopline models`, or paths of config.json files",
        parse=_model,
        argument=True,
        read=lambda point: point.model.name,
    ),
    Input(
        "chip",
        str,
        REQUIRED,
        meaning="what it runs on",
        help="A chip of `loopline chips`, or the path of a TOML file.",
        axis=2,
        known=_chips,
        listed="chips of `loopline chips`, or paths of TOML files",
        parse=_chip,
        several="chips",
        read=lambda point: point.chip.name,
    ),
    Input(
        "count",
        int,
        1,
        meaning="chips in all: the tensor-parallel group, where parallel says nothing else",
        help="Chips: of the tensor-parallel group, or in all.",
        axis=3,
    ),
    Input(
        "phase",
        str,
        "decode",
        meaning="a token of decode, a prefill, a whole request, or a step of training",
        help=" | ".join(PHASES),
        axis=10,
        known=lambda: PHASES,
    ),
    Input("batch", int, 1, meaning="sequences side by side", help="Sequences side by side.", axis=4),
    Input(
        "context",
        int,
        None,
        meaning="tokens of a sequence; a request's prompt and output together; 4096 or the model's most if not given",
        help="Tokens of a sequence; a request's prompt and output (default: 4096, or the model's if it has fewer).",
        axis=5,
    ),
    Input(
        "beyond_context",
        bool,
        False,
        meaning="whether a context may be longer than what the model was trained for",
        help="Price a context beyond what the model was trained for, too.",
        axis=17,
    ),
    Input(
        "output_tokens",
        int,
        None,
        meaning="output tokens of a request; half of the context if not given",
        help="Output tokens of a request (default: half of the context).",
        axis=6,
        read=lambda point: point.output_tokens or 0,
    ),
    Input(
        "strategy",
        str,
        "per_operator",
        meaning="how a decoder is cut into kernels; all three if not given",
        help="per_operator | fused_decoder | kernel_loop",
        axis=99,  # strategies stand side by side
        known=_strategies,
        every=True,
    ),
    Input(
        "launch",
        str,
        None,
        meaning="how kernels are launched; as the framework does on that chip if not given",
        help="How kernels are launched: GPUs eager | compiled | graph | pdl, dataflow software | hardware | batched "
        "(default: as the framework does).",
        axis=9,
        known=lambda: LAUNCH_NAMES,
    ),
    Input(
        "collectives",
        str,
        None,
        meaning="how collectives meet the operators around them on GPUs; as the framework does if not given",
        help="A kernel of its own, one with the residual and norm after it, or beside products: kernel | fused | "
        "overlapped (default: as the framework does).",
        axis=13,
        known=_collective_modes,
        read=lambda point: point.framework.collective_mode if point.chip.has_framework else "",
    ),
    Input(
        "synchronization",
        str,
        None,
        meaning="how operators of a persistent kernel of a GPU wait for each other; the framework's way if not given",
        help="How operators of a persistent kernel wait for each other: hand | compiled | barrier | tile (default: as "
        "the framework does).",
        axis=14,
        known=_synchronizations,
        read=lambda point: point.framework.synchronization if point.chip.has_framework else "",
    ),
    Input(
        "framework",
        str,
        None,
        meaning="the software that runs the model on GPUs; the phase's own if not given",
        help="What runs the model on GPUs: sglang | trtllm | vllm | tensorrt-llm-2024 | pytorch | ...",
        axis=8,
        known=_frameworks,
        parse=_framework,
        read=lambda point: point.framework.name if point.chip.has_framework else "",
    ),
    Input(
        "precision",
        str,
        None,
        meaning="of weights and products; int8 and int4 are of weights alone; the checkpoint's own if not given",
        help="Of weights and products: bf16 | fp8 | fp8-block | nvfp4, or of weights alone: int8 | int4 (default: the "
        "checkpoint's).",
        axis=7,
        known=lambda: PRECISIONS,
    ),
    Input(
        "kv_precision",
        str,
        None,
        meaning="of keys and values in the cache; the checkpoint's own if not given",
        help="Of keys and values in the cache: bf16 | fp8 (default: the checkpoint's).",
        axis=15,
        known=lambda: KV_PRECISIONS,
    ),
    Input(
        "variation",
        str,
        "",
        meaning="how the chips differ from their datasheet; all alike if not given",
        help="How chips differ: clock=0.02,memory=0.01,seed=1,straggler=0.1@3,slow-link=1@2,failed=5",
        axis=11,
        parse=_variation,
        example="straggler=0.1@3",
        read=lambda point: str(point.variation),
    ),
    Input(
        "parallel",
        str,
        "",
        meaning="how the chips share the work, as replicas and stages; one tensor-parallel group if not given",
        help="How chips share the work: tensor=8 pipeline=4 micro-batch=1, and replicas of these; in training also "
        "context=2 interleaved=2 recompute=full|layers|operators|selective sequence (docs/training.md).",
        axis=12,
        parse=_parallel,
        example="tensor=8,pipeline=4",
        read=lambda point: str(point.parallel),
    ),
    Input(
        "sharding",
        str,
        None,
        meaning="what replicas hold a share of in training; as the framework does if not given",
        help="What replicas hold a share of in training: none | zero1 | zero2 | zero3 | fsdp | hsdp (default: as the "
        "framework does).",
        axis=16,
        known=_shardings,
        read=lambda point: point.framework.sharding if point.phase == "train" else "",
    ),
    Input(
        "method",
        str,
        "full",
        meaning="what of the model is trained: all of it, or adapters beside it",
        help="What is trained: full, or lora,rank=16,products=all|attention|qkv (docs/training.md).",
        axis=18,
        parse=_method,
        example="lora,rank=16",
        read=lambda point: str(point.method) if point.phase == "train" else "",
    ),
)


def axes() -> list[Input]:
    """The inputs as a scenario combines them: the last changes fastest."""
    return sorted(INPUTS, key=lambda row: row.axis)


def listed(values: Any) -> list[Any]:
    """One value or several as several; None is one of its own, which leaves the choice to the point."""
    return [values] if values is None or isinstance(values, str | int) else list(values)


def showing_inputs(function: Function) -> Function:
    """``function``, of whose ``**options`` help and notebooks show every input with its default."""
    own = signature(function)
    named = [parameter for parameter in own.parameters.values() if parameter.kind is not Parameter.VAR_KEYWORD]
    there = {parameter.name for parameter in named}
    options = [
        Parameter(row.name, Parameter.KEYWORD_ONLY, default=row.default, annotation=row.kind.__name__)
        for row in INPUTS
        if not there & {row.name, row.key}
    ]
    vars(function)["__signature__"] = own.replace(parameters=[*named, *options])
    return function


def resolved(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a point holds for each input; the default of those that are not ``asked`` for.

    Raises ScenarioError or CatalogError in one sentence.
    """
    found = {row.name: row.resolved(asked.get(row.name, row.default)) for row in INPUTS}
    for name in asked:
        if name not in found:
            raise ScenarioError(f"a point has no input '{name}'; {_expected(name, found)}")
    return found


def _expected(value: object, known: Collection[str]) -> str:
    near = difflib.get_close_matches(str(value).lower(), known, n=1, cutoff=0.6)
    return f"expected one of {', '.join(known)}" + (f"; did you mean {near[0]}?" if near else ".")
