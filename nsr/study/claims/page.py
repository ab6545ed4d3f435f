"""The ledger for readers and programs: JSON, one compact table, a page for each claim, numbers for a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from nsr import paths
from nsr.study import select, statistics
from nsr.study.claims import numbers
from nsr.study.claims.table import ledger
from nsr.study.claims.verdict import FAILS, NO_RUNS, OPEN, Case, Part, Row, Rules, Setting
from nsr.study.select import Runs

SHIPPED, MARKDOWN = paths.DATA / "claims.json", paths.DATA / "claims.md"

Drawn = dict[str, dict[str, dict[str, tuple[float, float, float, int]]]]


def other(rules: Rules) -> Rules:
    """The same rules with the other kind of interval."""
    return replace(rules, interval=next(kind for kind in statistics.INTERVALS if kind != rules.interval))


def to_json(runs: Runs | None = None, rules: Rules | None = None) -> str:
    """The ledger with everything that it rests on, as the text of `data/claims.json`."""
    runs, rules = numbers.shelf() if runs is None else runs, rules or Rules()
    second = ledger(runs, other(rules))
    content = {
        "rules": asdict(rules),
        "runs": {
            kind: {name: len(select.having(group, kind)) for name, group in runs.items()} for kind in numbers.CONTOURS
        },
        "stale": sorted(run.folder.name for run in numbers.used(runs) if run.stale),
        "claims": records(ledger(runs, rules), second),
    }
    return as_text(content)


def as_text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def records(rows: Mapping[str, Row], second: Mapping[str, Row]) -> list[dict[str, Any]]:
    """One record a claim; `second` are the rows by the other interval."""
    return [_record(row, second[name]) for name, row in rows.items()]


def _record(row: Row, second: Row) -> dict[str, Any]:
    words = {key: getattr(row.claim, key) for key in ("name", "title", "sentence", "where")}
    found = {"verdict": row.verdict, "depends on": row.on, "not decided": row.undecided}
    cases = [_case_record(case, row.rules) for case in row.cases]
    return {
        **words,
        "the paper's number": row.claim.number,
        "test": row.test,
        **found,
        "in words": row.words,
        "one difference": number(row.cases[0].telling),
        f"by the {second.rules.interval} interval": second.words,
        "cases": cases,
    }


def _case_record(case: Case, rules: Rules) -> dict[str, Any]:
    record = {"setting": str(case.setting), "outcome": case.outcome(rules), "decides": case.decides, "needs": case.need}
    return {**record, "differences": [_part_record(part) for part in case.parts]}


def _part_record(part: Part) -> dict[str, Any]:
    record = {"what": part.what, "on the claim's side": part.side}
    if part.found is None:
        return record
    mean, low, high = (round(value, 4) for value in (part.found.mean, part.found.low, part.found.high))
    band = {"inside": [round(end, 4) for end in part.inside], "level": part.found.level} if part.inside else {}
    return {**record, "mean": mean, "low": low, "high": high, "n": len(part.found.values), **band}


def markdown(rows: Mapping[str, Row]) -> str:
    """The ledger as one compact table: claim, verdict, and one difference of its test in the paper's own setting."""
    lines = [
        "| | the paper's claim | verdict | one difference of its test, in the paper's setting |",
        "|---|---|---|---|",
    ]
    for name, row in rows.items():
        lines.append(f"| {name} | {row.claim.title} | **{row.words}**{_seen(row)} | {number(row.cases[0].telling)} |")
    return "\n".join(lines) + "\n"


def _seen(row: Row) -> str:
    """In how many settings it was decided, if not in all."""
    if row.verdict == OPEN or not row.undecided:
        return ""
    return f" (from {len(row.outcomes) - len(row.undecided)} of {len(row.outcomes)} settings)"


def by_contour(rows: Mapping[str, Row], names: Sequence[str], kinds: Sequence[str]) -> dict[str, dict[str, str]]:
    """What each of these claims comes to under each kind of contour, the nets as the table of methods has them.

    Where a claim does not hold, this is the side of its first difference that is not on the claim's.
    """
    return {name: {kind: _outcome(rows[name], numbers.CONTOURS[kind]) for kind in kinds} for name in names}


def _outcome(row: Row, setting: Setting) -> str:
    """In this setting, or in the one of the same attack where the radii of the weights play no part."""
    case = next((case for case in row.cases if case.setting in (setting, replace(setting, radii=""))), None)
    if case is None:
        return NO_RUNS
    outcome = case.outcome(row.rules)
    return case.telling.side if outcome == FAILS else outcome


def matrix(rows: Mapping[str, Row]) -> dict[str, dict[str, str]]:
    """What every deciding test comes to: claim, with what is special about the test -> kind of contour -> outcome."""
    found: dict[str, dict[str, str]] = {}
    for name, row in rows.items():
        for setting, outcome in row.outcomes.items():
            special = ", ".join(filter(None, (setting.question, setting.training)))
            where = replace(setting, question="", training="")
            kinds = (k for k, known in numbers.CONTOURS.items() if where in (known, replace(known, radii="")))
            kind = next(kinds, None)
            label = f"{name}, {special}" if special else name
            found.setdefault(label, {})[str(numbers.CONTOURS[kind]) if kind else str(where)] = outcome
    return found


def having(rows: Mapping[str, Row], verdict: str) -> str:
    """The claims with this verdict, by name."""
    return ", ".join(name for name, row in rows.items() if row.verdict == verdict) or "none"


def page(row: Row, second: Row) -> str:
    """A claim in full: sentence, verdict, test, and folded every number; `second` is its row by the other interval."""
    verdict = f"**Verdict: {row.words}.**"
    if second.words != row.words:
        verdict += f" By the {second.rules.interval} interval: {second.words}."
    outcomes = dict.fromkeys(row.outcomes.values())
    settings = {o: "; ".join(str(s) for s, found in row.outcomes.items() if found == o) for o in outcomes}
    lines = [f"> {row.claim.sentence}", f"> -- {row.claim.where}", "", verdict, "", f"**Test.** {row.test}", ""]
    lines += [*(f"- {outcome.capitalize()}: {where}." for outcome, where in settings.items()), ""]
    lines += ["<details><summary>Every number, setting by setting</summary>", ""]
    lines += ["| setting | difference | mean and interval | on the claim's side |", "|---|---|---|---|"]
    for case in (case for case in row.cases if any(part.found for part in case.parts)):
        setting = str(case.setting) + ("" if case.decides else " (shown, decides nothing)")
        first, *rest = (f"{part.what} | {_interval(part)} | {part.side} |" for part in case.parts)
        lines += [f"| {setting} | {first}", *(f"| | {line}" for line in rest)]
    return "\n".join([*lines, "", "</details>"]) + "\n"


def number(part: Part) -> str:
    """A difference in one line."""
    side = "" if part.found is None or part.side == "yes" else f" ({part.side})"
    return f"{part.what}: {_interval(part)}{side}"


def _interval(part: Part) -> str:
    found = part.found
    if found is None:
        return NO_RUNS
    if part.exact:
        return f"{found.mean:+g}, exact"
    if len(found.values) == 1:
        return f"{found.mean:+.3f}, one seed"
    level = "" if found.level == statistics.CONFIDENCE else f" at {found.level:.0%}"
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]{level}, n = {len(found.values)}"


def bands(rows: Mapping[str, Row]) -> dict[str, tuple[float, float]]:
    """The band that the differences of a claim have to lie inside, for the claims that have one."""
    found = ((name, part.inside) for name, row in rows.items() for case in row.cases for part in case.parts)
    return {name: inside for name, inside in found if inside}


def differences(rows: Mapping[str, Row]) -> Drawn:
    """Every number with an interval, for a figure: claim -> difference -> setting -> (mean, low, high, seeds)."""
    drawn: Drawn = {}
    for name, row in rows.items():
        for case in row.cases:
            place = replace(case.setting, question="", radii=case.setting.radii or Setting().radii)
            for part in case.parts:
                if part.found is not None and not part.exact:
                    values = (part.found.mean, part.found.low, part.found.high, len(part.found.values))
                    drawn.setdefault(name, {}).setdefault(part.what, {})[str(place)] = values
    return drawn
