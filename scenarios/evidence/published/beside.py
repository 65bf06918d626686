"""Published runs of one model on one chip beside what is predicted for them: a ladder of launch modes, measured."""

from __future__ import annotations

import csv

from scenarios.errors import Unpredictable
from scenarios.evidence.published.runs import price_inference
from scenarios.evidence.validation import DATA


def published_beside(model: str, chip: str, phase: str) -> list[dict[str, object]]:
    """A record for each published run of ``phase``: how it was launched, ``measured_s``, ``predicted_s``, their ratio.

    A run that cannot be predicted has a ``reason`` instead of the last two.
    """
    wanted = (model, chip, phase)
    with (DATA / "published" / "inference.csv").open(newline="", encoding="utf-8") as file:
        return [_record(row) for row in csv.DictReader(file) if (row["model"], row["chip"], row["phase"]) == wanted]


def _record(row: dict[str, str]) -> dict[str, object]:
    measured = float(row["seconds"])
    record: dict[str, object] = {
        "launch": row["launch"],
        "chips": int(row["n_chips"]),
        "batch": int(row["batch"]),
        "measured_s": measured,
    }
    told = {"framework": row["framework"], "source": row["source"]}
    try:
        predicted = sum(outcome.seconds for outcome in price_inference(row).outcomes)
    except Unpredictable as refusal:
        return record | {"reason": str(refusal)} | told
    return record | {"predicted_s": predicted, "ratio": predicted / measured} | told
