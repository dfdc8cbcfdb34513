"""What the documentation shows runs, and what it links to or names as a test exists.

A fenced ``python`` block below a line ``<!-- run -->`` is run; the blocks of one page are one
program, in order, in an empty directory and a domain of its own.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).resolve().parents[2]
_PAGES: Final = [_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md"))]
_LONGEST_EXAMPLE_S: Final = 60
"""An example is something to read; one that needs longer than this hangs."""

_RUN_BLOCK: Final = re.compile(
    r"^<!-- run -->[ \t]*\n\s*^```python[ \t]*\n(?P<code>.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL
)
_FENCED: Final = re.compile(r"^```.*?^```[ \t]*$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_TEST: Final = re.compile(r"(?P<path>tests/[\w/]+\.py)::(?P<name>test_\w+)")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*:")


def program_of(text: str) -> str:
    """Return the blocks of a page that are to be run, on the lines where the page has them."""
    lines = [""] * (text.count("\n") + 1)
    for block in _RUN_BLOCK.finditer(text):
        first = text.count("\n", 0, block.start("code"))
        code = block["code"].splitlines()
        lines[first : first + len(code)] = code
    return "\n".join(lines).rstrip() + "\n"


def relative_links_of(text: str) -> list[str]:
    """Return the paths of a page's links that stay in the checkout, without their anchors."""
    targets = [link["target"] for link in _LINK.finditer(_FENCED.sub("", text))]
    paths = [target.partition("#")[0] for target in targets if not _SCHEME.match(target)]
    return [path for path in paths if path]


def _name(page: Path) -> str:
    return page.relative_to(_ROOT).as_posix()


_RUNNABLE: Final = [page for page in _PAGES if program_of(page.read_text("utf-8")).strip()]


@pytest.mark.parametrize("page", _RUNNABLE, ids=_name)
def test_examples_of_page_run(page: Path, tmp_path: Path, short_runtime: Path) -> None:
    program = tmp_path / "program" / page.with_suffix(".py").name
    program.parent.mkdir()
    program.write_text(program_of(page.read_text("utf-8")), "utf-8")
    empty = tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=empty,
        capture_output=True,
        text=True,
        timeout=_LONGEST_EXAMPLE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_relative_links_of_page_exist(page: Path) -> None:
    links = relative_links_of(page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_tests_that_a_page_names_exist(page: Path) -> None:
    named = {(found["path"], found["name"]) for found in _TEST.finditer(page.read_text("utf-8"))}
    assert [name for path, name in named if not _is_test(_ROOT / path, name)] == []


def _is_test(path: Path, name: str) -> bool:
    return path.exists() and f"def {name}(" in path.read_text("utf-8")


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [_ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page not in _PAGES:
            continue
        reached.add(page)
        links = relative_links_of(page.read_text("utf-8"))
        waiting.extend((page.parent / link).resolve() for link in links)
    assert sorted(set(_PAGES) - reached) == []


def test_marked_blocks_keep_their_lines_and_others_are_left_out() -> None:
    text = (
        "# Page\n\n```python\nskipped\n```\n<!-- run -->\n```python\na = 1\n```\n\n"
        "<!-- run -->\n\n```python\nb = 2\n```\n"
    )
    lines = program_of(text).split("\n")
    assert [(number, line) for number, line in enumerate(lines) if line] == [
        (7, "a = 1"),
        (13, "b = 2"),
    ]


def test_links_of_code_and_of_other_sites_are_left_alone() -> None:
    text = "[a](a.md#part) [b](https://b.org/x) [c](#c)\n```\n[d](d.md)\n```\n"
    assert relative_links_of(text) == ["a.md"]
