"""Claims about what machines read of the repository: it is what the tree says, nothing is named that is not there."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import nsr.runs
from nsr import cli, paths
from nsr.book import pdf, provenance
from nsr.paths import ROOT

MANIFEST = yaml.safe_load((ROOT / provenance.CODECHECK).read_text())
GRAPH = {entity["@id"]: entity for entity in json.loads((ROOT / provenance.CRATE).read_text())["@graph"]}


def references(node: object) -> list[str]:
    """Every identifier that stands alone: a reference to another entity."""
    if isinstance(node, dict):
        return [node["@id"]] if set(node) == {"@id"} else [name for part in node.values() for name in references(part)]
    return [name for part in node for name in references(part)] if isinstance(node, list) else []


def test_the_files_are_what_nsr_provenance_writes(tmp_path: Path) -> None:
    made = provenance.write(tmp_path)
    assert {path.name for path in made} == {provenance.CODECHECK, provenance.CRATE}
    changed = [path.name for path in made if path.read_bytes() != (ROOT / path.name).read_bytes()]
    assert not changed, "run nsr provenance"


def test_the_command_says_what_it_has_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "write", lambda: [Path("one"), Path("two")])
    assert CliRunner().invoke(cli.app, ["provenance"]).output == "written: one, two\n"


def test_every_file_of_the_manifest_exists_and_is_said_to_be_something() -> None:
    assert MANIFEST["manifest"]
    for entry in MANIFEST["manifest"]:
        assert (ROOT / entry["file"]).is_file() and entry["comment"]


def test_no_check_is_claimed() -> None:
    assert set(MANIFEST) == {"version", "manifest", "paper"}


def test_the_manifest_has_the_form_of_its_specification() -> None:
    """An explicit document whose directive names YAML's version; the paper's authors by name, first the one to ask."""
    text = (ROOT / provenance.CODECHECK).read_text()
    assert "\n%YAML 1.1\n---\nversion: https://codecheck.org.uk/spec/config/1.0/\n" in text
    assert {"title", "authors", "reference"} <= set(MANIFEST["paper"]) and MANIFEST["paper"]["authors"]
    assert all(set(author) <= {"name", "ORCID"} and author["name"] for author in MANIFEST["paper"]["authors"])


def test_the_crate_has_what_every_crate_must_have() -> None:
    """RO-Crate 1.1: a descriptor, a root with five properties and every part of the crate, licences in words."""
    descriptor, root = GRAPH["ro-crate-metadata.json"], GRAPH["./"]
    assert descriptor["@type"] == "CreativeWork" and descriptor["about"] == {"@id": "./"}
    assert root["@type"] == "Dataset" and all(root[name] for name in ("name", "description", "license"))
    assert re.fullmatch(r"\d{4}(-\d\d(-\d\d)?)?", root["datePublished"])
    assert all(GRAPH[licence["@id"]]["description"] for licence in root["license"])
    data = {name for name, entity in GRAPH.items() if {"File", "Dataset"} & {*_types(entity)}} - {"./"}
    assert data == {part["@id"] for part in root["hasPart"]}


def _types(entity: dict) -> list[str]:
    return entity["@type"] if isinstance(entity["@type"], list) else [entity["@type"]]


def test_everything_that_the_crate_names_exists() -> None:
    for name, entity in GRAPH.items():
        if not name.startswith(("https://", "#")):
            path = ROOT / name
            assert path.is_file() if entity["@type"] in ("File", "CreativeWork") else path.is_dir(), name


def test_every_reference_of_the_crate_leads_to_an_entity_of_it() -> None:
    outside = {"https://w3id.org/ro/crate/1.1"}
    assert set(references(list(GRAPH.values()))) <= set(GRAPH) | outside


def test_the_crate_has_every_shipped_run_with_the_digest_of_its_provenance() -> None:
    names = {f"data/runs/{folder.name}/" for folder in nsr.runs.folders(paths.SHIPPED)}
    assert names and {name for name in GRAPH if name.startswith("data/runs/")} == names
    for name in names:
        assert GRAPH[name]["sha256"] == hashlib.sha256((ROOT / name / "provenance.json").read_bytes()).hexdigest()


def test_the_makers_of_mnist_are_those_that_the_data_page_names() -> None:
    text = " ".join((paths.DATA / "README.md").read_text().split())
    makers = [GRAPH[person["@id"]] for person in GRAPH["data/MNIST/"]["creator"]]
    assert makers and all(maker["@type"] == "Person" and maker["name"] in text for maker in makers)
    assert GRAPH["data/MNIST/"]["license"]["@id"] in text


def test_without_a_browser_printing_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("the page was built for nothing"))
    with pytest.raises(SystemExit, match="apt-get install chromium"):
        pdf.main()
