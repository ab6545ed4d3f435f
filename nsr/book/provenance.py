"""Who, what and from where, for machines: a CODECHECK manifest and RO-Crate metadata, from the tree alone.

Authors, licences and the paper come from CITATION.cff, the rest from pyproject.toml, data/README.md, the chapters and
the stored runs. The same tree gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from rocrate.model import ContextEntity
from rocrate.rocrate import ROCrate

import nsr.runs
from nsr import paths
from nsr.book.notebooks import chapters, title
from nsr.files import write_whole
from nsr.runs import Run

CODECHECK, CRATE = "codecheck.yml", "ro-crate-metadata.json"
# name -> where it is written down, and what it covers here
LICENCES = {
    "MIT": ("https://spdx.org/licenses/MIT", "The code of this repository, and the trained networks"),
    "CC-BY-4.0": ("https://creativecommons.org/licenses/by/4.0/", "Text and figures of this repository"),
    "CC-BY-SA-3.0": (
        "https://creativecommons.org/licenses/by-sa/3.0/",
        "The MNIST files, by the licence that is commonly cited for them",
    ),
}
MNIST_BY = ("Y. LeCun", "C. Cortes", "C. J. C. Burges")
OF_RUNS = (
    "The identifier of a run is the SHA-256 of its specification, its sha256 that of its provenance.json, which holds "
    "the digest of every other file, code, data and circumstances."
)
KINDS = {".ipynb": "application/x-ipynb+json", ".md": "text/markdown"}
# what the project's commands write, and the command: the outputs that somebody who checks the work has to get again
OUTPUTS = {
    "data/claims.json": "The ledger of the paper's claims with every number; nsr claims --out",
    "data/claims.md": "The ledger as a table; nsr claims --markdown",
    "data/tuning.json": "Every candidate for the methods' numbers, on validation images; nsr tune",
    "data/quick.json": "What nsr reproduce --scale quick should give",
    CRATE: "The digest of every stored run; nsr provenance",
}


def write(root: Path = paths.ROOT) -> list[Path]:
    """Write both files at the root of the tree, the crate first: the manifest names it."""
    for name, text in ((CRATE, crate()), (CODECHECK, codecheck())):
        write_whole(root / name, text.encode())
    return [root / CODECHECK, root / CRATE]


def codecheck() -> str:
    """The CODECHECK manifest of configuration 1.0. Nobody has checked: who and when is for them to add."""
    paper = _paper()
    content = {
        "version": "https://codecheck.org.uk/spec/config/1.0/",
        "manifest": [{"file": name, "comment": comment} for name, comment in _outputs()],
        "paper": {
            "title": paper["title"],
            "authors": [{"name": name} for name in paper["names"]],
            "reference": paper["address"],
        },
    }
    head = "# Written by `nsr provenance`. No independent check has been made: the checker's fields are left out.\n"
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120, explicit_start=True)
    return f"{head}%YAML 1.1\n{body}"


def _outputs() -> Iterator[tuple[str, str]]:
    for figure in sorted((paths.CHAPTERS / "figures").iterdir()):
        yield _relative(figure), "Figure 1, made again; make chapters"
    yield from ((name, comment) for name, comment in OUTPUTS.items() if name == CRATE or (paths.ROOT / name).exists())
    for notebook in chapters():
        yield _relative(notebook), f"{title(notebook)}: its figures and printed numbers; make chapters"


def crate() -> str:
    """RO-Crate 1.1 metadata: the whole, its chapters, data, runs, licences and the paper it studies."""
    made, cited = ROCrate(version="1.1"), _citation()
    # sha256 is a term of schema.org that the context of RO-Crate 1.1 lacks
    made.metadata.extra_terms["sha256"] = "https://schema.org/sha256"
    licences = {
        name: _add(made, address, "CreativeWork", name=name, description=covers)
        for name, (address, covers) in LICENCES.items()
    }
    authors = _add(made, "#authors", "Organization", name=cited["authors"][0]["name"])
    _describe_whole(made, [licences[name] for name in cited["license"]], authors)
    _add_package(made, licences["MIT"], authors)
    mnist = {  # as data/README.md has it
        "name": "MNIST database of handwritten digits",
        "description": "The four original files. The licence is the one commonly cited; see data/README.md.",
        "creator": _people(made, MNIST_BY),
        "license": licences["CC-BY-SA-3.0"],
    }
    made.add_dataset(dest_path="data/MNIST", properties=mnist)
    for page in [*chapters(), *sorted((paths.CHAPTERS / "appendix").glob("*.md"))]:
        told = {"name": title(page), "encodingFormat": KINDS[page.suffix], "license": made.root_dataset["license"]}
        made.add_file(dest_path=_relative(page), properties=told)
    for run in nsr.runs.runs(paths.SHIPPED):
        made.add_dataset(dest_path=_relative(run.folder), properties=_run(run) | {"license": licences["MIT"]})
    return json.dumps(made.metadata.generate(), indent=1, ensure_ascii=False) + "\n"


def _describe_whole(made: ROCrate, licences: list[ContextEntity], authors: ContextEntity) -> None:
    cited, paper = _citation(), _paper()
    article = {
        "name": paper["title"],
        "author": _people(made, paper["names"]),
        "datePublished": str(paper["year"]),
        "isPartOf": paper["collection-title"],
        "identifier": paper["identifiers"][0]["value"],
    }
    whole = {
        "name": cited["title"],
        "description": f"{_project()['description']}. {OF_RUNS}",
        "version": cited["version"],
        "datePublished": _year(),
        "license": licences,
        "author": authors,
        "keywords": cited["keywords"],
        "citation": _add(made, paper["address"], "ScholarlyArticle", **article),
    }
    for name, value in whole.items():
        made.root_dataset[name] = value


def _add_package(made: ROCrate, licence: ContextEntity, authors: ContextEntity) -> None:
    project = _project()
    package = {
        "@type": ["Dataset", "SoftwareSourceCode"],
        "name": project["name"],
        "version": project["version"],
        "description": "The package that computes every number",
        "license": licence,
        "author": authors,
        "runtimePlatform": f"Python {project['requires-python']}",
        "softwareRequirements": project["dependencies"],
    }
    made.add_dataset(dest_path="nsr", properties=package)


def _add(made: ROCrate, address: str, kind: str, /, **properties: Any) -> ContextEntity:
    return made.add(ContextEntity(made, address, {"@type": kind, **properties}))


def _people(made: ROCrate, names: Iterable[str]) -> list[ContextEntity]:
    slugs = {name: name.lower().replace(".", "").replace(" ", "-") for name in names}
    return [_add(made, f"#{slug}", "Person", name=name) for name, slug in slugs.items()]


def _run(run: Run) -> dict[str, Any]:
    """What was trained, the key of its specification, the digest of its provenance."""
    spec, known = run.spec, run.provenance
    parts = [known["training"], *known["contours"].values(), *known.get("readings", {}).values()]
    made = "; ".join(", ".join(sorted({part[what] for part in parts})) for what in ("torch", "hardware"))
    kept = [f"contours: {', '.join(sorted(run.contours)) or 'none'}"]
    kept += [f"readings: {', '.join(sorted(run.readings))}"] if run.readings else []
    kept += [] if run.has_weights else ["without its weights"]
    return {
        "name": ", ".join(filter(None, (f"{spec.method.title}, seed {spec.seed}", spec.differs))),
        "description": f"Trained on {spec.dataset}; {'; '.join(kept)}; with torch {made}",
        "identifier": spec.key,
        "sha256": hashlib.sha256((run.folder / "provenance.json").read_bytes()).hexdigest(),
        "isBasedOn": [{"@id": name} for name in ("nsr/", "data/MNIST/")[: 1 + (spec.dataset == "mnist")]],
    }


def _project() -> dict[str, Any]:
    return tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]


def _citation() -> dict[str, Any]:
    return yaml.safe_load((paths.ROOT / "CITATION.cff").read_text())


def _paper() -> dict[str, Any]:
    """The paper of ICASSP 2021, the first that CITATION.cff refers to, with its authors' names and its address."""
    paper = _citation()["references"][0]
    names = [f"{author['given-names']} {author['family-names']}" for author in paper["authors"]]
    address = "https://arxiv.org/abs/" + paper["identifiers"][0]["value"].removeprefix("arXiv:")
    return {**paper, "names": names, "address": address}


def _year() -> str:
    """RO-Crate wants a date; the only one that the tree states is the year of the copyright."""
    notice = yaml.safe_load((paths.ROOT / "_config.yml").read_text())["copyright"]
    return re.findall(r"\d{4}", notice)[0]


def _relative(path: Path) -> str:
    return path.relative_to(paths.ROOT).as_posix()
