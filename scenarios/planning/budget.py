"""What training for a loss, or with a budget of compute, takes on a cluster: a model's shape, its layout, days, money.

How many parameters and tokens are best is a scaling law's (``scenarios.planning.scaling_law``); how fast the cluster
trains such a model is simulated, in the best of all layouts (``scenarios.planning.plan``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count as numbers

from chips.spec import load_chip
from scenarios.cost import SECONDS_AN_HOUR, paid_prices, prices
from scenarios.errors import ScenarioError
from scenarios.planning.plan import plan
from scenarios.planning.scaling_law import Training, check_compute, law_named
from scenarios.planning.search import ShowProgress, nobody
from scenarios.workload.model import Model, load_model

PROPORTIONS = "llama-3.1-70b"  # of heads, MLP and vocabulary: those of all of Llama 3
HEADS, LAYERS = 8, 2  # models have multiples of these
SLIMMEST, WIDEST = 0.75, 1.75  # decoders a head: Llama 3 has 1 (8B, 405B) to 1.25 (70B)
SECONDS_PER_DAY = 24 * SECONDS_AN_HOUR


def training_for(law: str, loss: float | None, compute: float | None) -> Training:
    """What a law asks for, from one of both. Raises ScenarioError in one sentence."""
    if (loss is None) == (compute is None):
        raise ScenarioError("a scaling law is asked for either --loss or --compute.")
    if loss is not None:
        return law_named(law).for_loss(loss)
    assert compute is not None
    check_compute(compute)
    return law_named(law).for_compute(compute)


def model_of(parameters: float) -> Model:
    """A model in Llama 3's proportions that has about so many parameters; the smallest of them if they are fewer."""

    def shapes() -> Iterator[Model]:
        like = load_model(PROPORTIONS)
        for heads in numbers(HEADS, HEADS):
            hidden = heads * like.head_dim
            wide = like.model_copy(
                update={"heads": heads, "hidden": hidden, "intermediate": hidden * like.intermediate // like.hidden}
            )
            decoders = round((parameters - wide.around_parameters) / wide.decoder_parameters / LAYERS) * LAYERS
            lowest, highest = (LAYERS * round(heads * ratio / LAYERS) for ratio in (SLIMMEST, WIDEST))
            yield wide.model_copy(update={"layers": min(max(decoders, lowest), highest)})
            if decoders < lowest:  # as will be all that are wider
                return

    nearest = min(shapes(), key=lambda model: abs(model.parameters - parameters))
    name = f"{nearest.layers}x{nearest.hidden}"
    return nearest.model_copy(update={"name": name, "title": f"{nearest.parameters / 1e9:,.3g}B parameters"})


def scaling_law(
    chips: str | Sequence[str],
    count: int,
    *,
    loss: float | None = None,
    compute: float | None = None,
    law: str = "chinchilla",
    global_batch: int = 1024,
    context: int = 8192,
    precision: str | None = None,
    framework: str | None = None,
    dollars_per_chip_hour: float | None = None,
    dollars_per_kilowatt_hour: float | None = None,
    on_progress: ShowProgress = nobody,
) -> list[dict[str, object]]:
    """What it takes to train to ``loss`` (nats a token), or with ``compute`` FLOPs, on ``count`` of each of ``chips``.

    A record a chip: what ``law`` asks for (one of ``scenarios.planning.scaling_law.LAWS``), the model nearest to it,
    its best layout for steps of ``global_batch`` sequences of ``context`` tokens with its MFU, and days, chip-hours,
    joules of the chips and dollars of the whole training, at prices that are said or listed (``scenarios.cost``); None
    where nobody knows them. Raises ScenarioError or CatalogError in one sentence.
    """
    wanted = training_for(law, loss, compute)
    model = model_of(wanted.parameters)
    listed = [chips] if isinstance(chips, str) else chips
    priced = [name for name in map(_name, listed) if name in prices().chip_hour or dollars_per_chip_hour is not None]
    paid = paid_prices(priced, dollars_per_chip_hour, dollars_per_kilowatt_hour)
    records: list[dict[str, object]] = []
    for chip in listed:
        found = plan(
            model,
            chip,
            count,
            global_batch=global_batch,
            keep=1,
            context=context,
            precision=precision,
            framework=framework,
            on_progress=on_progress,
        )
        best = found.frame.to_dict("records")[0]
        # The nearest model has a few parameters more or less than the law asks for.
        seconds = wanted.tokens / best["tokens_per_s"] * wanted.parameters / model.parameters
        chip_hours = count * seconds / SECONDS_AN_HOUR
        joules = best["joules"] * seconds / best["seconds"]
        dollars = paid.dollars(best["chip"], count, seconds, joules) if best["chip"] in paid.chip_hour else None
        records.append(
            {"law": law, **wanted._asdict(), "chip": best["chip"], "count": count, "model": model.name}
            | {"parallel": best["parallel"], "mfu": best["mfu"], "step_s": best["seconds"]}
            | {"days": seconds / SECONDS_PER_DAY, "chip_hours": chip_hours}
            | {"joules": joules, "dollars": dollars}
        )
    return records


def _name(chip: str) -> str:
    return load_chip(chip).name
