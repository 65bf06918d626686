"""The command line as people use it: TAB completes, quiet is quiet, pipes carry no colour."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run

from scenarios.commands import main as cli
from scenarios.commands.quiet import ErrorsOnly

COMPARE = ("compare", "llama-3.1-8b", "--chips", "h100")
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("words", "offered", "not_offered"),
    [
        (["loopline", "ro"], ["roofline"], ["report"]),
        (["loopline", "compare", "llama-3.1-"], ["llama-3.1-8b"], ["llama-2-7b"]),
        (["loopline", "compare", "llama-3.1-8b", "--chips", "h100", "sn"], ["sn10", "sn40l"], ["h100"]),
        (["loopline", "compare", "llama-3.1-8b", "--chips", "h100", ""], ["h100", "sn40l"], ["llama-3.1-8b"]),
        (
            ["loopline", "compare", "llama-3.1-8b", "--chips", "h100", "--strategy", "k"],
            ["kernel_loop"],
            ["per_operator"],
        ),
        (["loopline", "compare", "llama-3.1-8b", "--chips", "h100", "--ph"], ["--phase"], ["--plot"]),
        (["loopline", "sweep", "half"], ["half-the-bandwidth"], ["training"]),
        (["loopline", "plot", "rows.csv", "--kind", ""], ["heatmap", "scaling"], ["h100"]),
    ],
)
def test_tab_in_a_real_shell_offers_what_fits(words, offered, not_offered):
    if shutil.which("bash") is None or shutil.which("loopline", path=ENVIRONMENT["PATH"]) is None:
        pytest.skip("no bash, or loopline is not installed")
    asked = " ".join(f"'{word}'" for word in words)
    script = (
        'eval "$(_LOOPLINE_COMPLETE=source_bash loopline)"\n'
        f"COMP_WORDS=({asked}); COMP_CWORD={len(words) - 1}; _loopline_completion loopline\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    ran = subprocess.run(["bash", "--norc", "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    found = ran.stdout.split()
    assert set(offered) <= set(found)
    assert not set(not_offered) & set(found)


def test_a_line_of_words_is_completed_as_a_list_of_them_is(monkeypatch, capsys):
    monkeypatch.setenv("_LOOPLINE_COMPLETE", "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "loopline compare llama-3.1-8b --chips h100 sn4")
    with pytest.raises(SystemExit):
        cli.main([])
    assert capsys.readouterr().out.split() == ["sn40l"]


def test_quiet_leaves_results_and_errors(capsys, tmp_path):
    picture = str(tmp_path / "picture.png")
    loud = run(capsys, *COMPARE, "--plot", picture)
    quiet = run(capsys, "--quiet", *COMPARE, "--plot", picture)
    assert "wrote" in loud.err
    assert quiet.err == ""
    assert quiet.out == loud.out
    wrong = run(capsys, "-q", "compare", "llama-3.1-8b", "--chips", "h1000")
    assert wrong.code == 2
    assert "h1000" in wrong.err
    unfit = run(capsys, "-q", "compare", "llama-3.1-405b", "--chips", "h100")
    assert unfit.code == 1
    assert "nothing fits" in unfit.err


@pytest.mark.parametrize("place", [0, 1, 4])
def test_quiet_may_stand_anywhere(place, capsys, tmp_path):
    words = [*COMPARE, "-o", str(tmp_path / "rows.csv")]
    printed = run(capsys, *words[:place], "--quiet", *words[place:])
    assert not printed.code
    assert printed.err == ""
    assert (tmp_path / "rows.csv").is_file()


def test_lines_pass_whole_whatever_pieces_they_come_in(capsys):
    stream = ErrorsOnly(sys.stderr)
    for piece in ("wro", "te x\nloop", "line: wrong.\n", "more"):
        stream.write(piece)
    assert capsys.readouterr().err == "loopline: wrong.\n"
    assert not stream.isatty()


@pytest.mark.parametrize("arguments", [("--help",), ("chips",), COMPARE, ("compare", "nothing", "--chips", "h100")])
def test_pipes_carry_no_colours(arguments):
    command = [sys.executable, "-c", "from scenarios.commands.main import main; main()", *arguments]
    ran = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert "\x1b" not in ran.stdout + ran.stderr
    assert ran.stdout or ran.stderr


def test_a_terminal_gets_them():
    code, shown = on_a_terminal("stdout", *COMPARE)
    assert code == 0
    assert b"\x1b[1m" in shown


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_run_shows_a_bar_on_a_terminal_unless_it_is_to_be_quiet(quiet):
    code, shown = on_a_terminal("stderr", "run", "training", "--json", *quiet)
    assert code == 0
    assert (b"36/36" in shown and b"points/s" in shown) == (not quiet)
    assert bool(shown) == (not quiet)


def on_a_terminal(stream, *arguments):
    """(exit code, what a terminal shows) of the command, of which ``stream`` is one and the other no more is read."""
    master, slave = pty.openpty()
    command = [sys.executable, "-c", "from scenarios.commands.main import main; main()", *arguments]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | {stream: slave}
    with subprocess.Popen(command, env=ENVIRONMENT, **streams) as ran:
        os.close(slave)
        shown = b""
        while piece := _read(master):
            shown += piece
    os.close(master)
    return ran.returncode, shown


def _read(master):
    try:
        return os.read(master, 65536)
    except OSError:  # Linux says so where the other end of a pseudo-terminal is closed
        return b""


def test_a_question_without_an_answer_is_one_sentence(capsys, tmp_path):
    printed = run(capsys, *COMPARE, "--csv")
    (tmp_path / "rows.csv").write_text(printed.out)
    refused = run(capsys, "plot", str(tmp_path / "rows.csv"), "--kind", "scaling", "-o", str(tmp_path / "x.svg"))
    assert refused.code == 2
    assert "two counts" in refused.err


@pytest.mark.parametrize(
    "words",
    [
        ("systolic", "2x2", "--matvec"),
        ("fit", "llama-3.2-1b", "--chips", "sn40l"),
        ("fit", "--chips", "sn40l", "--hidden", "2048"),
        ("tiles", "softmax"),
        ("bandwidth", "llama-3.2-1b", "--chip", "sn40l"),
    ],
)
def test_a_picture_is_the_same_bytes_every_time(words, tmp_path, capsys):
    pictures = [tmp_path / f"{name}.svg" for name in "ab"]
    for picture in pictures:
        assert run(capsys, *words, "--plot", str(picture))[0] == 0
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
