"""Claims about the digest of the code: what decides numbers makes a run stale, words and moved files do not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import tiny

import nsr.runs
from nsr import paths
from nsr.files import StoreError
from nsr.runs import code_digest


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A copy of the package, which now counts as the code."""
    copy = shutil.copytree(paths.PACKAGE, tmp_path / "nsr", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(paths, "PACKAGE", copy)
    return copy


CHANGES = {
    "budget": ("def uniform(", "def uniform_(", True),
    "training.loop": ("2.5 / method.attack_steps", "2.4 / method.attack_steps", True),
    "training.loss": ("return F.cross_entropy", "x = x\n    return F.cross_entropy", True),
    "attack.joint": ("import torch", "import torch  # a comment", False),
    "attack.engine": ("from nsr.attack import mlp_gradients", "from nsr.attack import mlp_gradients, losses", False),
    "contour.measure": ('"""The share of inputs certified', '"""Other words for the share of inputs certified', False),
    "theory.conv_norms": ("mass = layer.weight.abs().sum(1)", "mass = layer.weight.abs().sum(2)", True),
    "theory.norms": ("def linf(layer: Tensor | nn.Module) -> Tensor", "\n\n\ndef linf(layer) -> object", False),
}


@pytest.mark.parametrize("role", CHANGES)
def test_a_changed_line_of_code_makes_a_run_stale_and_words_do_not(role, store, package):
    assert nsr.runs.load(store / tiny.spec().folder).stale == ()
    old, new, stale = CHANGES[role]
    tiny.edit(package / code_digest.ROLES[role], old, new)
    assert nsr.runs.load(store / tiny.spec().folder).stale == ((role,) if stale else ())


def test_code_that_moves_to_another_file_makes_no_run_stale(store, package, monkeypatch):
    (package / "attack" / "losses.py").rename(package / "climbed.py")
    monkeypatch.setitem(code_digest.ROLES, "attack.losses", "climbed.py")
    assert nsr.runs.load(store / tiny.spec().folder).stale == ()


def test_a_role_that_is_gone_makes_a_run_stale(store, monkeypatch):
    monkeypatch.delitem(code_digest.ROLES, "attack.losses")
    assert nsr.runs.load(store / tiny.spec().folder).stale == ("attack.losses",)


def test_the_digest_sees_code_and_not_comments_docstrings_annotations_or_empty_lines():
    for role, file in code_digest.ROLES.items():
        source = (paths.PACKAGE / file).read_text()
        bare = code_digest.bare(source)
        assert code_digest.bare("# a comment\n\n" + source.replace("\n\n", "\n\n\n") + "\n# another\n") == bare, role
        assert code_digest.bare(source + "\nextra = 1\n") != bare, role
    assert code_digest.bare('def f(x: int) -> int: "words"\n') == code_digest.bare("def f(x): 'other words'\n")
    assert code_digest.bare('def f(x): "words"\n') != code_digest.bare('def f(x, y): "words"\n')


def test_a_name_is_the_same_code_with_and_without_its_module():
    whole = code_digest.bare("from nsr.theory import theorem\nx = theorem.tau(W)\n")
    assert code_digest.bare("from nsr.theory.theorem import tau\nx = tau(W)\n") == whole
    assert code_digest.bare("import theorem\nx = theorem.tau(W)\n") != whole


LOSS = ("return F.cross_entropy", "x = x\n    return F.cross_entropy")


def test_a_stale_run_is_refused_and_not_used_until_it_is_removed(store, package):
    tiny.edit(package / "training" / "loss.py", *LOSS)
    folder = store / tiny.spec().folder
    with pytest.raises(StoreError, match=f"{folder}: was computed before a change of training.loss; remove it"):
        nsr.runs.run(tiny.spec(), ("paper",), store=store)
    shutil.rmtree(folder)
    assert nsr.runs.run(tiny.spec(), ("paper",), store=store).stale == ()


def test_a_stale_shipped_run_is_computed_anew_in_the_user_s_store_and_never_to_be_removed(store, package, monkeypatch):
    monkeypatch.setattr(paths, "SHIPPED", store)
    tiny.edit(package / "training" / "loss.py", *LOSS)
    found = nsr.runs.run(tiny.spec())
    assert found.folder.parent == paths.store() and found.stale == ()
    with pytest.raises(StoreError, match="training.loss; undo that change, or compute the run again in a store of"):
        nsr.runs.refuse_stale(store, tiny.spec())


def test_the_digest_is_of_the_code_that_computed_and_not_of_what_was_edited_meanwhile(package, tmp_path):
    def edit_once(job, state):
        if state.epoch == 1:
            tiny.edit(package / "training" / "loss.py", *LOSS)

    assert nsr.runs.run(tiny.spec(), store=tmp_path, watch=edit_once).stale == ("training.loss",)


def test_every_module_that_training_and_measuring_import_has_a_role():
    """But for the table of methods, whose numbers are in the specification, and what no number hangs on."""
    idle = {"training/methods.py", "paths.py", "files.py", "vision.py", "chain.py", "contour/contour.py"}
    for roles, roots in (
        (code_digest.TRAINING, ("training/loop.py", "data.py")),
        (code_digest.ATTACKING, ("attack/joint.py", "attack/offsets.py", "data.py")),
        (code_digest.CERTIFYING, ("certify/margins.py", "data.py")),
        (code_digest.DECIDING, ("contour/deciding.py", "data.py")),
        (code_digest.READING, ("inside.py", "attack/joint.py", "data.py")),
    ):
        assert set().union(*map(imported, roots)) - idle <= {code_digest.ROLES[role] for role in roles}


def imported(file: str) -> set[str]:
    """The files of the package that a file imports, itself included, through packages' fronts too."""
    found, todo = set(), [file]
    while todo:
        found.add(file := todo.pop())
        for module, names in re.findall(r"^from (nsr[\w.]*) import (.*)$", (paths.PACKAGE / file).read_text(), re.M):
            for name in ("", *re.split(r",\s*", names)):
                path = "/".join([*module.split(".")[1:], *([name] if name else [])]) + ".py"
                if (paths.PACKAGE / path).is_file() and path not in found and "__init__" not in path:
                    todo.append(path)
    return found
