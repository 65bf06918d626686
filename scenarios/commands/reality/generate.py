"""``loopline generate``: a real Llama writes text, split over the chips, while the simulated clock runs beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.commands.executors import AddressOption, ExecutorOption, PlacementOption, make_executor
from scenarios.commands.output import check_files, write

if TYPE_CHECKING:
    import pandas as pd

    from cluster.ranks import Executor
    from scenarios.llama.generation import Generation
    from scenarios.llama.simulated_time import SimulatedMachine
    from scenarios.llama.vocabularies.vocabulary import Vocabulary


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
    plot: Annotated[Path | None, typer.Option(help="Also draw tokens over time into this .png or .svg file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, at the end.")] = False,
) -> None:
    """Generate text with a real Llama split over the chips, and show what each token takes on them.

    loopline generate --weights model.gguf --count 3 --prompt "Once upon a time"

    loopline generate --weights folder --chips h100 sn40l --chat --prompt "Why?"

    loopline generate --weights llama-3.2-1b --tokens 8 --prompt "random weights"
    """
    from scenarios.errors import DoesNotFit
    from scenarios.llama import Generation, open_vocabulary, open_weights
    from scenarios.llama.number_format import number_format
    from scenarios.llama.simulated_time import SimulatedMachine
    from scenarios.llama.weights import rank_bytes
    from scenarios.point import make_point
    from scenarios.strategies import STRATEGIES
    from scenarios.workload.model import shard

    check_files(plot=plot)
    source = open_weights(weights, seed)
    vocabulary, model = open_vocabulary(source), source.config.model
    request = Generation(
        weights=weights,
        prompt=tuple(vocabulary.encode(prompt, chat=chat)),
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
    where = make_executor(executor, address, placement)
    try:
        for machine in machines:  # refuse what does not fit before anything is computed
            machine.token_seconds(len(request.prompt), tokens - 1)
        needed = rank_bytes(model, shard(model, machines[0].ranks), len(request.prompt) + tokens)
        _run(request, vocabulary, machines, where, needed, plot, json=json)
    except DoesNotFit as refusal:
        print(f"loopline: {refusal}.", file=sys.stderr)
        raise typer.Exit(1) from None


def _run(
    request: Generation,
    vocabulary: Vocabulary,
    machines: list[SimulatedMachine],
    where: Executor,
    needed: float,
    plot: Path | None,
    *,
    json: bool,
) -> None:
    from cluster.ranks import run_ranks
    from results.generation_view import GenerationView
    from results.pictures.generation import plot_tokens
    from scenarios.llama.generation import GeneratedToken, generate_tokens

    decode = vocabulary.decoder()
    here = f"computed here ({where.name})"
    tokens: list[int] = []
    texts: list[str] = []
    seconds: dict[str, list[float]] = {name: [] for name in (*(machine.name for machine in machines), here)}
    with GenerationView(None if json else sys.stdout, sys.stderr) as view:

        def take(report: object) -> None:
            if not isinstance(report, GeneratedToken):
                view.status(f"reading a prompt of {len(request.prompt)} tokens")
                return
            for machine, simulated in zip(machines, report.simulated_seconds, strict=True):
                seconds[machine.name].append(simulated)
            seconds[here].append(report.computed_seconds)
            tokens.append(report.token)
            texts.append("" if report.token in request.stop_tokens else decode(report.token))
            view.token(texts[-1], {name: times[-1] for name, times in seconds.items()})

        view.status(f"loading {request.weights}")
        run_ranks(
            generate_tokens,
            request,
            machines,
            count=machines[0].ranks,
            executor=where,
            on_report=take,
            rank_bytes=needed,
        )
    frame = _whole_requests(machines, len(request.prompt), len(tokens))
    if json:
        _print_json(request, tokens, texts, seconds, frame)
    else:
        _print_summary(seconds, len(request.prompt), frame)
    if plot is not None:
        simulated = {machine.name: seconds[machine.name] for machine in machines}
        title = f"{machines[0].point.model.name}: {len(tokens)} tokens after a prompt of {len(request.prompt)}"
        write(plot, lambda path: plot_tokens(simulated, title, path))


def _whole_requests(machines: list[SimulatedMachine], prompt: int, generated: int) -> pd.DataFrame:
    """The same request in the schema of the results: where its time goes, on each machine."""
    from scenarios.pricing import price

    return price([machine.request(prompt, generated) for machine in machines]).frame()


def _print_summary(seconds: dict[str, list[float]], prompt: int, frame: pd.DataFrame) -> None:
    from results.table import print_comparison, print_records
    from results.units import format_seconds, three_digits

    records = [
        {
            "": name,
            f"prefill of {prompt} tokens": format_seconds(times[0]),
            "first decoded token": format_seconds(times[1] if len(times) > 1 else float("nan")),
            "last decoded token": format_seconds(times[-1] if len(times) > 1 else float("nan")),
            f"all {len(times)} tokens": format_seconds(sum(times)),
            "tokens/s": three_digits(len(times) / sum(times)),
        }
        for name, times in seconds.items()
    ]
    print()
    print_records(records, sys.stdout)
    print()
    print_comparison(frame, sys.stdout)


def _print_json(
    request: Generation, tokens: list[int], texts: list[str], seconds: dict[str, list[float]], frame: pd.DataFrame
) -> None:
    import json

    from results.table import json_records

    *simulated, computed = seconds
    result = {
        "text": "".join(texts),
        "prompt_tokens": list(request.prompt),
        "tokens": [
            {
                "token": token,
                "text": text,
                "computed_seconds": seconds[computed][index],
                "simulated_seconds": {name: seconds[name][index] for name in simulated},
            }
            for index, (token, text) in enumerate(zip(tokens, texts, strict=True))
        ],
        "requests": json_records(frame),
    }
    print(json.dumps(result, indent=1))
