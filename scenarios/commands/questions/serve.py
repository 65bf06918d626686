"""``loopline serve``: how long users of a server under load wait."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from scenarios.commands.input_options import takes
from scenarios.commands.output import Csv, Json, Output, check_files, output_form, show, write

if TYPE_CHECKING:
    from results.pictures.planning.queue import Queue
    from scenarios.serving.served import Side


@takes(
    *("model", "chip", "count", "strategy", "launch", "framework", "precision", "kv_precision"),
    several=("chip", "count", "strategy"),
    help={
        "count": "Chips of an engine, a tensor-parallel group.",
        "strategy": "Of iterations without a prompt: per_operator | fused_decoder | kernel_loop (default: the first)",
        "framework": "What serves on GPUs: trtllm | vllm | sglang | ... (default: trtllm)",
    },
)
def serve(
    concurrency: Annotated[
        list[int] | None,
        typer.Option(help="Clients, each of whom sends its next request when one has ended (default: 8)."),
    ] = None,
    input_tokens: Annotated[int, typer.Option(help="Tokens of every prompt, unless --lengths says otherwise.")] = 1024,
    output_tokens: Annotated[int, typer.Option(help="Tokens of every answer, unless --lengths says otherwise.")] = 256,
    requests: Annotated[
        int | None,
        typer.Option(help="In all; the start counts (default: 20 a client, at most 2,000; 1,000 of a stream)."),
    ] = None,
    arrivals: Annotated[
        str, typer.Option(help="closed | closed,spread=5s | poisson=8/s | gamma=8/s,cv=2 | even=8/s | trace=FILE")
    ] = "closed",
    lengths: Annotated[
        str | None, typer.Option(help="fixed | uniform=0.8 | lognormal=0.5 | FILE.csv | FILE.jsonl (default: fixed)")
    ] = None,
    load: Annotated[
        str, typer.Option(help="Load generator whose habits count: batch-limit | vllm-bench | inferencemax")
    ] = "batch-limit",
    places: Annotated[
        int | None, typer.Option(help="Requests that an engine runs at once (default: as many as clients).")
    ] = None,
    iteration_tokens: Annotated[
        int | None, typer.Option(help="Tokens that an iteration computes at most (default: the framework's).")
    ] = None,
    prefix_share: Annotated[float, typer.Option(help="Of each prompt, that the prefix cache holds.")] = 0.0,
    engines: Annotated[int, typer.Option(help="Engines behind a router, each with --count chips.")] = 1,
    decoders: Annotated[
        int, typer.Option(help="Engines that decode alone; the others then read prompts alone (disaggregation).")
    ] = 0,
    stages: Annotated[int, typer.Option(help="Pipeline stages of an engine, each with --count chips.")] = 1,
    over: Annotated[
        Literal["link", "network"], typer.Option(help="What joins stages, prompts and decoders: link | network")
    ] = "network",
    draft: Annotated[
        str | None, typer.Option(help="Draft model of speculative decoding, or mtp: a decoder of the model itself.")
    ] = None,
    draft_tokens: Annotated[int, typer.Option(help="Tokens that it proposes a pass.")] = 4,
    acceptance: Annotated[float, typer.Option(help="Probability with which each of them is accepted.")] = 0.7,
    limit: Annotated[str | None, typer.Option(help="What counts as served well: ttft=1s,tpot=50ms,e2e=20s")] = None,
    seed: Annotated[int, typer.Option(help="Of drawn lengths and arrivals.")] = 0,
    csv: Csv = False,
    json: Json = False,
    output: Output = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw the queues over time into this .png or .svg.")] = None,
    **asked: Any,
) -> None:
    """How long do users of a server wait for the first token, and for each one after it?

    Plays the server's scheduler (continuous batching), iteration by iteration.

    loopline serve llama-3.1-8b --chips h100 --count 1 8 --concurrency 8 128

    loopline serve llama-3.1-8b --chips h100 --arrivals even=4/s --limit ttft=1s

    loopline serve llama-3.1-8b --chips l40s --lengths lognormal=0.8

    loopline serve llama-3.1-8b --chips h100 sn40l --strategy kernel_loop

    loopline serve llama-3.1-8b --chips h100 --decoders 1 --plot queue.png
    """
    from results.served import SERVED, served_frame
    from results.store import save_table
    from results.table import json_records, write_csv
    from scenarios.serving.iteration import speculation_of
    from scenarios.serving.served import servers
    from scenarios.serving.server import Pools

    form = output_form(csv=csv, json=json)
    check_files(output=output, plot=plot)
    sides = servers(
        asked.pop("model"),
        asked.pop("chips"),
        asked.pop("count") or [1],
        concurrency or [8],
        asked.pop("strategy") or ["per_operator"],
        **asked,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        requests=requests,
        arrivals=arrivals,
        lengths=lengths,
        generator=load,
        places=places,
        iteration_tokens=iteration_tokens,
        prefix_share=prefix_share,
        pools=Pools(engines, decoders, stages, over),
        speculation=None if draft is None else speculation_of(draft, draft_tokens, acceptance),
        limits=limit,
        seed=seed,
    )
    frame = served_frame([side.row for side in sides])
    if form == "csv":
        write_csv(frame, sys.stdout)
    else:
        show(
            json_records(frame, list(SERVED)),
            json=json,
            tables=[[_readable(side, limited=limit is not None) for side in sides]],
        )
    write(output, partial(save_table, frame))
    if plot is not None:
        from results.pictures.planning.queue import queue

        write(plot, queue([_queue(side) for side in sides]).save)


def _readable(side: Side, *, limited: bool) -> dict[str, object]:
    from results.units import format_seconds

    row = side.row
    told: dict[str, object] = {"chip": row["chip"], "count": row["count"], "strategy": row["strategy"]}
    told |= {"clients": row["concurrency"]} if row["concurrency"] else {"arrivals": row["arrivals"]}
    told |= {
        "TTFT": format_seconds(row["first_token_seconds"]),
        "TTFT p99": format_seconds(row["first_token_p99_s"]),
        "TPOT": format_seconds(row["output_token_seconds"]),
        "ITL p99": format_seconds(row["between_tokens_p99_s"]),
        "whole": format_seconds(row["request_seconds"]),
        "tokens/s": f"{row['output_tokens_per_s']:,.0f}",
    }
    if row["kernels"] != "measured":
        told["kernels"] = row["kernels"]
    if limited:
        told["served well/s"] = f"{row['goodput_per_s']:.3g} of {row['requests_per_s']:.3g}"
    return told


def _queue(side: Side) -> Queue:
    import numpy as np

    from results.pictures.planning.queue import Queue

    row, engines = side.row, side.served.engines
    stretches = engines[-1].stretches
    title = f"{row['count']} x {row['chip']}, {row['strategy']}, " + (
        f"{row['concurrency']} clients" if row["concurrency"] else str(row["arrivals"])
    )
    if len(engines) > 1:
        title += f", the last of {len(engines)} engines"
    return Queue(
        title,
        np.array([each.end for each in stretches]),
        np.array([each.decoding for each in stretches]),
        np.array([each.waiting for each in stretches]),
    )
