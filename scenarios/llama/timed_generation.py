"""A generation with the time of each token: as it is computed here, and as it would be on simulated machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from cluster.ranks import LOCAL, Executor, run_ranks
from results.table import json_records
from scenarios.llama.generation import GeneratedToken, Generation, generate_tokens
from scenarios.llama.simulated_time import SimulatedMachine
from scenarios.llama.vocabularies.vocabulary import Vocabulary
from scenarios.llama.weights import rank_bytes
from scenarios.pricing import price
from scenarios.workload.model import shard


@dataclass(frozen=True)
class TimedGeneration:
    """What was generated. ``texts``: of each token; ``computed``: seconds of each here; ``simulated``: on each machine.

    ``requests``: the whole request on each machine, in the schema of the results: where its time goes.
    """

    request: Generation
    tokens: list[int]
    texts: list[str]
    computed: list[float]
    simulated: dict[str, list[float]]
    requests: pd.DataFrame

    def record(self) -> dict[str, object]:
        """Plain values: the text, the tokens of the prompt, a record a token, and a record a machine."""
        return {
            "text": "".join(self.texts),
            "prompt_tokens": list(self.request.prompt),
            "tokens": [
                {
                    "token": token,
                    "text": text,
                    "computed_seconds": self.computed[index],
                    "simulated_seconds": {name: seconds[index] for name, seconds in self.simulated.items()},
                }
                for index, (token, text) in enumerate(zip(self.tokens, self.texts, strict=True))
            ],
            "requests": json_records(self.requests),
        }


def check_fits(request: Generation, machines: Sequence[SimulatedMachine]) -> None:
    """Raise DoesNotFit for a machine that cannot hold the request, ScenarioError where it does not split the model."""
    for machine in machines:
        machine.token_seconds(len(request.prompt), request.tokens - 1)


def generate_timed(
    request: Generation,
    vocabulary: Vocabulary,
    machines: Sequence[SimulatedMachine],
    executor: Executor = LOCAL,
    *,
    on_status: Callable[[str], None] = lambda text: None,
    on_token: Callable[[str, Mapping[str, float]], None] = lambda text, seconds: None,
) -> TimedGeneration:
    """Generate with as many ranks as the first machine has chips that work; all machines hold the model of ``request``.

    ``on_status`` hears what is done before the first token, ``on_token`` each token's text and its seconds by machine,
    last as computed here. Raises what ``check_fits`` does before anything is computed.
    """
    check_fits(request, machines)
    model, prompt = machines[0].point.model, len(request.prompt)
    decode, here = vocabulary.decoder(), f"computed here ({executor.name})"
    tokens: list[int] = []
    texts: list[str] = []
    computed: list[float] = []
    simulated: dict[str, list[float]] = {machine.name: [] for machine in machines}

    def take(report: object) -> None:
        if not isinstance(report, GeneratedToken):
            on_status(f"reading a prompt of {prompt} tokens")
            return
        for machine, seconds in zip(machines, report.simulated_seconds, strict=True):
            simulated[machine.name].append(seconds)
        computed.append(report.computed_seconds)
        tokens.append(report.token)
        texts.append("" if report.token in request.stop_tokens else decode(report.token))
        on_token(texts[-1], {name: seconds[-1] for name, seconds in simulated.items()} | {here: computed[-1]})

    on_status(f"loading {request.weights}")
    ranks = machines[0].ranks
    run_ranks(
        generate_tokens,
        request,
        list(machines),
        count=ranks,
        executor=executor,
        on_report=take,
        rank_bytes=rank_bytes(model, shard(model, ranks), prompt + request.tokens),
    )
    requests = price([machine.request(prompt, len(tokens)) for machine in machines]).frame()
    return TimedGeneration(request, tokens, texts, computed, simulated, requests)
