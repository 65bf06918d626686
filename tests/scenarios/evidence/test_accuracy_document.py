"""The accuracy document: reproducible, its conditions apply to real rows, its fitted constants are explained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chips.spec import load_chip
from results.views.markdown import markdown_table
from scenarios.commands.main import main
from scenarios.evidence.accuracy import NOTES, predict_tables
from scenarios.evidence.coefficients import fitted_constants
from scenarios.evidence.held_out import SPLIT_BY_THE_CATALOG, held_out, shape_columns
from scenarios.evidence.kernel_tables import chip_of
from scenarios.evidence.tables import read_tables
from scenarios.evidence.validation import DATA

COMMITTED = Path(__file__).parents[3] / "docs" / "accuracy.md"


def test_the_committed_document_is_what_the_command_writes(written_accuracy):
    written = (written_accuracy / "accuracy.md").read_text()
    assert written == COMMITTED.read_text(), "run: loopline accuracy -o docs/accuracy.md"
    assert all((written_accuracy / "accuracy" / name).stat().st_size for name in ("scatter.png", "error_by_size.svg"))


def test_every_known_cause_concerns_some_rows_and_not_all():
    document = COMMITTED.read_text()
    causes = document[document.index("## Known causes") : document.index("## Worst rows")]
    for name in NOTES["mechanisms"]:
        assert f"| {name.replace('_', ' ')} |" in causes


def test_a_chip_with_other_coefficients_is_predicted_otherwise():
    donor = load_chip("h100").generation
    swapped = predict_tables(DATA, {"a100": donor})
    own = {table.table: table for table in predict_tables(DATA, {"a100": load_chip("a100").generation})}
    assert swapped
    for table in swapped:
        assert table.table.startswith("a100_")
        assert np.nanmedian(table.predicted / own[table.table].predicted) < 1, "Hopper starts and waits shorter"


def test_rows_of_one_shape_are_held_out_together_and_about_a_third_is():
    names = filter(None, map(chip_of, (DATA / "measured").iterdir()))
    kernels = predict_tables(DATA, {name: load_chip(name).generation for name in names})
    (runs,) = next(predict() for path, predict in read_tables(DATA) if path.stem == "inference")
    for table in (*kernels, runs):
        if any(pattern in table.table for pattern in SPLIT_BY_THE_CATALOG):
            columns = shape_columns(table.table)
            unseen = held_out(table.rows, table.table)
            assert 0.27 < unseen.mean() < 0.33
            assert table.rows[columns].assign(unseen=unseen).groupby(columns)["unseen"].nunique().max() == 1
        else:
            assert held_out(table.rows, table.table).all()


def test_every_fitted_constant_has_a_meaning_and_a_source(tmp_path):
    constants = fitted_constants(tmp_path)
    assert {record["generation"] for record in constants} == {"hopper", "ampere", "blackwell", "ada"}
    assert [record["constant"] for record in constants if not record["meaning"]] == []
    assert all(record["source"].startswith("fitted") for record in constants)


def test_a_bar_in_a_cell_does_not_end_it():
    assert markdown_table([{"a": "x|y"}]) == "| a |\n| --- |\n| x\\|y |"
    assert markdown_table([]) == ""


def test_a_missing_folder_is_named_before_anything_is_computed(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["accuracy", "-o", str(tmp_path / "missing" / "accuracy.md")])
    assert ended.value.code == 2
    assert "missing" in capsys.readouterr().err


def test_a_users_own_tables_make_a_document_too_but_no_bands(tmp_path, capsys):
    (tmp_path / "h100_launch.csv").write_text("kernels,mode,us\n100,graph,1.4\n200,stream,2.2\n")
    with pytest.raises(SystemExit) as ended:
        main(["accuracy", "-o", str(tmp_path / "mine.md"), "--data", str(tmp_path)])
    assert not ended.value.code
    assert "h100_launch" in (tmp_path / "mine.md").read_text()
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "accuracy",
                "-o",
                str(tmp_path / "mine.md"),
                "--data",
                str(tmp_path),
                "--spreads",
                str(tmp_path / "u.toml"),
            ]
        )
    assert ended.value.code == 2
    assert "bands need the project's own tables" in capsys.readouterr().err
    assert not (tmp_path / "u.toml").exists()
