"""The page of the fault cases names the tests that there are, and takes their figures."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import fault_table


def _groups() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = json.loads(fault_table.DATA.read_text("utf-8"))
    return groups


def test_page_is_what_the_script_writes() -> None:
    page = fault_table.page_of(_groups(), fault_table.tests_of(fault_table.ROOT / "tests"))
    assert fault_table.PAGE.read_text("utf-8") == page, "run scripts/fault_table.py"


def test_every_test_named_after_a_case_belongs_to_one() -> None:
    cases = {name for group in _groups() for name in group["cases"]}
    assert fault_table.tests_of(fault_table.ROOT / "tests/faults").keys() <= cases


def test_figures_of_variants_are_kept_beside_each_other() -> None:
    groups: list[dict[str, Any]] = [
        {"name": "Calls", "cases": {"R7": {"figures": {"": "old", "5": "five", "9": "nine"}}}}
    ]
    fault_table.take(groups, [json.dumps({"case": "R7 (5)", "bar": "", "figure": "new"})])
    assert groups[0]["cases"]["R7"]["figures"] == {"5": "new", "9": "nine"}
    fault_table.take(groups, [json.dumps({"case": "R7", "bar": "", "figure": "only"})])
    assert groups[0]["cases"]["R7"]["figures"] == {"": "only"}


def test_figures_of_an_unknown_case_are_refused() -> None:
    with pytest.raises(SystemExit, match="R99"):
        fault_table.take([], [json.dumps({"case": "R99", "bar": "", "figure": "x"})])


def test_tests_are_found_by_their_case_and_say_when_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fault_table, "ROOT", tmp_path)
    (tmp_path / "test_some.py").write_text(
        "def test_r1_a() -> None: ...\n"
        "@pytest.mark.nightly\ndef test_R1_b() -> None: ...\n"
        "@pytest.mark.parametrize('n', [1, pytest.param(2, marks=pytest.mark.nightly)])\n"
        "def test_R2_c(n) -> None: ...\ndef test_other() -> None: ...\n"
    )
    assert fault_table.tests_of(tmp_path) == {
        "R1": [("test_some.py", "test_r1_a", ""), ("test_some.py", "test_R1_b", "nightly")],
        "R2": [("test_some.py", "test_R2_c", "nightly in part")],
    }
