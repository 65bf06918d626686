"""``loopline compare``: a model on chips, counts and strategies, as rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from scenarios.commands.executors import AddressOption, ExecutorOption, PlacementOption, make_executor
from scenarios.commands.questions.run import Output, output_form


def compare(
    model: Annotated[str, typer.Argument(help="A model of `loopline models`, or the path of a config.json.")],
    chips: Annotated[list[str], typer.Option("--chips", help="Chips of `loopline chips`, or paths of TOML files.")],
    count: Annotated[list[int], typer.Option("--count", help="Chips: of the tensor-parallel group, or in all.")] = [1],  # noqa: B006
    phase: Annotated[str, typer.Option(help="decode | prefill | request | train")] = "decode",
    batch: Annotated[int, typer.Option(help="Sequences side by side.")] = 1,
    context: Annotated[int, typer.Option(help="Tokens of a sequence; a request's prompt and output.")] = 4096,
    output_tokens: Annotated[
        int | None, typer.Option(help="Output tokens of a request (default: half of the context).")
    ] = None,
    strategy: Annotated[
        list[str] | None, typer.Option("--strategy", help="per_operator | fused_decoder | kernel_loop (default: all)")
    ] = None,
    launch: Annotated[
        str, typer.Option(help="Who sequences launches: the host (eager, software) or the device (graph, hardware).")
    ] = "graph",
    framework: Annotated[
        str | None, typer.Option(help="What runs the model on GPUs: tensorrt-llm | vllm | sglang | pytorch | ...")
    ] = None,
    precision: Annotated[str, typer.Option(help="Of weights and matrix products: bf16 | fp8 | int8")] = "bf16",
    variation: Annotated[
        str, typer.Option(help="How chips differ: clock=0.02,memory=0.01,seed=1,straggler=0.1@3,slow-link=1@2,failed=5")
    ] = "",
    parallel: Annotated[
        str,
        typer.Option(
            help="How chips share the work: tensor=8, and replicas of these; in training also pipeline=4 context=2 "
            "micro-batch=1 interleaved=2 recompute=full sequence, with commas between (docs/training.md)."
        ),
    ] = "",
    executor: ExecutorOption = "local",
    address: AddressOption = None,
    placement: PlacementOption = "pack",
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    output: Output = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw stacked bars into this .png or .svg file.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Also write a Perfetto trace: .json or .pftrace")] = None,
) -> None:
    """Price a model on chips, counts and strategies: where does the time go, and what do kernel boundaries cost?

    loopline compare llama-3.1-8b --chips h100 sn40l --count 1 2 4 8 16

    loopline compare llama-3.1-8b --chips h100 --launch eager --plot eager.png

    loopline compare llama-3.1-70b --chips b200 --count 8 --phase prefill --json

    loopline compare llama-3.1-8b --chips sn40l --count 8 -o rows.parquet

    loopline compare llama-3.1-8b --chips sn40l --count 8 --trace trace.pftrace
    """
    from rich.console import Console

    from results.pictures.kinds import check_plot_path, plot_breakdown
    from results.store import check_path, save
    from results.table import print_comparison
    from results.trace.events import check_trace_path
    from scenarios import pricing
    from scenarios.bands import too_close
    from scenarios.point import Options
    from scenarios.strategies import STRATEGIES

    form = output_form(csv=csv, json=json)
    if output is not None:
        check_path(output)
    if plot is not None:
        check_plot_path(plot)
    if trace is not None:
        check_trace_path(trace)

    strategies = strategy or list(STRATEGIES)
    options = Options(
        phase=phase,
        launch=launch,
        precision=precision,
        batch=batch,
        context=context,
        output_tokens=output_tokens,
        framework=framework,
        variation=variation,
        parallel=parallel,
    )
    where = make_executor(executor, address, placement)
    with Console(stderr=True).status("pricing" if where.name == "local" else f"ranks at work ({where.name})"):
        points = list(pricing.grid(model, chips, count, strategy=strategies, **options))
        prices = pricing.price(points, executor=where).checked()
    frame = prices.frame()
    near = too_close(frame, {point.chip.name: point.chip for point in points})
    print_comparison(frame, sys.stdout, form=form, too_close=near)
    if output is not None:
        save(frame, output)
        print(f"wrote {output}", file=sys.stderr)
    if plot is not None:
        plot_breakdown(frame, plot)
        print(f"wrote {plot}", file=sys.stderr)
    if trace is not None:
        from scenarios.anatomy.trace import write_points

        write_points(prices, trace)
        print(f"wrote {trace}", file=sys.stderr)
    if not frame["fits"].any():
        print(f"loopline: nothing fits: {frame['reason'].iloc[0]}.", file=sys.stderr)
        raise typer.Exit(1)
