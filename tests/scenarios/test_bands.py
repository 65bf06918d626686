"""Bands: they hold the measurements they should, and what two strategies share cannot swap them."""

from __future__ import annotations

import numpy as np
import pytest

from chips.spec import chip_names, load_chip
from loopline import compare
from results.words import PARTS
from scenarios.bands import (
    COVERAGE,
    SPREADS,
    Spread,
    Spreads,
    band,
    kernel_source,
    kernel_spreads,
    spreads,
    too_close,
)
from scenarios.commands.main import main
from scenarios.evidence.error_bands import FAMILIES
from scenarios.evidence.tables import read_tables
from scenarios.evidence.validation import DATA


def test_the_committed_spreads_are_those_of_the_tables(written_accuracy):
    hint = "run: loopline accuracy -o docs/accuracy.md --spreads scenarios/bands.toml"
    assert (written_accuracy / "bands.toml").read_text() == SPREADS.read_text(), hint


def test_bands_hold_at_least_the_share_of_published_runs_that_they_claim():
    (table,) = next(predict() for path, predict in read_tables(DATA) if path.stem == "inference")
    inside = []
    for prices, measured in zip(table.runs, table.measured, strict=True):
        point = prices.points[0]
        parts = {part: sum(outcome.parts[part] for outcome in prices.outcomes) for part in PARTS}
        low, high = band(point.chip, point.strategy, point.phase, parts, 0.0)
        inside.append(low <= measured <= high)
    assert COVERAGE <= np.mean(inside) <= 0.97, "narrow enough to say something"


@pytest.mark.parametrize("phase", ["decode", "prefill", "request", "train"])
def test_a_band_lies_around_its_time_and_above_its_bound(phase):
    frame = compare("llama-3.1-8b", ["h100", "a100", "b200", "sn40l"], [8, 16], phase=phase, context=2048)
    frame = frame[frame["fits"]]
    assert (frame["seconds_low"] <= frame["seconds"]).all()
    assert (frame["seconds"] < frame["seconds_high"]).all()
    assert (frame["seconds_low"] >= frame["bound_s"]).all()


def test_a_chip_of_a_generation_that_nobody_measured_has_a_wider_band():
    chips = ["h100", "rtx-pro-6000", "v100"]
    frame = compare("llama-3.1-8b", chips, strategy="per_operator", phase="prefill").set_index("chip")
    width = (frame["seconds_high"] - frame["seconds_low"]) / frame["seconds"]
    assert (width[["rtx-pro-6000", "v100"]] > 1.5 * width["h100"]).all()


def test_a_sibling_of_a_measured_chip_has_its_bands_half_as_wide_again():
    known = Spreads(
        kernels={
            name: {family: Spread(low=0.9, high=1.2, rows=100, tables="") for family in FAMILIES}
            for name in ("hopper", "unmeasured")
        },
        runs={},
    )
    sources = {name: kernel_source(load_chip(name), known) for name in ("h100", "h20", "a100", "sn40l")}
    assert sources == {"h100": "measured", "h20": "sibling", "a100": "unmeasured", "sn40l": "unmeasured"}
    own, sibling = (kernel_spreads(load_chip(name), "decode", known)["matmul"] for name in ("h100", "h20"))
    assert (sibling.low, sibling.high) == (pytest.approx(own.low**1.5), pytest.approx(own.high**1.5))


def test_a_chip_counts_as_measured_where_the_project_has_its_tables():
    measured = {path.stem.partition("_")[0] for path in (DATA / "measured").glob("*_gemm_*.parquet")}
    assert {name for name in chip_names() if getattr(load_chip(name), "kernels_measured", False)} == measured


def test_the_compare_table_names_chips_that_nobody_measured(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "llama-3.2-1b", "--chips", "h100", "h20", "sn40l", "--strategy", "kernel_loop"])
    said = capsys.readouterr().out.replace("\n", " ")
    assert "docs/unmeasured.md): h20 (those of a sibling were), sn40l." in said


def width_of(frame):
    return (frame["seconds_high"] - frame["seconds_low"]) / frame["seconds"]


def test_a_training_step_has_a_band_of_its_chip_and_its_strategy():
    """None is tighter than that of what was measured: a kernel an operator on H100s."""
    rows = compare("llama-3.1-8b", ["h100", "b300", "sn40l"], 8, phase="train", batch=8, context=2048)
    width = width_of(rows.set_index(["chip", "strategy"]))
    assert (width >= width["h100", "per_operator"]).all()
    assert len(set(width.round(4))) == len(width), "each chip and strategy has its own"
    assert width["b300", "per_operator"] > 1.3 * width["h100", "per_operator"]
    assert (width["sn40l"] > 1.3 * width["h100", "per_operator"]).all()


def test_errors_of_one_family_do_not_average_out_and_those_of_two_do():
    chip, nothing = load_chip("h100"), dict.fromkeys(PARTS, 0.0)
    one, other = (nothing | {part: 1.0} for part in ("matmul", "attention"))
    both = nothing | {"matmul": 1.0, "attention": 1.0}
    above = [band(chip, "per_operator", "decode", parts, 0.0)[1] - sum(parts.values()) for parts in (one, other, both)]
    assert above[2] == pytest.approx(np.hypot(above[0], above[1]))
    twice = band(chip, "per_operator", "decode", nothing | {"matmul": 2.0}, 0.0)[1] - 2.0
    assert twice == pytest.approx(2 * above[0])


def row(**changes):
    frame = compare("llama-3.1-8b", ["h100"], [8], strategy=["fused_decoder", "kernel_loop"])
    for name, value in changes.items():
        frame[name] = value
    return frame


def test_what_two_strategies_share_does_not_make_them_close():
    """The same products in both: however wrong, they cannot swap strategies that differ in launches alone."""
    frame = row(matmul_s=[1.0, 1.0], attention_s=[0.1, 0.1], other_s=0.0, allreduce_s=0.0, fill_drain_s=0.0)
    frame["launch_s"] = [2e-3, 1e-3]
    frame["seconds"] = frame["matmul_s"] + frame["attention_s"] + frame["launch_s"]
    assert too_close(frame, {"h100": load_chip("h100")}) == []
    bands = spreads().kernels["hopper"]["matmul"]
    assert frame["seconds"].iloc[0] * bands.above > 10 * 1e-3, "their own bands overlap by far"


def test_a_gain_that_rests_on_less_than_the_error_of_a_family_is_named():
    frame = row(matmul_s=[1.0, 0.5], attention_s=[0.1, 0.6], other_s=0.0, allreduce_s=0.0, fill_drain_s=0.0)
    frame["launch_s"] = [2e-3, 1e-3]
    frame["seconds"] = frame["matmul_s"] + frame["attention_s"] + frame["launch_s"]
    assert too_close(frame, {"h100": load_chip("h100")}) == ["fused_decoder and kernel_loop: h100 x8"]


def test_a_biased_family_has_a_band_on_one_side():
    spread = Spread(low=1.02, high=1.1, rows=19, tables="training")
    assert (spread.below, spread.above) == (0.0, pytest.approx(0.1))


def test_the_compare_table_names_what_its_bands_cannot_tell_apart(capsys):
    request = ["compare", "llama-3.1-8b", "--chips", "h100", "sn40l", "--count", "8", "--phase"]
    with pytest.raises(SystemExit):
        main([*request, "decode"])
    notes = capsys.readouterr().out.partition("too close")[2]
    assert "per_operator and fused_decoder: h100 x8" in notes
    with pytest.raises(SystemExit):
        main([*request, "decode", "--csv"])
    assert ",seconds,seconds_low,seconds_high," in capsys.readouterr().out
