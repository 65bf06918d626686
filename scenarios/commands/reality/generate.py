"""``loopline generate``: a real Llama writes text, split over the chips, while the simulated clock runs beside it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.commands.executors import (
    AddressOption,
    ExecutorOption,
    PlacementOption,
    TimeoutOption,
    make_executor,
)
from scenarios.commands.output import check_files, show, write

if TYPE_CHECKING:
    from scenarios.llama.timed_generation import TimedGeneration


def generate(
    prompt: Annotated[str, typer.Option(help="The text to continue.")],
    weights: Annotated[
        str,
        typer.Option(
            help="A .gguf file, a Hugging Face folder with safetensors, or a model of `loopline models` or a "
            "config.json for random weights."
        ),
    ],
    chips: Annotated[list[str], typer.Option("--chips", help="Chips to time it on.")] = ["sn40l"],  # noqa: B006
    count: Annotated[int, typer.Option(help="Chips in the tensor-parallel group; as many ranks compute.")] = 1,
    strategy: Annotated[
        list[str] | None, typer.Option("--strategy", help="per_operator | fused_decoder | kernel_loop (default: all)")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Give the prompt as a message in the chat template.")] = False,
    tokens: Annotated[int, typer.Option(help="At most so many tokens.")] = 128,
    temperature: Annotated[float, typer.Option(help="0: always the most likely token.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw from the fewest tokens that are so probable together.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of sampling, and of random weights.")] = 0,
    dtype: Annotated[str, typer.Option(help="In which values are computed: float32 | bf16 (emulated)")] = "float32",
    variation: Annotated[str, typer.Option(help="How chips differ, as in compare: straggler=0.1@3,failed=5")] = "",
    executor: ExecutorOption = "local",
    address: AddressOption = None,
    placement: PlacementOption = "pack",
    timeout: TimeoutOption = 60.0,
    plot: Annotated[Path | None, typer.Option(help="Also draw tokens over time into this .png or .svg file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, at the end.")] = False,
) -> None:
    """Generate text with a real Llama split over the chips, and show what each token takes on them.

    loopline generate --weights model.gguf --count 3 --prompt "Once upon a time"

    loopline generate --weights folder --chips h100 sn40l --chat --prompt "Why?"

    loopline generate --weights llama-3.2-1b --tokens 8 --prompt "random weights"
    """
    from json import dumps

    from results.pictures.generation import plot_tokens
    from results.views.generation_view import GenerationView
    from scenarios.errors import DoesNotFit
    from scenarios.llama import Generation, open_vocabulary, open_weights
    from scenarios.llama.number_format import number_format
    from scenarios.llama.simulated_time import SimulatedMachine
    from scenarios.llama.timed_generation import check_fits, generate_timed
    from scenarios.point import make_point
    from scenarios.strategies import STRATEGIES

    check_files(plot=plot)
    source = open_weights(weights, seed)
    vocabulary, model = open_vocabulary(source), source.config.model
    request = Generation(
        weights=weights,
        prompt=tuple(vocabulary.encode(os.fsencode(prompt).decode("utf-8", "replace"), chat=chat)),
        tokens=tokens,
        stop_tokens=vocabulary.stop_tokens,
        number_format=number_format(dtype),
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    request.check(model)
    machines = [
        SimulatedMachine(make_point(model, chip, count, phase="request", strategy=name, context=2, variation=variation))
        for chip in dict.fromkeys(chips)
        for name in dict.fromkeys(strategy or STRATEGIES)
    ]
    where = make_executor(executor, address, placement, timeout)
    try:
        check_fits(request, machines)  # before the view opens
        with GenerationView(None if json else sys.stdout, sys.stderr) as view:
            found = generate_timed(request, vocabulary, machines, where, on_status=view.status, on_token=view.token)
    except DoesNotFit as refusal:
        print(f"loopline: {refusal}.", file=sys.stderr)
        raise typer.Exit(1) from None
    if json:
        print(dumps(found.record(), indent=1))
    else:
        _print_summary(found, f"computed here ({where.name})")
    title = f"{model.name}: {len(found.tokens)} tokens after a prompt of {len(request.prompt)}"
    write(plot, lambda path: plot_tokens(found.simulated, title, path))


def _print_summary(found: TimedGeneration, here: str) -> None:
    from results.table import print_comparison
    from results.units import format_seconds, three_digits

    records = [
        {
            "": name,
            f"prefill of {len(found.request.prompt)} tokens": format_seconds(times[0]),
            "first decoded token": format_seconds(times[1] if len(times) > 1 else float("nan")),
            "last decoded token": format_seconds(times[-1] if len(times) > 1 else float("nan")),
            f"all {len(times)} tokens": format_seconds(sum(times)),
            "tokens/s": three_digits(len(times) / sum(times)),
        }
        for name, times in (found.simulated | {here: found.computed}).items()
    ]
    print()
    show(records, json=False)
    print()
    print_comparison(found.requests, sys.stdout)
