"""A public benchmark of verifiers, of moving inputs alone: `mnistfc` of VNN-COMP 2021 through `nsr.certify.exact`.

    python benchmarks/vnncomp.py FOLDER                      FOLDER: benchmarks/mnistfc of stanleybak/vnncomp2021
    python benchmarks/vnncomp.py FOLDER --results RESULTS    beside what the competition's tools found: results_csv of
                                                             stanleybak/vnncomp2021_results, or one tool's file there
    python benchmarks/vnncomp.py FOLDER --eps-w 1e-4 1e-3    and again with every weight matrix in balls of these radii

Both folders are public on GitHub and no part of this repository; the networks are read with the package `onnx`, which
nothing else here needs. A problem holds if no input of its box gives another class a logit as high as the label's, and
is violated by one that does. What a file asks is taken from the file alone, and an input that violates it is tried
again: moved into the published box, through the published weights.

Seconds are wall clock on machines of different kinds: the published ones are the competition's own, each tool's start
included, under limits of 120 s (256x2) and 300 s (256x4). Published verdicts are of weights that stay. Ctrl-C prints
the summary of what was done so far.
"""

from __future__ import annotations

import argparse
import csv
import re
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from bounds import hardware
from torch import Tensor

from nsr import Budget, Network, certify, mlp
from nsr.budget import UNIT

NETS = ("256x2", "256x4")
HOLDS, VIOLATED, OPEN = "holds", "violated", "open"
# the organisers leave this tool out here, because it read the files of this benchmark wrongly
LEFT_OUT = ("RPM",)

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
COMMENT = re.compile(r";.*")
DECLARED = re.compile(r"\(\s*declare-const\s+([XY])_(\d+)\s+Real\s*\)")
BOUND = re.compile(rf"\(\s*assert\s*\(\s*(<=|>=)\s+X_(\d+)\s+({NUMBER})\s*\)\s*\)")
OVERTAKES = re.compile(r"\(\s*and\s*\(\s*>=\s+Y_(\d+)\s+Y_(\d+)\s*\)\s*\)")
NO_MORE = re.compile(r"\s*\(\s*assert\s*\(\s*or\s*\)\s*\)\s*")


# the files -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Problem:
    """One file: the image `x` [784] with label `y`, and the published box [low, high] around it."""

    name: str
    x: Tensor
    y: int
    eps: float
    low: Tensor
    high: Tensor

    @property
    def reach(self) -> float:
        """The least radius whose interval inside [0, 1] holds the published box, whose ends were rounded to float32."""
        ends = [(self.x - self.low)[self.low > UNIT[0]], (self.high - self.x)[self.high < UNIT[1]]]
        return max(self.eps, float(torch.cat(ends).max()))

    def off(self, dtype: torch.dtype) -> float:
        """How far the interval of radius `eps` around the image, worked out in `dtype`, lies from the published box."""
        ends = Budget(self.eps, ()).interval(self.x.to(dtype), UNIT)
        return max(float((a - b).abs().max()) for a, b in zip(ends, (self.low, self.high), strict=True))


def parse(text: str) -> tuple[Tensor, Tensor, int]:
    """The box [low, high] and the label of a vnnlib text that asks whether some class reaches the label's logit.

    Anything else in the text is refused: a constraint that goes unread would be another problem.
    """
    text = COMMENT.sub("", text)
    declared = {kind: {int(i) for k, i in DECLARED.findall(text) if k == kind} for kind in "XY"}
    bounds: dict[str, dict[int, float]] = {"<=": {}, ">=": {}}
    for relation, i, value in BOUND.findall(text):
        if int(i) in bounds[relation]:
            raise ValueError(f"X_{i} {relation} is asserted twice")
        bounds[relation][int(i)] = float(value)
    pairs = [(int(i), int(j)) for i, j in OVERTAKES.findall(text)]
    rest = OVERTAKES.sub("", BOUND.sub("", DECLARED.sub("", text)))
    if not NO_MORE.fullmatch(rest):
        raise ValueError(f"not a box and one 'or' of classes: {' '.join(rest.split())[:80]!r} is left over")
    labels = {j for _, j in pairs}
    if len(labels) != 1 or sorted(i for i, _ in pairs) != sorted(declared["Y"] - labels):
        raise ValueError("the outputs are not those of a label against every other class")
    n = len(declared["X"])
    if any(sorted(found) != list(range(n)) for found in (sorted(declared["X"]), *bounds.values())):
        raise ValueError(f"not every one of the {n} inputs has a lower and an upper end")
    low, high = (torch.tensor([bounds[r][i] for i in range(n)], dtype=torch.float64) for r in (">=", "<="))
    return low, high, labels.pop()


def image(low: Tensor, high: Tensor, eps: float) -> Tensor:
    """The image of bytes whose box of radius `eps` in [0, 1] this is; found at whichever end was not clipped."""
    whole = torch.where(low > UNIT[0], low + eps, high - eps) * 255
    if float((whole - whole.round()).abs().max()) > 1e-3:
        raise ValueError(f"this is no box of radius {eps:g} around an image of bytes")
    return whole.round() / 255


def problem_of(path: Path) -> Problem:
    """The file prop_IMAGE_EPS.vnnlib, held against the box that its name and its image give."""
    eps = float(path.stem.rpartition("_")[2])
    low, high, y = parse(path.read_text())
    found = Problem(path.stem, image(low, high, eps), y, eps, low, high)
    if found.off(torch.float64) > 1e-6:
        raise ValueError(f"{path.name}: its box is not that of radius {eps:g} around its image")
    return found


def network_of(path: Path) -> Network:
    """The dense ReLU network of an ONNX file, its float32 weights kept as they are, in float64."""
    try:
        import onnx
    except ImportError:
        sys.exit("this benchmark reads its networks with the package onnx: python -m pip install onnx")
    graph = onnx.load(path).graph
    stored = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()).double() for t in graph.initializer}
    W: list[Tensor] = []
    at = graph.input[0].name
    for node in graph.node:
        settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Gemm" and settings == {"alpha": 1.0, "beta": 1.0, "transB": 1}:
            W += [stored[name] for name in node.input[1:]]
        elif (node.op_type, settings) not in (("Flatten", {"axis": 1}), ("Relu", {})):
            raise ValueError(f"{path.name} has a step {node.op_type} {settings}, which no chain of dense layers has")
        if node.input[0] != at:
            raise ValueError(f"{path.name} is no chain: {node.op_type} does not take what the step before gives")
        at = node.output[0]
    kinds = [node.op_type for node in graph.node if node.op_type != "Flatten"]
    if kinds != ["Gemm", "Relu"] * (len(kinds) // 2) + ["Gemm"] or at != graph.output[0].name:
        raise ValueError(f"{path.name} is not dense layers with a ReLU between each two: {kinds}")
    return mlp(W)


# what was published --------------------------------------------------------------------------------------------------

Key = tuple[str, str]  # net and problem
Answers = dict[str, dict[Key, tuple[str, float]]]  # of each tool: its word and its seconds


def published(path: Path) -> Answers:
    """The tools' answers, from the one file or the folder of files that the competition keeps, one a tool."""
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    found: Answers = {}
    for file in files:
        with file.open(newline="") as opened:
            rows = [row for row in csv.reader(opened) if row and row[0] == "mnistfc"]
        found[file.stem] = {
            (Path(net).stem.removeprefix("mnist-net_"), Path(problem).stem): (_word(answer), float(seconds))
            for _, net, problem, _, answer, seconds in rows
        }
    return found


def _word(answer: str) -> str:
    return {"unsat": HOLDS, "holds": HOLDS, "sat": VIOLATED, "violated": VIOLATED}.get(answer.strip().lower(), OPEN)


@dataclass(frozen=True)
class Vote:
    """What the tools say of one problem: the word of most, how many said it of how many that decided, the fastest."""

    asked: int = 0
    word: str = OPEN
    agree: int = 0
    decided: int = 0
    fastest: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        if not self.asked:
            return "-"
        if not self.decided:
            return "no tool decided"
        if self.word == OPEN:
            return f"disputed by {self.decided}"
        return f"{self.word:<8} {self.agree:>2} of {self.decided:<2} {self.fastest} {self.seconds:.1f} s"


def vote(answers: Answers, key: Key) -> Vote:
    said = [(tool, *of[key]) for tool, of in answers.items() if tool not in LEFT_OUT and key in of]
    sides = {word: sorted((s, tool) for tool, found, s in said if found == word) for word in (HOLDS, VIOLATED)}
    few, many = sorted(sides, key=lambda word: len(sides[word]))
    decided = len(sides[few]) + len(sides[many])
    if len(sides[few]) == len(sides[many]):
        return Vote(len(said), decided=decided)
    seconds, tool = sides[many][0]
    return Vote(len(said), many, len(sides[many]), decided, tool, seconds)


def tools(answers: Answers, votes: dict[Key, Vote]) -> Iterable[str]:
    """Of each tool: how many of each net's problems it decided, and its median seconds on those."""
    yield "| tool | " + " | ".join(f"{net}: hold | violated | median s" for net in NETS) + " | against most |"
    yield "|---" * (2 + 3 * len(NETS)) + "|"
    rows: list[tuple[bool, int, str]] = []
    for tool, of in answers.items():
        decided = {key: found for key, found in of.items() if key in votes and found[0] != OPEN}
        cells: list[str] = []
        for net in NETS:
            words = [word for key, (word, _) in decided.items() if key[0] == net]
            seconds = [s for key, (_, s) in decided.items() if key[0] == net]
            median = f"{statistics.median(seconds):.1f}" if seconds else "-"
            cells += [str(words.count(HOLDS)), str(words.count(VIOLATED)), median]
        wrong = sum(votes[key].word not in (OPEN, word) for key, (word, _) in decided.items())
        name = f"{tool} (not counted)" if tool in LEFT_OUT else tool
        rows.append((tool in LEFT_OUT, -len(decided), f"| {name} | {' | '.join(cells)} | {wrong} |"))
    yield from (row for *_, row in sorted(rows))
    some: list[str] = []
    for net in NETS:
        words = [found.word for key, found in votes.items() if key[0] == net]
        some += [str(words.count(HOLDS)), str(words.count(VIOLATED)), "-"]
    yield f"| most of those that decided | {' | '.join(some)} | - |"
    disputed = sum(found.decided > found.agree for found in votes.values())
    yield f"\n{disputed} of {len(votes)} problems had tools on both sides"


# ours ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What we say of one problem at one weight radius, beside the tools' vote."""

    net: str
    eps_w: float
    problem: str
    word: str
    seconds: float
    vote: Vote
    witnessed: bool | None  # whether the violating input held when tried again; None where there is none

    @property
    def contradicts(self) -> bool:
        """Weights that may move only help the attacker: a violation then speaks against no published verdict."""
        if self.vote.word == OPEN or self.word == OPEN or self.word == self.vote.word:
            return False
        return self.eps_w == 0 or self.word == HOLDS


def solve(net: str, network: Network, problem: Problem, eps_w: float, seconds: float, said: Vote) -> Answer:
    xi = Budget.uniform(problem.reach, eps_w, network, only="W*")
    begin = time.perf_counter()
    found = certify.exact(network, problem.x[None], torch.tensor([problem.y]), xi, box=UNIT, seconds=seconds)
    took = time.perf_counter() - begin
    robust, broken = bool(found.robust[0]), bool(found.broken[0])
    if robust and broken:
        raise ValueError(f"{net} {problem.name}: both robust and broken")
    word = HOLDS if robust else VIOLATED if broken else OPEN
    witnessed = reaches(network, problem, found.x_hat[0]) if broken and eps_w == 0 else None
    return Answer(net, eps_w, problem.name, word, took, said, witnessed)


def reaches(network: Network, problem: Problem, x_hat: Tensor) -> bool:
    """Whether x_hat, moved into the published box, gives some class a logit as high as the label's."""
    with torch.no_grad():
        logits = network(x_hat.flatten().clamp(problem.low, problem.high)[None])[0]
    others = torch.arange(len(logits)) != problem.y
    return bool(logits[others].max() >= logits[problem.y])


def line(answer: Answer) -> str:
    image, eps = answer.problem.split("_")[1:]
    remark = " CONTRADICTS" if answer.contradicts else ""
    remark += " NOT VIOLATED in the published box" if answer.witnessed is False else ""
    return (
        f"{answer.net:<7}{image:>5}  {eps:<6}{answer.eps_w:<8g}{answer.vote!s:<37}"
        f"{answer.word:<9}{answer.seconds:8.1f}{remark}"
    )


def summary(answers: Sequence[Answer]) -> Iterable[str]:
    for net, eps_w in dict.fromkeys((a.net, a.eps_w) for a in answers):
        of = [a for a in answers if (a.net, a.eps_w) == (net, eps_w)]
        holds, violated, left = (sum(a.word == word for a in of) for word in (HOLDS, VIOLATED, OPEN))
        seconds = [a.seconds for a in of if a.word != OPEN]
        median = f", median {statistics.median(seconds):.1f} s" if seconds else ""
        yield (
            f"{net}, eps_w = {eps_w:g}: {holds + violated} of {len(of)} decided ({holds} hold, {violated} violated, "
            f"{left} open){median}; {sum(a.seconds for a in of):.0f} s in all"
        )
    against = [a for a in answers if a.contradicts]
    if any(a.vote.asked for a in answers):
        yield f"contradictions with most of the tools: {len(against)}"
    yield from ("  " + line(a) for a in against)
    tried = [a.witnessed for a in answers if a.witnessed is not None]
    yield f"violating inputs that hold when tried again in the published box: {sum(tried)} of {len(tried)}"
    yield f"{sum(a.seconds for a in answers):.0f} s for {len(answers)} problems"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--results", type=Path, help="folder of the tools' csv files, or one of them")
    parser.add_argument("--seconds", type=float, default=60, help="limit of each problem")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--net", choices=(*NETS, "all"), default="all")
    parser.add_argument("--limit", type=int, help="only the first so many problems of each net")
    parser.add_argument("--eps-w", type=float, nargs="+", default=[], metavar="R", help="radii of the matrices")
    options = parser.parse_args()
    instances = options.folder / "mnistfc_instances.csv"
    if not instances.is_file():
        parser.error(f"{options.folder} is not the folder mnistfc: it has no {instances.name}")
    if options.results and not options.results.exists():
        parser.error(f"there is no {options.results}")
    torch.set_num_threads(options.threads)

    with instances.open(newline="") as opened:
        keys = [(Path(net).stem.removeprefix("mnist-net_"), Path(name).stem) for net, name, _ in csv.reader(opened)]
    keys = [key for key in keys if key[0] in NETS]
    answers = published(options.results) if options.results else {}
    votes = {key: vote(answers, key) for key in keys}
    nets = NETS if options.net == "all" else (options.net,)
    networks = {net: network_of(options.folder / f"mnist-net_{net}.onnx") for net in nets}
    problems = {name: problem_of(options.folder / f"{name}.vnnlib") for name in dict.fromkeys(name for _, name in keys)}
    print(f"{hardware()}; mnistfc of VNN-COMP 2021, float64, at most {options.seconds:g} s a problem")
    same = sum(p.off(torch.float32) == 0 for p in problems.values())
    wider = max(p.reach - p.eps for p in problems.values())
    print(
        f"{same} of {len(problems)} boxes are those of Budget in float32; in float64 ours are up to {wider:.0e} wider"
    )
    head = "most tools at eps_w = 0, the fastest"
    print(f"{'net':<7}{'image':>5}  {'eps_x':<6}{'eps_w':<8}{head:<37}{'ours':<9}{'s':>8}")

    done: list[Answer] = []
    try:
        for net in nets:
            for eps_w in dict.fromkeys((0.0, *options.eps_w)):
                for key in [key for key in keys if key[0] == net][: options.limit]:
                    done.append(solve(net, networks[net], problems[key[1]], eps_w, options.seconds, votes[key]))
                    print(line(done[-1]), flush=True)
    except KeyboardInterrupt:
        print("interrupted")
    print()
    print(*summary(done), sep="\n")
    if answers:
        print()
        print(*tools(answers, votes), sep="\n")


if __name__ == "__main__":
    main()
