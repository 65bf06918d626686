"""``loopline scaling-law``: what a loss costs, or what a budget of compute buys, on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scenarios.commands.input_options import takes
from scenarios.commands.output import DollarsAKilowattHour, DollarsAnHour, Json, check_files, show, write
from scenarios.commands.progress import points_bar

JOULES_PER_MWH = 3.6e9


@takes("chip", "count", "precision", "framework", several=("chip",), help={"count": "Chips of the cluster."})
def scaling_law(
    loss: Annotated[float | None, typer.Option(help="Nats a token to train to.")] = None,
    compute: Annotated[float | None, typer.Option(help="FLOPs to train with, instead of a loss.")] = None,
    law: Annotated[str, typer.Option(help="chinchilla | chinchilla-2022 | kaplan")] = "chinchilla",
    global_batch: Annotated[int, typer.Option(help="Sequences of a training step.")] = 1024,
    context: Annotated[int, typer.Option(help="Tokens of a sequence.")] = 8192,
    dollars_per_chip_hour: DollarsAnHour = None,
    dollars_per_kilowatt_hour: DollarsAKilowattHour = None,
    json: Json = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw what each step in loss costs: .png or .svg")] = None,
    **asked: Any,
) -> None:
    """How large a model, how many tokens, how many days: what does a loss cost on these chips?

    loopline scaling-law --loss 2.0 --chips h100 --count 1024 --plot loss.png

    loopline scaling-law --compute 1e24 --chips h100 b200 --count 2048
    """
    from scenarios.planning.budget import scaling_law as budget

    check_files(plot=plot)
    with points_bar() as advance:
        records = budget(
            asked.pop("chips"),
            **asked,
            loss=loss,
            compute=compute,
            law=law,
            global_batch=global_batch,
            context=context,
            dollars_per_chip_hour=dollars_per_chip_hour,
            dollars_per_kilowatt_hour=dollars_per_kilowatt_hour,
            on_progress=advance,
        )
    show(records, json=json, tables=[_by_law(loss, compute), [_on_cluster(record) for record in records]])
    if plot is not None:
        write(plot, _drawn(records[0]).save)


def _by_law(loss: float | None, compute: float | None) -> list[dict[str, str]]:
    """What every law asks for."""
    from scenarios.errors import ScenarioError
    from scenarios.planning.budget import training_for
    from scenarios.planning.scaling_law import LAWS

    rows = []
    for law in LAWS:
        try:
            wanted = training_for(law, loss, compute)
        except ScenarioError:  # a loss that this law does not reach
            rows.append({"law": law, "loss": f"{loss:g} is never reached"})
            continue
        told = {"FLOPs": wanted.compute, "parameters": wanted.parameters, "tokens": wanted.tokens}
        numbers = {name: f"{number:.3g}" for name, number in told.items()}
        per_parameter = f"{wanted.tokens / wanted.parameters:.3g}"
        rows.append({"law": law, "loss": f"{wanted.loss:.4g}"} | numbers | {"tokens a parameter": per_parameter})
    return rows


def _on_cluster(record: dict[str, Any]) -> dict[str, str]:
    """A record as a terminal shows it."""
    from results.units import percent, three_digits

    numbers = {name.replace("_", "-"): three_digits(record[name]) for name in ("days", "chip_hours")}
    numbers["MWh of the chips"] = three_digits(record["joules"] / JOULES_PER_MWH)
    numbers["dollars"] = "-" if record["dollars"] is None else three_digits(record["dollars"])
    shape = {name: record[name] for name in ("chip", "count", "model", "parallel")}
    return shape | {"MFU": percent(record["mfu"])} | numbers


def _drawn(record: dict[str, Any]) -> Any:
    from results.pictures.planning.scaling_law import scaling_law as draw
    from scenarios.planning.scaling_law import LAWS

    curves = {name: _curve(law) for name, law in LAWS.items()}
    cluster = f"{record['count']:,} × {record['chip']} at {record['mfu']:.0%} MFU"
    return draw(curves, record["law"], record["loss"], record["days"] / record["compute"], cluster)


def _curve(law: Any) -> Any:
    from results.pictures.planning.scaling_law import Curve

    return Curve(lambda flops: law.for_compute(flops).loss, lambda loss: law.for_loss(loss).compute, law.irreducible)
