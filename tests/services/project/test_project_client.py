"""Projects from the side of a client: whole ones, of one moment, however large they are."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from pykarabo.client import BlockingClient, DeviceProxy
from pykarabo.device import serve
from pykarabo.errors import ChangedMeanwhileError, UnknownItemError
from pykarabo_services.project.client import Projects, project_store
from pykarabo_services.project.main import ProjectStore
from pykarabo_services.project.model import Changes, Item, Kind, new_uuid
from tests.harness.projects import SCENE, example, item, named


class Meddler:
    """A store in which somebody does something just before a command of another one is sent."""

    def __init__(self, store: DeviceProxy, command: str, deeds: list[Callable[[], None]]) -> None:
        self._store = store
        self._command = command
        self._deeds = deeds
        self.calls = 0

    def call(self, command: str, *arguments: Any, **options: Any) -> Any:
        """Call the command, and be slow about one of them."""
        self.calls += 1
        if command == self._command and self._deeds:
            self._deeds.pop(0)()
        return self._store.call(command, *arguments, **options)


@pytest.fixture
def store(short_runtime: Path) -> Iterator[DeviceProxy]:
    assert short_runtime.exists()
    with serve({"PROJECTS": ProjectStore}), BlockingClient() as client:
        yield project_store(client)


def meddled(store: DeviceProxy, command: str, *deeds: Callable[[], None]) -> Projects:
    meddler = Meddler(store, command, list(deeds))
    return Projects(cast("DeviceProxy", meddler))


def saved(store: DeviceProxy, items: list[Item]) -> Projects:
    projects = Projects(store)
    projects.save(Changes(items=items))
    return projects


def large(number: int = 4) -> list[Item]:
    """Return a project whose texts come in several answers."""
    root = item(Kind.PROJECT, "Torn")
    text = "# 1\n" + "x" * 3_000_000
    return [root, *(item(Kind.MACRO, f"m{n}", root, text=text) for n in range(number))]


def test_C2_project_that_is_saved_while_it_is_loaded_is_of_one_moment(store: DeviceProxy) -> None:
    project = large()
    projects = saved(store, project)

    def save(number: int) -> Callable[[], None]:
        def run() -> None:
            text = f"# {number}\n" + "x" * 3_000_000
            changed = [replace(i, version=number - 1, text=text) for i in project[1:]]
            projects.save(Changes(items=changed))

        return run

    def nothing() -> None:
        pass

    slow = meddled(store, "load_texts", save(2), nothing, save(3))
    loaded = slow.load(project[0].uuid)
    assert [(found.text or "")[:3] for found in loaded[1:]] == ["# 3"] * 4
    assert {found.version for found in loaded[1:]} == {3}


def test_item_that_is_removed_while_its_project_is_loaded_is_not_in_it(store: DeviceProxy) -> None:
    project = example()
    projects = saved(store, project)
    scan = named(project, "scan")
    slow = meddled(store, "load_texts", lambda: remove(projects, scan))
    assert "scan" not in [found.name for found in slow.load(project[0].uuid)]


def remove(projects: Projects, gone: Item) -> None:
    projects.save(Changes(removed={gone.uuid: 1}))


def test_project_that_is_changed_between_two_answers_is_loaded_again(store: DeviceProxy) -> None:
    root = item(Kind.PROJECT, "Big")
    server = item(Kind.SERVER, "A/B/1", root)
    devices = [item(Kind.DEVICE, f"A/D/{number}", server) for number in range(4000)]
    projects = saved(store, [root, server, *devices])

    def nothing() -> None:
        pass

    slow = meddled(store, "load_project", nothing, lambda: remove(projects, devices[1]))
    names = [found.name for found in slow.load(root.uuid)]
    assert names == ["Big", "A/B/1", "A/D/0", *(device.name for device in devices[2:])]


def test_project_that_is_changed_all_the_time_is_refused_at_last(store: DeviceProxy) -> None:
    project = large(3)
    projects = saved(store, project)
    versions = iter(range(1, 100))

    def save() -> None:
        version = next(versions)
        changed = [replace(found, version=version) for found in project[1:]]
        projects.save(Changes(items=changed))

    slow = meddled(store, "load_texts", *[save] * 99)
    with pytest.raises(ChangedMeanwhileError, match="changed 20 times while it was loaded"):
        slow.load(project[0].uuid)


def test_project_of_as_many_items_as_it_may_have_is_loaded_and_found(store: DeviceProxy) -> None:
    root = item(Kind.PROJECT, "Big")
    words = {"description": "ß" * 300}
    more = {"text": SCENE, "attributes": words}
    scenes = [item(Kind.SCENE, f"s{number}", root, **more) for number in range(9_999)]
    projects = saved(store, [root, *scenes])
    loaded = projects.load(root.uuid)
    assert [found.name for found in loaded] == [found.name for found in (root, *scenes)]
    assert {found.text for found in loaded[1:]} == {SCENE}
    assert len(projects.find(scene="s*")) == len(scenes)


def test_more_projects_than_one_answer_can_hold_are_listed(store: DeviceProxy) -> None:
    words = {"description": "ß" * 4000}
    projects = saved(store, [item(Kind.PROJECT, f"p{n}", attributes=words) for n in range(700)])
    assert len(projects.records()) == 700


def test_large_order_and_many_removals_travel_in_parts(store: DeviceProxy) -> None:
    roots = [item(Kind.PROJECT, f"p{number}") for number in range(3)]
    macros = [item(Kind.MACRO, f"m{n}", root, text="") for root in roots for n in range(7_000)]
    projects = saved(store, [*roots, *macros])
    order = {
        root.uuid: [i.uuid for i in reversed(macros) if i.parent == root.uuid] for root in roots
    }
    projects.save(Changes(order=order, parents={root.uuid: 1 for root in roots}))
    assert [found.name for found in projects.load(roots[2].uuid)[1:3]] == ["m6999", "m6998"]
    projects.save(Changes(removed={macro.uuid: 1 for macro in macros}))
    assert {record["items"] for record in projects.records()} == {1}


def test_project_that_there_is_not_is_named_at_once(store: DeviceProxy) -> None:
    with pytest.raises(UnknownItemError, match="there is no project"):
        Projects(store).load(new_uuid())
