"""How devices show themselves in IPython and in notebooks."""

import asyncio
import inspect
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from IPython.lib import pretty
from traitlets.config import Config

from pykarabo.client import BlockingClient, Client, DeviceProxy, connect
from pykarabo.data import PropertyValue, Quality, Timestamp

from .conftest import Processes


@pytest.fixture
def shell() -> Iterator[Any]:
    """Return IPython as a notebook has it, without files."""
    library: Any = InteractiveShell
    config: Any = Config()
    config.HistoryManager.enabled = False
    yield library.instance(colors="nocolor", config=config)
    library.clear_instance()


def _shown(shell: Any, value: object) -> dict[str, str]:
    found: dict[str, str] = shell.display_formatter.format(value)[0]
    return found


class _Cells(HTMLParser):
    """Reads the rows of a table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_device_is_shown_in_a_notebook(stages: Processes, shell: Any) -> None:
    stages.start("S/1", "A/1", directory=True)
    stage = connect("A/1")
    stage.label = "<script>alert('x')</script>"
    stage.move("95 mm", speed=0.1)
    shown = _shown(shell, stage)
    cells = _Cells(shown["text/html"])
    assert "script" not in cells.tags
    rows = {row[0]: row for row in cells.rows}
    assert rows["position"][1:3] == ["9.5 mm", "alarm"]
    assert rows["position"][3].startswith("20")
    assert rows["label"][1] == "<script>alert('x')</script>"
    assert "background:rgb(255,125,125)" in shown["text/html"]
    assert "background:rgb(120,255,0)" in shown["text/html"]
    assert "&lt;seen&gt;" in shown["text/html"]
    text = shown["text/plain"].splitlines()
    assert text[0] == "Stage A/1"
    assert any(line.split()[:4] == ["position", "9.5", "mm", "alarm"] for line in text)
    assert text[-1].startswith("commands: ")
    library: Any = pretty
    assert library.pretty([stage]) == "[<Stage A/1>]"


@pytest.mark.parametrize(
    ("state", "colour"),
    [
        ("MOVING", "0,170,255"),
        ("ACQUIRING", "153,204,255"),
        ("ON", "120,255,0"),
        ("OFF", "204,204,255"),
        ("INTERLOCKED", "255,0,255"),
        ("STATIC", "0,170,0"),
        ("NORMAL", "200,200,200"),
        ("ERROR", "255,0,0"),
        ("INIT", "230,230,170"),
        ("UNKNOWN", "255,170,0"),
        ("KNOWN", "255,170,0"),
        ("INTERLOCK_OK", "255,170,0"),
        ("OF_A_LATER_VERSION", "255,170,0"),
    ],
)
def test_state_has_its_colour(state: str, colour: str) -> None:
    from pykarabo.client._display import colour_of

    assert colour_of(state) == f"rgb({colour})"


def test_device_that_is_gone_is_shown_as_such(stages: Processes, shell: Any) -> None:
    stages.start("S/0", directory=True)
    server = stages.start("S/1", "A/1")
    stage = connect("A/1")

    async def scenario() -> None:
        async with Client() as client:
            followed = await client.device("A/1")
            assert "9.5" not in _shown(shell, followed)["text/plain"]
            unfollowed = await client.device("A/1", follow=False)
            assert "it is not followed" in _shown(shell, unfollowed)["text/plain"]
            assert "it is not followed" in _shown(shell, unfollowed)["text/html"]
            stages.end(server)
            while followed.is_live:
                await asyncio.sleep(0.01)
            shown = _shown(shell, followed)
            assert "may be out of date" in shown["text/plain"].splitlines()[0]
            assert "rgb(255,170,0)" in shown["text/html"]

    asyncio.run(scenario())
    shown = _shown(shell, stage)
    assert "may be out of date" in shown["text/plain"].splitlines()[0]
    assert "UNKNOWN" in shown["text/html"]


def test_help_shows_what_the_device_has(stages: Processes, shell: Any) -> None:
    stages.start("S/1", "A/1", directory=True)
    stage = connect("A/1")
    shell.push({"stage": stage})
    told = shell.object_inspect_text("stage")
    assert "A stage with <b>one</b> axis." in told
    assert "target: float64 [mm]" in told
    assert "position: float64 [mm], read_only  Where it is & was <seen>." in told
    assert "move(position: float64 [mm], speed: float64 = 1.0) -> float64  Go somewhere." in told
    told = shell.object_inspect_text("stage.move")
    assert "Go somewhere." in told
    assert "Allowed in ON." in told
    signature = inspect.signature(stage.move)
    assert list(signature.parameters) == ["position", "speed"]
    assert signature.parameters["speed"].default == 1.0
    assert (DeviceProxy.__doc__ or "").startswith("A device of the domain.")
    assert "A/1: Stage" in (inspect.getdoc(stage) or "")

    async def scenario() -> None:
        async with Client() as client:
            followed = await client.device("A/1")
            assert "target: float64 [mm]" in (inspect.getdoc(followed) or "")
            assert list(inspect.signature(followed.move).parameters) == ["position", "speed"]

    asyncio.run(scenario())


def _completed(shell: Any, line: str) -> set[str]:
    with provisionalcompleter():
        found = list(shell.Completer.completions(line, len(line)))
    return {completion.text.removeprefix(".") for completion in found}


def test_names_are_completed(stages: Processes, shell: Any) -> None:
    stages.start("S/1", "A/1", directory=True)
    shell.push({"stage": connect("A/1")})
    assert "target" in _completed(shell, "stage.tar")
    assert "velocity" in _completed(shell, "stage.axis.ve")
    assert "move" in _completed(shell, "stage.mov")


def test_groups_show_the_states_of_their_devices(stages: Processes, shell: Any) -> None:
    stages.start("S/1", "A/1", "A/2", directory=True)
    with BlockingClient() as client:
        client.device("A/2").show_state("MOVING")
        shown = _shown(shell, client.group("A/*"))
        lines = shown["text/plain"].splitlines()
        assert [line.split() for line in lines[1:]] == [["A/1", "ON"], ["A/2", "MOVING"]]
        assert "rgb(0,170,255)" in shown["text/html"]

    async def scenario() -> None:
        async with Client() as client:
            shown = _shown(shell, await client.group("A/*"))
            assert "as of the last refresh" in shown["text/plain"]
            assert _Cells(shown["text/html"]).rows[0][0] == "A/1"

    asyncio.run(scenario())


def test_property_value_shows_itself(shell: Any) -> None:
    value = PropertyValue("<b>", Timestamp(0, 5 * 10**17, 7), Quality.WARN, 3)
    shown = _shown(shell, value)
    assert shown["text/plain"] == "'<b>' (warn) at 1970-01-01T00:00:00.500000Z"
    assert "&lt;b&gt;" in shown["text/html"]
    assert "warn" in shown["text/html"]
