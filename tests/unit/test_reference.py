"""The reference pages tell what the code has, and nothing that Karabo has is left out."""

import json
from typing import Any

import pytest

from scripts import generate_reference
from scripts.generate_reference import Entry


def _inventory() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(generate_reference.INVENTORY.read_text("utf-8"))
    return found


@pytest.mark.parametrize("name", ["properties.md", "attributes.md"])
def test_page_is_what_the_script_writes(name: str) -> None:
    path = generate_reference.FOLDER / name
    text = generate_reference.pages()[path]
    assert path.read_text("utf-8") == text, "run scripts/generate_reference.py"


@pytest.mark.parametrize("entry", list(generate_reference.entries(_inventory())), ids=str)
def test_row_of_karabo_has_a_name_or_a_reason(entry: Entry) -> None:
    assert generate_reference.problem_of(entry) is None


def test_inventory_has_all_rows() -> None:
    sizes = {section: len(rows) for section, rows in _inventory().items()}
    assert sizes == {"Value types": 36, "Descriptors": 18, "Attributes": 39, "Display types": 20}


@pytest.mark.parametrize(
    ("names", "reason", "problem"),
    [
        ((), "", "neither"),
        (("Nothing",), "", "'Nothing'"),
        (("PropertyInfo.nothing",), "", "'PropertyInfo.nothing'"),
        (("Table.value.nothing",), "why not", "'Table.value.nothing'"),
    ],
)
def test_row_without_name_or_with_a_wrong_one_is_found(
    names: tuple[str, ...], reason: str, problem: str
) -> None:
    assert problem in str(generate_reference.problem_of(Entry("Types", "x", names, reason)))


def test_every_attribute_and_class_is_described() -> None:
    for text in generate_reference.pages().values():
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        assert len(rows) > 60
        assert not [row for row in rows if row.endswith("|  |")]
