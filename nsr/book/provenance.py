"""Who, what and from where, for machines: a CODECHECK manifest and RO-Crate metadata, from the tree alone.

Authors, licences and the paper come from CITATION.cff, the rest from pyproject.toml, data/README.md, the chapters and
the stored runs. The same tree gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

import nsr.runs
from nsr import paths
from nsr.files import write_whole
from nsr.runs import Run

CODECHECK, CRATE = "codecheck.yml", "ro-crate-metadata.json"
LICENCES = {
    "MIT": "https://spdx.org/licenses/MIT",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-3.0": "https://creativecommons.org/licenses/by-sa/3.0/",
}
COVERS = {
    "MIT": "The code of this repository, and the trained networks",
    "CC-BY-4.0": "Text and figures of this repository",
    "CC-BY-SA-3.0": "The MNIST files, by the licence that is commonly cited for them",
}
MNIST_BY = ("Y. LeCun", "C. Cortes", "C. J. C. Burges")
# what the project's commands write, and the command: the outputs that somebody who checks the work has to get again
OUTPUTS = {
    "data/claims.json": "The ledger of the paper's claims with every number; nsr claims --out",
    "data/claims.md": "The ledger as a table; nsr claims --markdown",
    "data/tuning.json": "Every candidate for the methods' numbers, on validation images; nsr tune",
    "data/quick.json": "What nsr reproduce --scale quick should give",
    CRATE: "The digest of every stored run; nsr provenance",
}

Entity = dict[str, Any]  # a node of JSON-LD


def write(root: Path = paths.ROOT) -> list[Path]:
    """Write both files at the root of the tree, the crate first: the manifest names it."""
    paths.refuse_without_checkout("the files that provenance describes")
    for name, text in ((CRATE, crate()), (CODECHECK, codecheck())):
        write_whole(root / name, text.encode())
    return [root / CODECHECK, root / CRATE]


# CODECHECK ----------------------------------------------------------------------------------------------------------


def codecheck() -> str:
    """The manifest of configuration 1.0: outputs and paper. Nobody has checked: who and when is for them to add."""
    paper = _paper()
    content = {
        "version": "https://codecheck.org.uk/spec/config/1.0/",
        "manifest": [{"file": name, "comment": comment} for name, comment in _outputs()],
        "paper": {
            "title": paper["title"],
            "authors": [{"name": name} for name in _names(paper)],
            "reference": _address(paper),
        },
    }
    head = "# Written by `nsr provenance`. No independent check has been made: the checker's fields are left out.\n"
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120, explicit_start=True)
    return f"{head}%YAML 1.1\n{body}"


def _outputs() -> Iterator[tuple[str, str]]:
    for figure in sorted((paths.CHAPTERS / "figures").iterdir()):
        yield _relative(figure), "Figure 1, made again; make chapters"
    yield from ((name, comment) for name, comment in OUTPUTS.items() if name == CRATE or (paths.ROOT / name).exists())
    for notebook in sorted(paths.CHAPTERS.glob("*.ipynb")):
        yield _relative(notebook), f"{_title(notebook)}: its figures and printed numbers; make chapters"


# RO-Crate -----------------------------------------------------------------------------------------------------------


def crate() -> str:
    """RO-Crate 1.1 metadata: the whole, its chapters, data, runs, licences and the paper it studies."""
    runs, pages = list(nsr.runs.runs(paths.SHIPPED)), _pages()
    graph = [
        {
            "@id": CRATE,
            "@type": "CreativeWork",
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
            "about": {"@id": "./"},
        },
        _root(pages),
        _software(),
        *map(_licence, LICENCES),
        _article(),
        *({"@id": _author(name), "@type": "Person", "name": name} for name in _names(_paper())),
        {"@id": "#authors", "@type": "Organization", "name": _citation()["authors"][0]["name"]},
        _mnist(),
        *({"@id": _author(name), "@type": "Person", "name": name} for name in MNIST_BY),
        *pages,
        *_runs(runs),
    ]
    # sha256 is a term of schema.org that the context of RO-Crate 1.1 lacks
    context = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://schema.org/sha256"}]
    return json.dumps({"@context": context, "@graph": graph}, indent=1, ensure_ascii=False) + "\n"


def _licence(name: str) -> Entity:
    return {"@id": LICENCES[name], "@type": "CreativeWork", "name": name, "description": COVERS[name]}


def _root(pages: list[Entity]) -> Entity:
    cited = _citation()
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": cited["title"],
        "description": _project()["description"],
        "version": cited["version"],
        "datePublished": _year(),
        "license": _ids(LICENCES[name] for name in cited["license"]),
        "author": {"@id": "#authors"},
        "keywords": cited["keywords"],
        "citation": {"@id": _address(_paper())},
        "hasPart": _ids(["nsr/", "data/MNIST/", "data/runs/", *(page["@id"] for page in pages)]),
    }


def _software() -> Entity:
    project = _project()
    return {
        "@id": "nsr/",
        "@type": ["Dataset", "SoftwareSourceCode"],
        "name": project["name"],
        "version": project["version"],
        "description": "The package that computes every number",
        "license": {"@id": LICENCES["MIT"]},
        "author": {"@id": "#authors"},
        "runtimePlatform": f"Python {project['requires-python']}",
        "softwareRequirements": project["dependencies"],
    }


def _article() -> Entity:
    paper = _paper()
    return {
        "@id": _address(paper),
        "@type": "ScholarlyArticle",
        "name": paper["title"],
        "author": _ids(map(_author, _names(paper))),
        "datePublished": str(paper["year"]),
        "isPartOf": paper["collection-title"],
        "identifier": paper["identifiers"][0]["value"],
    }


def _mnist() -> Entity:
    """As data/README.md has it."""
    return {
        "@id": "data/MNIST/",
        "@type": "Dataset",
        "name": "MNIST database of handwritten digits",
        "description": "The four original files. The licence is the one commonly cited; see data/README.md.",
        "creator": _ids(map(_author, MNIST_BY)),
        "license": {"@id": LICENCES["CC-BY-SA-3.0"]},
    }


def _pages() -> list[Entity]:
    kinds = {".ipynb": "application/x-ipynb+json", ".md": "text/markdown"}
    found = sorted(
        p for kind in kinds for folder in ("", "appendix") for p in (paths.CHAPTERS / folder).glob(f"*{kind}")
    )
    return [
        {
            "@id": _relative(page),
            "@type": "File",
            "name": _title(page),
            "encodingFormat": kinds[page.suffix],
            "license": _ids(LICENCES[name] for name in _citation()["license"]),
        }
        for page in found
    ]


def _runs(runs: list[Run]) -> list[Entity]:
    """The store, and one entity a run: what was trained, the key of its specification, the digest of its provenance."""
    parts = [part for run in runs for part in (run.provenance["training"], *run.provenance["contours"].values())]
    made = "; ".join(", ".join(sorted({part[what] for part in parts})) for what in ("torch", "hardware"))
    store = {
        "@id": "data/runs/",
        "@type": "Dataset",
        "name": "Trained networks and their accuracy contours",
        "description": f"Computed with torch {made}. The identifier of a run is the SHA-256 of its specification, its "
        "sha256 that of its provenance.json, which holds the digest of every other file, code, data and circumstances.",
        "license": {"@id": LICENCES["MIT"]},
        "hasPart": _ids(f"data/runs/{run.folder.name}/" for run in runs),
    }
    return [store, *map(_run, runs)]


def _run(run: Run) -> Entity:
    contours = ", ".join(sorted(run.contours)) or "none"
    return {
        "@id": f"data/runs/{run.folder.name}/",
        "@type": "Dataset",
        "name": ", ".join(filter(None, (f"{run.spec.method.title}, seed {run.spec.seed}", run.spec.differs))),
        "description": f"Trained on {run.spec.dataset}; contours: {contours}",
        "identifier": run.spec.key,
        "sha256": hashlib.sha256((run.folder / "provenance.json").read_bytes()).hexdigest(),
        "isBasedOn": _ids(["nsr/", "data/MNIST/"] if run.spec.dataset == "mnist" else ["nsr/"]),
    }


# what the tree says -------------------------------------------------------------------------------------------------


def _citation() -> dict[str, Any]:
    return yaml.safe_load((paths.ROOT / "CITATION.cff").read_text())


def _paper() -> dict[str, Any]:
    """The paper of ICASSP 2021, the first that CITATION.cff refers to."""
    return _citation()["references"][0]


def _project() -> dict[str, Any]:
    return tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]


def _year() -> str:
    """RO-Crate wants a date; the only one that the tree states is the year of the copyright."""
    notice = yaml.safe_load((paths.ROOT / "_config.yml").read_text())["copyright"]
    return re.findall(r"\d{4}", notice)[0]


def _names(paper: dict[str, Any]) -> list[str]:
    return [f"{author['given-names']} {author['family-names']}" for author in paper["authors"]]


def _address(paper: dict[str, Any]) -> str:
    return "https://arxiv.org/abs/" + paper["identifiers"][0]["value"].removeprefix("arXiv:")


def _author(name: str) -> str:
    return "#" + name.lower().replace(".", "").replace(" ", "-")


def _title(page: Path) -> str:
    """The first heading."""
    text = page.read_text()
    if page.suffix == ".ipynb":
        text = "\n".join(
            "".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"
        )
    return re.findall(r"^# (.+)$", text, re.MULTILINE)[0].strip()


def _relative(path: Path) -> str:
    return path.relative_to(paths.ROOT).as_posix()


def _ids(names: Any) -> list[Entity]:
    return [{"@id": name} for name in names]
