"""``loopline serve``: time to first token and per output token of a server under load."""

from __future__ import annotations

from typing import Annotated

import typer

from scenarios.commands.output import Json, show
from scenarios.inputs import INPUTS

INPUT = {row.name: row for row in INPUTS}


def serve(
    model: Annotated[str, typer.Argument(help="A model of `loopline models`, or the path of a config.json.")],
    chips: Annotated[list[str], typer.Option("--chips", help="GPUs of `loopline chips`, or paths of TOML files.")],
    count: Annotated[list[int] | None, typer.Option(help="Chips in the tensor-parallel group (default: 1).")] = None,
    concurrency: Annotated[
        list[int] | None,
        typer.Option(help="Requests kept going, each by a client that sends its next when one ends (default: 8)."),
    ] = None,
    input_tokens: Annotated[int, typer.Option(help="Tokens of every prompt.")] = 1024,
    output_tokens: Annotated[int, typer.Option(help="Tokens of every answer.")] = 256,
    requests: Annotated[
        int | None,
        typer.Option(help="Requests of the whole benchmark, whose start counts (default: 20 a client, at most 2,000)."),
    ] = None,
    framework: Annotated[
        str, typer.Option(help="What serves: trtllm | vllm | sglang | ... (scenarios/frameworks.toml)")
    ] = "trtllm",
    precision: Annotated[str | None, typer.Option(help=INPUT["precision"].help)] = None,
    kv_precision: Annotated[str | None, typer.Option(help=INPUT["kv_precision"].help)] = None,
    json: Json = False,
) -> None:
    """How long do users of a GPU server wait for the first token, and for each one after it?

    Plays the server's scheduler (continuous batching) from the moment that all clients send at once.

    loopline serve llama-3.1-8b --chips h100 --count 1 8 --concurrency 8 128

    loopline serve llama-3.1-70b --chips h100 h200 --count 8 --framework vllm
    """
    from results.units import format_seconds
    from scenarios.serving.served import serve as served

    records = served(
        model,
        chips,
        count or [1],
        concurrency or [8],
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        requests=requests,
        framework=framework,
        precision=precision,
        kv_precision=kv_precision,
    )
    readable = [
        {
            "chip": record["chip"],
            "count": record["count"],
            "concurrency": record["concurrency"],
            "time to first token": format_seconds(record["first_token_seconds"]),
            "time per output token": format_seconds(record["output_token_seconds"]),
            "output tokens/s": f"{record['output_tokens_per_s']:,.0f}",
            "kernels": record["kernels"],
        }
        for record in records
    ]
    show(records, json=json, tables=[readable])
