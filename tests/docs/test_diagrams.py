"""The diagrams that a page shows are those of the code that it shows."""

import re
import runpy
from pathlib import Path
from typing import Final

import pytest

from pykarabo.device import StateMachine

_PAGE: Final = (
    Path(__file__).resolve().parents[2] / "docs" / "how-to" / "declare-a-state-machine.md"
)
_BLOCK: Final = r"^```{language}[ \t]*\n(.*?)^```[ \t]*$"


def _block(language: str) -> str:
    found = re.search(_BLOCK.format(language=language), _PAGE.read_text("utf-8"), re.M | re.S)
    assert found is not None
    return found[1]


def test_diagram_is_that_of_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "page.py"
    program.write_text(_block("python"), "utf-8")
    machine = runpy.run_path(str(program))["Motor"].machine
    assert isinstance(machine, StateMachine)
    assert machine.diagram() == _block("mermaid").rstrip("\n")
    assert machine.diagram() in capsys.readouterr().out
