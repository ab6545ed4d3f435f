"""Claims about the program as a process: it starts quickly, and every way out of it costs one line at most."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import typer

from nsr import cli
from nsr.paths import ROOT

FULL = Path("/dev/full")


def started(*words: object, path: Path | None = None, **how: object) -> subprocess.Popen:
    """`nsr` in a process of its own; packages in the folder `path` go before the installed ones."""
    before = [str(path)] if path else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*before, str(ROOT)]), "OMP_NUM_THREADS": "1"}
    # a process inherits an ignored SIGINT, as tests started in the background have it; one that is caught is reset
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "nsr.cli", *map(str, words)],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment, **how},
        )
    finally:
        signal.signal(signal.SIGINT, ours)


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


# how it starts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["nope"], []])
def test_help_and_a_mistyped_command_load_nothing_that_takes_time(words):
    code = f"""
        import sys
        from nsr import cli
        try:
            cli.app({words})
        except SystemExit:
            print([name for name in ("torch", "numpy", "matplotlib", "dask") if name in sys.modules])
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines()[-1] == "[]" and "Usage: nsr" in found.stdout + found.stderr


def test_help_lists_every_command_with_the_beginning_of_what_it_says_of_itself():
    commands = typer.main.get_command(cli.app).commands
    assert list(commands) == list(cli.COMMANDS)
    for name, (_, line) in cli.COMMANDS.items():
        words = " ".join(commands[name].help.split())
        assert re.match(rf"{re.escape(line)}[:,. ]", words), name


def test_every_command_has_its_place_on_the_api_page():
    page = (ROOT / "chapters" / "appendix" / "api" / "cli.md").read_text()
    shown = re.findall(r"autofunction:: (nsr\.cli\.\w+)\.(\w+)", page)
    commands = typer.main.get_command(cli.app).commands
    functions = [inspect.unwrap(commands[name].callback) for name in cli.COMMANDS]
    assert shown == [(function.__module__, function.__name__) for function in functions]


def test_the_front_of_the_package_names_what_it_has_and_nothing_else():
    import nsr

    assert all(getattr(nsr, name) is not None for name in nsr.__all__)
    assert set(nsr.__all__) <= set(dir(nsr))
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = nsr.nope


# Ctrl-C -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("words", [["runs"], ["assess", "--help"]])
def test_ctrl_c_while_packages_load_ends_in_one_line_and_130(words, tmp_path):
    (tmp_path / "torch.py").write_text(
        f"import time\nopen({str(tmp_path / 'loading')!r}, 'w').close()\n"
        "try:\n    time.sleep(100)\nexcept BaseException:\n    pass  # as some packages do\ntime.sleep(100)\n"
    )
    process = started(*words, path=tmp_path)
    while not (tmp_path / "loading").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "", "nsr: interrupted\n")


def test_an_ignored_ctrl_c_stays_ignored(tmp_path):
    (tmp_path / "torch.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise ImportError('this far')\n"
    )
    process = started("runs", path=tmp_path, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert "this far" in ended(process)[2]


@pytest.mark.slow
def test_ctrl_c_where_no_command_looks_out_for_it_ends_in_one_line_and_130(tmp_path):
    code = """
        import threading
        from nsr import cli
        from nsr.cli import single

        def interrupted(*_):
            threading.Thread(target=threading.Event().wait).start()  # as a cell that is never finished
            raise KeyboardInterrupt

        single.stores = interrupted
        cli.app(["runs"])
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "nsr: interrupted\n")


# what cannot be written ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["runs"], ["--help"], ["train", "--help"]])
def test_output_that_cannot_be_written_costs_one_line_and_an_exit_code(words):
    with FULL.open("w") as full:
        code, _, err = ended(started(*words, stdout=full))
    assert code == 1 and err == "nsr: the output cannot be written: No space left on device\n"


@pytest.mark.slow
@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_where_even_the_reason_cannot_be_written_the_exit_code_says_it():
    with FULL.open("w") as full:
        assert ended(started("runs", "--store", "gone", stderr=full))[0] != 0


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_leaves_no_noise():
    process = started("runs")
    process.stdout.close()
    assert process.wait(120) == 1 and process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.slow
def test_without_any_output_the_program_still_does_its_work():
    process = started("runs", preexec_fn=lambda: os.close(1))
    assert ended(process)[::2] == (0, "")


@pytest.mark.slow
def test_a_name_that_no_terminal_can_show_is_shown_escaped():
    code, _, err = ended(started("runs", "--store", os.fsdecode(b"\xff")))
    assert code == 2 and err == "nsr: \\udcff: there is no such folder of runs\n"
