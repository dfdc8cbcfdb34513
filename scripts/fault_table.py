#!/usr/bin/env python3
"""Write docs/reference/fault-cases.md: the fault cases, their bars, figures and tests.

    PYKARABO_RECORD=/tmp/figures scripts/test --nightly tests/faults
    .venv/bin/python scripts/fault_table.py /tmp/figures

What is provoked and the bar of each case stand in docs/reference/fault-cases.json. Figures are
taken from the files named and kept there too. Tests are found by the case in their name:
``test_R7_...`` and ``test_r7_...`` are tests of R7.
"""

import argparse
import ast
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
DATA: Final = ROOT / "docs/reference/fault-cases.json"
PAGE: Final = ROOT / "docs/reference/fault-cases.md"
_TEST: Final = re.compile(r"test_([a-zA-Z]\d+)_")
_RECORDED: Final = re.compile(r"([A-Z]\d+)(?: \((?P<variant>.*)\))?")
_INTRODUCTION: Final = """\
# Fault cases

What is provoked on purpose, what must happen, and what was measured last. Cases marked *nightly*
run with `scripts/test --nightly`; E9 to E11 need root, because they make a host of their own.
[Reliability](../explanations/reliability.md) says what follows from them for a user.

The figures are from a virtual machine with 2 cores that others used at the same time. This page is
written by `scripts/fault_table.py`, which takes new figures from the file that `PYKARABO_RECORD`
names while the tests run.
"""


class Test(NamedTuple):
    """A test of a case."""

    path: str
    name: str
    when: str


def tests_of(root: Path) -> dict[str, list[Test]]:
    """Return the tests below a folder by their case."""
    found: dict[str, list[Test]] = {}
    for path in sorted(root.rglob("test_*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                case = _TEST.match(node.name)
                if case:
                    test = Test(path.relative_to(ROOT).as_posix(), node.name, _when(node))
                    found.setdefault(case[1].upper(), []).append(test)
    return found


def _when(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    marks = [ast.unparse(mark) for mark in node.decorator_list]
    if "pytest.mark.nightly" in marks:
        return "nightly"
    return "nightly in part" if any("pytest.mark.nightly" in mark for mark in marks) else ""


def take(groups: list[dict[str, Any]], lines: Iterable[str]) -> None:
    """Take the figures of recorded cases; those of other cases and variants are left alone.

    Raises:
        SystemExit: a case that is not in the table.
    """
    cases = {name: case for group in groups for name, case in group["cases"].items()}
    for line in lines:
        recorded = json.loads(line)
        name = _RECORDED.fullmatch(recorded["case"])
        if name is None or name[1] not in cases:
            raise SystemExit(f"case {recorded['case']!r} is not in {DATA}")
        case, variant = cases[name[1]], name["variant"] or ""
        kept = {key: text for key, text in case.get("figures", {}).items() if key and variant}
        case["figures"] = kept | {variant: str(recorded["figure"])}


def page_of(groups: list[dict[str, Any]], tests: dict[str, list[Test]]) -> str:
    """Return the page."""
    parts = [_INTRODUCTION]
    for group in groups:
        parts.append(f"## {group['name']}\n")
        parts.append("| case | provoked | must happen | measured last | tests |")
        parts.append("| --- | --- | --- | --- | --- |")
        parts += [_row(name, case, tests.get(name, [])) for name, case in group["cases"].items()]
        parts.append("")
    return "\n".join(parts)


def _row(name: str, case: dict[str, Any], tests: list[Test]) -> str:
    figures: dict[str, str] = case.get("figures", {})
    measured = [f"{key}: {text}" if key else text for key, text in figures.items()]
    if "note" in case:
        measured.append(case["note"])
    shown = "<br>".join(map(_link, tests)) or "none yet"
    cells = [name, case["provoked"], case["bar"], "; ".join(measured) or "not yet", shown]
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _link(test: Test) -> str:
    when = f" *({test.when})*" if test.when else ""
    return f"[`{test.path}::{test.name}`](../../{test.path}){when}"


def main() -> None:
    """Take figures and write the page."""
    parser = argparse.ArgumentParser(description="Write the page of the fault cases.")
    parser.add_argument("records", nargs="*", type=Path, help="files of figures")
    options = parser.parse_args()
    groups = json.loads(DATA.read_text("utf-8"))
    for path in options.records:
        take(groups, path.read_text("utf-8").splitlines())
    DATA.write_text(json.dumps(groups, indent=2, ensure_ascii=False) + "\n", "utf-8")
    PAGE.write_text(page_of(groups, tests_of(ROOT / "tests")), "utf-8")


if __name__ == "__main__":
    main()
