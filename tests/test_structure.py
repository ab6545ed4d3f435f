"""The shape of the tree: layers, chapters, packaging, and a README that promises only what exists."""

from __future__ import annotations

import ast
import copy
import functools
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nbformat
import plotly
import pytest
import typer
import yaml
from nbformat import NotebookNode
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import nsr
from nsr import cli
from nsr.book import edition, notebooks
from nsr.book.parameters import of_chapter
from nsr.figures.table import HEAD
from nsr.paths import ROOT

SPEAKING = {"cli", "book"}  # the only packages that print

MODULES = sorted(path for path in (ROOT / "nsr").rglob("*.py") if path != ROOT / "nsr" / "__init__.py")
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
MOST_LINES = 15
MOST_OPEN = 10  # lines of a cell that a reader sees without opening it
MiB = 2**20

README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
VENDORED = ROOT / "_vendor"


def our_files() -> list[Path]:
    """What git tracks, or would once it is added; in a copy without git, everything outside hidden and made folders."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0 and listed.stdout:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        made = {".venv", ".git", "_build", "__pycache__", "nsr.egg-info"}
        found = [
            p for p in ROOT.rglob("*") if not made & set(p.relative_to(ROOT).parts) and not p.name.endswith("ubyte")
        ]
    return [path for path in found if path.is_file()]


def texts() -> Iterator[tuple[Path, str]]:
    for path in our_files():
        if VENDORED not in path.parents:
            try:
                yield path, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


# ---------------------------------------------------------------- modules


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    command = [program, "--config", ROOT / "pyproject.toml", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_every_import_points_down_the_list_of_layers() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("low", "high"), [("budget.py", "nsr.attack"), ("attack/losses.py", "nsr.theory"), ("figures/style.py", "nsr.runs")]
)
def test_an_import_that_points_up_is_caught(low: str, high: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "nsr", tmp_path / "nsr", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "nsr" / low).open("a") as file:
        file.write(f"import {high}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1 and f"nsr.{low[:-3].replace('/', '.')} -> {high}" in done.stdout, done.stdout


@functools.cache
def trees() -> list[tuple[str, ast.Module]]:
    return [(str(path.relative_to(ROOT / "nsr")), ast.parse(path.read_text())) for path in MODULES]


def test_a_name_with_an_underscore_stays_in_its_module() -> None:
    wrong = []
    for module, tree in trees():
        imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and "nsr" in (n.module or "")]
        names = [name for node in imports for name in node.names]
        wrong += [f"{module} imports {name.name}" for name in names if name.name.startswith("_")]
        imported = {name.asname or name.name for name in names}
        reached = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
        private = [n for n in reached if n.value.id in imported and re.match(r"_[a-z]", n.attr)]
        wrong += [f"{module} reaches for {n.value.id}.{n.attr}" for n in private]
    assert not wrong


def test_only_the_command_line_and_the_book_print() -> None:
    calls = [
        f"{module}, line {node.lineno}"
        for module, tree in trees()
        if Path(module).parts[0] not in SPEAKING
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not calls


def test_importing_the_package_loads_nothing_that_takes_time() -> None:
    heavy = ("torch", "papermill", "dask", "seaborn", "plotly", "typer", "pydantic", "foolbox")
    code = f"import sys, nsr; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_nothing_loads_weights_by_pickle() -> None:
    for path, text in texts():
        if path.suffix in {".py", ".ipynb"} and ROOT / "tests" not in path.parents:
            found = re.findall(r"torch\.load\([^)]*\)", text)
            assert all("weights_only=True" in call for call in found), path  # then nothing in the file is executed
            assert not re.search(r"torch\.save\(|\b(pickle|dill|cloudpickle|joblib)\.|weights_only=False", text), path
            assert not re.search(r"import (pickle|dill|cloudpickle|joblib)|allow_pickle=True", text), path


def test_every_module_has_its_place_on_the_api_page_of_its_folder() -> None:
    found = []
    for page in (ROOT / "chapters" / "appendix" / "api").glob("*.md"):
        documented = re.findall(r"automodule:: nsr\.([\w.]+)", page.read_text())
        single = {path.stem for path in (ROOT / "nsr").glob("*.py")}
        assert {name.split(".")[0] for name in documented} <= (single if page.stem == "single_files" else {page.stem})
        found += [f"nsr.{name}" for name in documented]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in MODULES}
    ours = {name for name in names if not name.endswith("__main__") and not name.startswith("nsr.cli.")}
    assert sorted(found) == sorted(ours)


# ---------------------------------------------------------------- chapters


@functools.cache
def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def all_code_cells() -> Iterator[tuple[str, NotebookNode]]:
    """Every code cell of every chapter, with words that say where it stands."""
    for path in CHAPTERS:
        for cell in code_cells(path):
            yield f"{path.stem}, cell {cell.id}", cell


def parameters(path: Path) -> NotebookNode:
    (cell,) = (cell for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", []))
    return cell


def test_the_book_has_exactly_the_chapters_that_exist() -> None:
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    listed = [chapter for part in parts for chapter in part["chapters"]]
    pages = [page["file"] for chapter in listed for page in (chapter, *chapter.get("sections", ()))]
    written = [
        p.relative_to(ROOT).with_suffix("") for p in (ROOT / "chapters").rglob("*") if p.suffix in {".md", ".ipynb"}
    ]
    assert CHAPTERS
    assert sorted(pages) == sorted(str(p) for p in written if ".ipynb_checkpoints" not in p.parts)


def test_a_chapter_defines_nothing() -> None:
    kinds = ast.FunctionDef | ast.ClassDef | ast.Lambda
    defining = [
        where for where, cell in all_code_cells() if any(isinstance(n, kinds) for n in ast.walk(ast.parse(cell.source)))
    ]
    assert not defining, "what these cells define belongs into nsr/"


def test_a_chapters_cells_are_short() -> None:
    lines = {where: len(cell.source.strip().splitlines()) for where, cell in all_code_cells()}
    assert not {where: count for where, count in lines.items() if not 0 < count <= MOST_LINES}


def test_what_a_page_shows_of_its_code_is_short_and_no_plumbing() -> None:
    folded = {"parameters", "hide-input", "hide-cell", "remove-input", "remove-cell"}
    shown = {where: cell for where, cell in all_code_cells() if not folded & {*cell.metadata.get("tags", [])}}
    assert shown and not [where for where, cell in shown.items() if len(cell.source.splitlines()) > MOST_OPEN]
    assert not [where for where, cell in shown.items() if re.search(r"^(import|from) |\b(glue|stamp)\(", cell.source)]


def test_a_chapter_has_one_cell_of_annotated_parameters() -> None:
    wrong = []
    for path in CHAPTERS:
        source = parameters(path).source
        for statement in ast.parse(source).body:
            meaning = "#" in source.splitlines()[statement.end_lineno - 1]
            if not (isinstance(statement, ast.AnnAssign) and meaning):
                wrong.append(f"{path.stem}: {ast.unparse(statement)}")
    assert not wrong, "write `name: type = default  # meaning`"


def test_every_parameter_drives_its_chapter() -> None:
    unused = []
    for path in CHAPTERS:
        cell = parameters(path)
        rest = "\n".join(other.source for other in code_cells(path) if other.id != cell.id)
        used = {node.id for node in ast.walk(ast.parse(rest)) if isinstance(node, ast.Name)}
        names = [statement.target.id for statement in ast.parse(cell.source).body]
        unused += [f"{path.stem}: {name}" for name in names if name not in used]
    assert not unused, "parameters that nothing obeys"


def test_a_chapter_is_committed_executed_from_top_to_bottom() -> None:
    counts = {path.stem: [cell.execution_count for cell in code_cells(path)] for path in CHAPTERS}
    assert not {stem: found for stem, found in counts.items() if found != list(range(1, len(found) + 1))}


def test_a_chapter_shows_no_error_and_no_warning() -> None:
    bad = [
        where
        for where, cell in all_code_cells()
        for output in cell.outputs
        if output.output_type == "error" or output.get("name") == "stderr"
    ]
    assert not bad


def test_a_chapter_is_as_make_chapters_leaves_it() -> None:
    taken = {path: read(path).metadata.get(notebooks.TAKEN) for path in CHAPTERS}
    changed = [p.stem for p in CHAPTERS if notebooks.stripped(copy.deepcopy(read(p)), taken[p]) != read(p)]
    assert all(set(found) == {"seconds", "hardware"} for found in taken.values() if found)
    assert not changed, "times, paths or versions are in them: run make chapters"


def test_every_figure_of_a_chapter_has_a_caption_a_name_and_words_for_who_cannot_see_it() -> None:
    wrong = []
    for where, cell in all_code_cells():
        if any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {})):
            shown = cell.metadata.get("mystnb", {})
            figure, words = shown.get("figure", {}), shown.get("image", {}).get("alt", "").split()
            wrong += [f"{where}: no {what}" for what in ("caption", "name") if not figure.get(what, "").strip()]
            wrong += [f"{where}: no words for who cannot see it"] if len(words) < 4 else []
    assert not wrong


def test_every_figure_of_a_chapter_brings_its_numbers() -> None:
    for path in CHAPTERS:
        known = notebooks.figures(read(path))
        tables = {name: shown.get("text/csv", "").partition("\n") for name, shown in known.items()}
        there = {name for name, (head, _, rows) in tables.items() if head == ",".join(HEAD) and rows}
        assert there == set(known), f"{path.stem}: run make chapters"


def test_the_readme_shows_the_chapters_own_figures() -> None:
    for stem, name in notebooks.README_FIGURES.items():
        drawn = notebooks.figure(read(ROOT / "chapters" / f"{stem}.ipynb"), name)
        assert notebooks.figure_path(name).read_bytes() == drawn, f"run make chapters: {name} is not the chapter's"
        assert str(notebooks.figure_path(name).relative_to(ROOT)) in README


# ---------------------------------------------------------------- packaging


def pinned() -> dict[str, str]:
    lines = (line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#"))
    pairs = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines]
    assert all(pairs), "a constraint is name==version: no local tag, no path, no address"
    return {canonicalize_name(pair[1]): pair[2] for pair in pairs}


def direct_dependencies() -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    return [Requirement(text) for group in [PROJECT["project"]["dependencies"], *extras] for text in group]


def test_constraints_pin_every_direct_dependency_to_a_release_that_it_allows() -> None:
    pins = pinned()
    for requirement in direct_dependencies():
        assert canonicalize_name(requirement.name) in pins, f"{requirement.name} is not pinned: run make constraints"
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_the_book_s_plotly_is_a_part_of_the_one_that_writes_its_figures() -> None:
    """Its contours and lines, at a third of the size."""
    whole = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    part = VENDORED / "plotly" / "plotly-cartesian.min.js"
    versions = [re.search(r" v([\d.]+)$", file.read_text()[:200], re.MULTILINE) for file in (whole, part)]
    assert all(versions) and versions[0][1] == versions[1][1]


def test_constraints_hold_no_accelerator_packages() -> None:
    assert not [name for name in pinned() if name.startswith(("nvidia-", "cuda-", "triton"))]


def test_binder_finds_the_environment_file_and_nothing_it_would_take_first() -> None:
    """repo2docker looks into a folder of its own first, then takes other languages' files before environment.yml."""
    first = ("binder", ".binder", "Dockerfile", "Project.toml", "JuliaProject.toml", "REQUIRE", "default.nix")
    assert not [name for name in (*first, "runtime.txt", "install.R", "DESCRIPTION") if (ROOT / name).exists()]
    # what pip reads from the tree has to be named relative to it: repo2docker then copies the tree before it installs
    assert all(line.startswith(("-c constraints", "-e .")) for line in ENVIRONMENT["dependencies"][-1]["pip"])


def test_conda_users_get_the_same_set_up() -> None:
    *conda, pip = ENVIRONMENT["dependencies"]
    constraints, install = pip["pip"]
    assert constraints == "-c constraints.txt"
    setup = (ROOT / ".ci" / "setup").read_text().replace("'", "")
    assert f"pip install {constraints} {install} " in setup
    extras = install.removeprefix("-e .[").removesuffix("]").split(",")
    assert set(extras) <= set(PROJECT["project"]["optional-dependencies"])
    python = dict(spec.split("=") for spec in conda if "=" in spec)["python"]
    assert SpecifierSet(PROJECT["project"]["requires-python"]).contains(python)
    assert f"on Python {python}" in (ROOT / "constraints.txt").read_text()


def test_the_version_is_the_same_everywhere() -> None:
    version = PROJECT["project"]["version"]
    assert nsr.__version__ == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == version


def test_the_tree_is_small() -> None:
    sizes = {path: path.stat().st_size for path in our_files()}
    assert not [path for path, size in sizes.items() if size > 10 * MiB]
    assert sum(sizes.values()) < 76 * MiB


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    usual = r"/(?:home|root|tmp|Users|private|var/folders)/\w"
    anywhere = re.compile(rf"(?<![\w.:/-])(?:{usual}|{re.escape(str(ROOT))}/)")
    for path, text in texts():
        found = anywhere.search(text)
        assert not found, f"{path}: {text[found.start() :][:80]}"


# ---------------------------------------------------------------- README


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_make_command_that_is_promised_exists() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".ci/run"):
        text = (ROOT / name).read_text()
        promised = set(re.findall(r"(?:`|^ *|python[\d.]* )make ([a-z][a-z-]*)", text, re.MULTILINE))
        assert promised and promised <= targets(), f"{name} promises {promised - targets()}"


def test_every_make_target_has_a_line_of_help() -> None:
    helped = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert helped == targets()


def test_every_path_that_is_named_exists() -> None:
    missing = []
    for name in ("README.md", "CONTRIBUTING.md", "LICENSE-text.md"):
        text = (ROOT / name).read_text()
        linked = [path for path in re.findall(r"\]\(([^)]+)\)", text) if not path.startswith("http")]
        quoted = re.findall(r"`([\w.]*/?[\w./]+\.(?:py|md|yml|toml|txt|cff)|[\w.]+/|\.ci/\w+)`", text)
        passed = [word for word in re.findall(r"\bchapters/\S+\.ipynb", text) if "NN" not in word]
        missing += [f"{name}: {path}" for path in [*linked, *quoted, *passed] if not (ROOT / path).exists()]
    assert not missing


def test_the_programs_that_the_readme_calls_are_installed() -> None:
    called = set(re.findall(r"\.venv/bin/([\w-]+)", README))
    assert called and not [name for name in called if not Path(sys.executable).with_name(name).exists()]


def test_the_commands_and_options_of_nsr_that_the_readme_shows_exist() -> None:
    commands = typer.main.get_command(cli.app).commands
    shown = re.findall(r"\.venv/bin/nsr ([\w-]+)(.*)", README)
    assert shown
    for name, rest in shown:
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, f"nsr {name}{rest}"


def test_the_parameters_that_the_readme_sets_exist() -> None:
    commands = re.findall(r"nsr run (\S+)((?: -p \w+ \S+)+)", README)
    assert commands
    for chapter, settings in commands:
        (path,) = notebooks.chapters([chapter])
        for name, value in re.findall(r"-p (\w+) (\S+)", settings):
            of_chapter(path)[name].take(value.strip('"'))
    (settings,) = re.findall(r"nsr book((?: --set \w+=\S+)+)", README)
    edition.plan(dict(re.findall(r"--set (\w+)=(\S+)", settings)))


def test_the_readmes_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    shares = [int(share) for share in re.findall(r"(\d+)%", capsys.readouterr().out)]
    assert len(shares) == 8 and shares[0] > 80  # it has learnt something
    assert all(certified <= attacked for attacked, certified in zip(shares[::2], shares[1::2], strict=True))
