"""A sweep's folder: what is kept in it is this sweep's, as it was written, or a sentence says what is wrong."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from command_line import run
from damage import damaged

import loopline as ll
from results.atomic_file import OutputError
from results.errors import ReadError
from scenarios.errors import ScenarioError
from scenarios.sweeps.parts import Basis, model_version, named_inputs, price_unchanged
from scenarios.sweeps.sweep import Progress, sweep

CHIP = 'inherits = "h100"\nname = "mine"\ntitle = "mine"\n'
SCENARIO = {
    "question": "How does decode grow?",
    "model": "llama-3.2-1b",
    "chips": "h100",
    "context": {"from": 8, "to": 2048, "step": 8},
}
POINTS, PART = 3 * 256, 256
DAMAGES = 30


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "sweep"
    assert sweep(SCENARIO, folder, workers=1).priced == POINTS
    return folder


@pytest.fixture
def folder(undisturbed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(undisturbed, tmp_path / "sweep"))


@pytest.fixture
def chip(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(CHIP)
    return path


def again(folder: Path, **changes: object) -> Progress:
    return sweep(SCENARIO | changes, folder, workers=1)


def refused(folder: Path, told: str, *, fresh: bool = False, **changes: object) -> None:
    """The sweep is refused with these words, and nothing in the folder is another."""
    before = contents(folder)
    with pytest.raises(OutputError, match=told) as refusal:
        sweep(SCENARIO | changes, folder, workers=1, fresh=fresh)
    assert "\n" not in str(refusal.value)
    assert contents(folder) == before


def test_no_damage_to_a_part_is_read_and_a_sweep_mends_it(folder: Path, undisturbed: Path) -> None:
    for seed in range(DAMAGES):
        part = folder / f"part-{seed % 3:06d}.parquet"
        part.write_bytes(damaged(part.read_bytes(), random.Random(seed)))
        with pytest.raises(ReadError, match=f"{part.name} is damaged") as refusal:
            ll.load(folder)
        assert "\n" not in str(refusal.value)
        if seed % 10 < 3:
            progress = again(folder)
            assert (progress.kept, progress.priced, progress.damaged) == (POINTS - PART, PART, (part.name,))
            assert contents(folder) == contents(undisturbed)
        shutil.copy(undisturbed / part.name, part)


def test_a_damaged_manifest_is_told_and_written_again_beside_its_own_parts(folder: Path, undisturbed: Path) -> None:
    manifest = folder / "manifest.json"
    for seed in range(DAMAGES):
        manifest.write_bytes(damaged((undisturbed / "manifest.json").read_bytes(), random.Random(seed)))
        with pytest.raises(ReadError, match="manifest") as refusal:
            ll.load(folder)
        assert "\n" not in str(refusal.value)
        if seed % 10 == 0:
            assert again(folder).priced == 0
            assert contents(folder) == contents(undisturbed)


def test_nothing_is_written_into_a_folder_that_is_complete(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())}
    assert again(folder).priced == 0
    assert {path: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())} == before


@pytest.mark.parametrize("text", ["", "{}", "[1]", '"x"', "null", '{"name": "My web application"}', "[" * 100_000])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_foreign_manifest_is_left_alone(tmp_path: Path, text: str, fresh: bool) -> None:
    folder = tmp_path / "application"
    folder.mkdir()
    (folder / "manifest.json").write_text(text)
    refused(folder, "no manifest of a sweep", fresh=fresh)


@pytest.mark.parametrize(
    "change", [{"points": 10**15}, {"parts": ["../../x"]}, {"part_points": 0}, {"complete": "yes"}]
)
def test_a_changed_manifest_is_no_manifest(folder: Path, change: dict[str, object]) -> None:
    fields = json.loads((folder / "manifest.json").read_text()) | change
    (folder / "manifest.json").write_text(json.dumps(fields))
    with pytest.raises(ReadError, match="manifest"):
        ll.load(folder)
    refused(folder, "--fresh deletes only what a manifest lists", fresh=True)


def test_another_scenario_is_refused_and_says_what_differs(folder: Path) -> None:
    refused(folder, "another scenario, which differs in batch; --fresh starts over", batch=[1, 2])
    refused(folder, "differs in question", question="Why?")
    assert sweep(SCENARIO | {"batch": 2}, folder, workers=1, fresh=True).priced == POINTS


def test_another_version_of_the_model_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenarios.sweeps.sweep.model_version", lambda: "0+other")
    refused(folder, "--fresh starts over")


def test_a_chip_whose_file_says_something_else_is_another_sweep(tmp_path: Path, chip: Path) -> None:
    folder = tmp_path / "sweep"
    assert again(folder, chips=str(chip)).priced == POINTS
    chip.write_text(CHIP + "# the same\n")
    assert again(folder, chips=str(chip)).priced == 0
    chip.write_text(CHIP + "memory.bandwidth = 3.0e12\n")
    refused(folder, "mine.toml has changed since", chips=str(chip))


def test_a_chip_that_changes_what_it_inherits_is_another_sweep(tmp_path: Path, chip: Path) -> None:
    child = tmp_path / "child.toml"
    child.write_text('inherits = "mine.toml"\nname = "child"\ntitle = "child"\n')
    again(tmp_path / "sweep", chips=str(child))
    chip.write_text(CHIP + "memory.bandwidth = 3.0e12\n")
    refused(tmp_path / "sweep", "child.toml has changed since", chips=str(child))


def test_a_chip_that_changes_while_the_sweep_runs_ends_it(tmp_path: Path, chip: Path) -> None:
    def edit(progress: Progress) -> None:
        if progress.priced:
            chip.write_text(CHIP + "memory.bandwidth = 3.0e12\n")

    many = SCENARIO | {"chips": str(chip), "batch": [1, 2, 3, 4]}
    with pytest.raises(ScenarioError, match=r"mine\.toml has changed while the sweep ran"):
        sweep(many, tmp_path / "sweep", workers=1, on_progress=edit)
    chip.write_text(CHIP)
    sweep(many, tmp_path / "sweep", workers=1)
    sweep(many, tmp_path / "undisturbed", workers=1)
    assert contents(tmp_path / "sweep") == contents(tmp_path / "undisturbed")


def test_a_worker_of_another_version_prices_nothing() -> None:
    with pytest.raises(ScenarioError, match="install one version everywhere"):
        price_unchanged([], Basis("0+other", {}))
    assert model_version() != "0+other"


def test_catalog_entries_are_named_with_what_they_say() -> None:
    named = named_inputs({"chips": ["h100", "h200"], "model": ["llama-3.2-1b"]})
    assert len({*named["chips"].values(), *named["model"].values()}) == 3


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("name", ["thesis.txt", "part-time.txt", "part-1.parquet", "reuse-me", ".manifest.bak"])
def test_a_folder_with_other_files_is_left_alone(folder: Path, name: str, fresh: bool) -> None:
    (folder / name).write_text("mine")
    refused(folder, name, fresh=fresh)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_part_that_the_manifest_does_not_list_is_left_alone(folder: Path, fresh: bool) -> None:
    (folder / "part-000099.parquet").write_text("mine")
    refused(folder, r"part-000099\.parquet, which is no part of its sweep", fresh=fresh)
    with pytest.raises(ReadError, match=r"part-000099\.parquet, which is no part of its sweep"):
        ll.load(folder)


def test_parts_that_change_places_or_are_of_another_sweep_are_damaged(folder: Path, undisturbed: Path) -> None:
    again(folder.parent / "other", question="Another?")
    shutil.copy(folder / "part-000000.parquet", folder / "part-000001.parquet")
    shutil.copy(folder.parent / "other" / "part-000002.parquet", folder)
    with pytest.raises(ReadError, match=r"part-000001\.parquet is damaged or of another sweep"):
        ll.load(folder)
    assert again(folder).damaged == ("part-000001.parquet", "part-000002.parquet")
    assert contents(folder) == contents(undisturbed)


def test_parts_without_a_manifest_are_kept_where_they_are_of_the_same_sweep(folder: Path, undisturbed: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(ReadError, match=r"holds a manifest\.json, and this one has none"):
        ll.load(folder)
    refused(folder, "parts without a manifest", batch=2)
    refused(folder, "--fresh deletes only what a manifest lists", fresh=True)
    assert again(folder).priced == 0
    assert contents(folder) == contents(undisturbed)


def test_a_complete_folder_that_lacks_a_part_says_so(folder: Path, undisturbed: Path) -> None:
    (folder / "part-000001.parquet").unlink()
    with pytest.raises(ReadError, match=r"part-000001\.parquet is missing"):
        ll.load(folder)
    assert again(folder).priced == PART
    assert contents(folder) == contents(undisturbed)


def test_a_folder_that_is_replaced_while_the_sweep_runs_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"

    def replace(progress: Progress) -> None:
        if progress.priced == PART:
            folder.rename(tmp_path / "moved")
            folder.mkdir()

    with pytest.raises(OutputError, match="moved or replaced while the sweep ran"):
        sweep(SCENARIO, folder, workers=1, on_progress=replace)
    assert contents(folder) == {}


def test_a_part_that_is_taken_away_while_the_sweep_runs_is_missed(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    with pytest.raises(OutputError, match=r"part-00000\d\.parquet was taken away"):
        sweep(
            SCENARIO,
            folder,
            workers=1,
            on_progress=lambda progress: next(iter(folder.glob("part-*")), folder / "part").unlink(missing_ok=True),
        )
    assert json.loads((folder / "manifest.json").read_text())["complete"] is False


@pytest.mark.parametrize("command", [["report", "-o", "page.html"], ["plot", "-o", "picture.svg"]])
def test_commands_name_the_damaged_part(
    folder: Path, capsys: pytest.CaptureFixture[str], command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    part = folder / "part-000001.parquet"
    part.write_bytes(part.read_bytes()[:-100])
    ended = run(capsys, command[0], str(folder), *command[1:])
    assert ended.code == 2
    assert "part-000001.parquet is damaged" in ended.err
    assert ended.err.count("\n") == 1


def test_the_command_says_which_parts_it_priced_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["sweep", "one-slow-chip", "-o", str(tmp_path / "sweep"), "--workers", "1", "--json"]
    assert json.loads(run(capsys, *asked).out)[0]["priced"] == 12
    part = tmp_path / "sweep" / "part-000000.parquet"
    part.write_bytes(part.read_bytes()[:-100])
    assert "damaged, and priced again: part-000000.parquet" in run(capsys, *asked).err


@pytest.mark.parametrize("context", [2**31, 2**63 - 1, 2**63, 10**30])
def test_a_number_that_no_column_holds_is_a_row_that_says_so(tmp_path: Path, context: int) -> None:
    assert again(tmp_path / "sweep", context=[64, context]).priced == 6
    rows = ll.load(tmp_path / "sweep")
    assert rows["fits"].tolist() == [True] * 3 + [False] * 3
    assert rows["reason"].str.contains(str(context)).tolist() == [False] * 3 + [True] * 3
