"""`pykarabo project`: from the store to files and back."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pykarabo.client import BlockingClient, wait_until
from pykarabo.device import serve
from pykarabo_services.project.client import Projects, project_store
from pykarabo_services.project.files import read_files
from pykarabo_services.project.main import ProjectStore
from pykarabo_services.project.model import Changes, Item, Kind
from tests.harness.projects import SCENE, example, item, values


@pytest.fixture
def store(short_runtime: Path) -> Iterator[list[Item]]:
    """Serve a project store with one project, and return what is in it."""
    assert short_runtime.exists()
    with serve({"PROJECTS": ProjectStore}):
        project = example()
        with BlockingClient() as client:
            Projects(project_store(client)).save(Changes(items=project))
        yield project


def test_list_and_show(pykarabo: Any, store: list[Item]) -> None:
    lines = pykarabo("project", "list").lines
    assert lines[0].split() == ["name", "folder", "items", "saved", "by", "loaded", "uuid"]
    assert lines[1].split()[:3] == ["Overview", "SPB/Optics", "8"]
    assert pykarabo("project", "list", "Under*").lines[1:] == []
    assert len(pykarabo("project", "list", "--folder", "SPB", "--json").json) == 1
    shown = pykarabo("project", "show", "Overview").lines
    assert shown[0].startswith("project Overview (description: All of it., folder: SPB/Optics)")
    assert shown[4].startswith("  server SPB/SERVER/1 (host: exflcon1), saved by ")
    assert shown[5].startswith("    device SPB/MOTOR/1 (class_id: SimulatedMotor, active: slow)")
    assert pykarabo("project", "show", store[0].uuid).lines == shown
    done = pykarabo("project", "show", "Overvieu")
    assert done.code == 3
    assert "did you mean 'Overview'?" in done.err


def test_export_edit_and_import_changes_just_that(
    pykarabo: Any, store: list[Item], tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    assert pykarabo("project", "export", "Overview", str(folder)).out == f"7 files in {folder}\n"
    done = pykarabo("project", "import", str(folder))
    assert done.code == 3
    assert "--update" in done.err
    told = pykarabo("project", "import", str(folder), "--update", "--json").json
    assert (told["saved"], told["removed"], told["reordered"]) == ([], [], [])
    (folder / "macros" / "scan.py").write_text("print('better')\n")
    done = pykarabo("project", "import", str(folder), "--update", "--dry-run")
    assert done.lines == [
        "project Overview: 1 items would be saved, 0 removed",
        "  save macro scan",
    ]
    assert pykarabo("project", "import", str(folder), "--update", "--json").json["saved"] == [
        "macro scan"
    ]
    versions = {
        i["name"]: i["version"] for i in pykarabo("project", "show", "Overview", "--json").json
    }
    assert versions.pop("scan") == 2
    assert set(versions.values()) == {1}


def test_archive_goes_to_another_place_as_a_copy(
    pykarabo: Any, store: list[Item], tmp_path: Path
) -> None:
    file = tmp_path / "overview.pkproject"
    assert pykarabo("project", "export", "Overview", str(file)).code == 0
    done = pykarabo("project", "import", str(file), "--copy", "--name", "Second", "--folder", "Lab")
    assert done.code == 0, done.err
    names = [(r["folder"], r["name"]) for r in pykarabo("project", "list", "--json").json]
    assert names == [("Lab", "Second"), ("SPB/Optics", "Overview")]
    assert len(pykarabo("project", "show", "Lab/Second").lines) == 8


def test_subprojects_are_exported_and_imported_together(
    pykarabo: Any, store: list[Item], tmp_path: Path
) -> None:
    outer = example("Outer")
    link = item(Kind.SUBPROJECT, "Overview", outer[0], attributes={"project": store[0].uuid})
    with BlockingClient() as client:
        Projects(project_store(client)).save(Changes(items=[*outer, link]))
    folder = tmp_path / "outer"
    assert pykarabo("project", "export", "Outer", str(folder)).code == 0
    assert (folder / "subprojects" / "Overview" / "scenes" / "Main.svg").read_text() == SCENE
    done = pykarabo("project", "import", str(folder), "--copy", "--name", "Copy", "--folder", "X")
    assert done.code == 0, done.err
    told = pykarabo("project", "import", str(folder), "--copy", "--name", "Copy 2", "--json").json
    places = [(r["folder"], r["name"]) for r in pykarabo("project", "list", "--json").json]
    assert places == [
        *(("SPB/Optics", name) for name in ("Copy 2", "Outer", "Overview", "Overview 2")),
        *(("X", name) for name in ("Copy", "Overview")),
    ]
    assert [project["name"] for project in told["projects"]] == ["Copy 2", "Overview 2"]
    shown = pykarabo("project", "show", "Copy 2", "--json").json
    link = next(wire for wire in shown if wire["kind"] == "subproject")
    assert link["attributes"]["project"] == told["projects"][1]["uuid"]
    done = pykarabo("project", "import", str(folder), "--copy")
    assert (done.code, "another project 'Outer'" in done.err) == (3, True)
    assert len(pykarabo("project", "list", "--json").json) == 6, "nothing of it was saved"


def changed_by_somebody(store: list[Item], folder: Path, pykarabo: Any) -> str:
    """Export a project, and let somebody change a scene, add one and remove one; edit a macro."""
    assert pykarabo("project", "export", "Overview", str(folder)).code == 0
    scenes = [found for found in store if found.kind is Kind.SCENE]
    new = item(Kind.SCENE, "New", store[0], text=SCENE)
    text = SCENE.replace("4", "5")
    with BlockingClient() as client:
        Projects(project_store(client)).save(
            Changes(items=[replace(scenes[0], version=1, text=text), new])
        )
    (folder / "macros" / "scan.py").write_text("print('better')\n")
    return text


def test_C2_import_tells_what_somebody_has_changed_since_the_export(
    pykarabo: Any, store: list[Item], tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    text = changed_by_somebody(store, folder, pykarabo)
    for options in (("--update",), ("--update", "--dry-run")):
        done = pykarabo("project", "import", str(folder), *options)
        assert done.code == 3
        assert "since it was exported: scene 'Main' was saved by " in done.err
        assert "; scene 'New' was added by " in done.err
        assert "scan" not in done.err
    shown = {i["name"]: i for i in pykarabo("project", "show", "Overview", "--json").json}
    assert (shown["Main"]["text"], shown["scan"]["version"]) == (text, 1)
    assert "New" in shown
    options = ("--update", "--overwrite")
    done = pykarabo("project", "import", str(folder), *options, "--dry-run")
    assert done.lines == [
        "project Overview: 2 items would be saved, 1 removed",
        *("  save scene Main", "  save macro scan", "  remove scene New"),
    ]
    done = pykarabo("project", "import", str(folder), *options)
    assert done.lines[1:] == ["  save scene Main", "  save macro scan", "  remove scene New"]
    done = pykarabo("project", "import", str(folder), "--update")
    assert done.lines == ["project Overview: 0 items saved, 0 removed"], "its own are no conflict"
    (folder / "macros" / "scan.py").write_text("print('best')\n")
    assert pykarabo("project", "import", str(folder), "--update").code == 0


def test_import_of_an_export_that_tells_nothing_refuses_to_change(
    pykarabo: Any, store: list[Item], tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    changed_by_somebody(store, folder, pykarabo)
    (folder / "exported.txt").write_text("<<<<<<< HEAD\n")
    done = pykarabo("project", "import", str(folder), "--update")
    assert f"{folder}/exported.txt, line 1: it is no line of an export" in done.err
    (folder / "exported.txt").unlink()
    done = pykarabo("project", "import", str(folder), "--update")
    assert done.code == 3
    for what in ("scene 'Main' was saved", "scene 'New' was saved", "macro 'scan' was saved"):
        assert what in done.err
    assert pykarabo("project", "import", str(folder), "--update", "--overwrite").code == 0


def test_C2_import_tells_of_what_was_removed_and_put_in_order_since_the_export(
    pykarabo: Any, store: list[Item], tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    assert pykarabo("project", "export", "Overview", str(folder)).code == 0
    scenes = [found.uuid for found in store if found.kind is Kind.SCENE]
    scan = next(found.uuid for found in store if found.name == "scan")
    with BlockingClient() as client:
        projects = Projects(project_store(client))
        root = store[0].uuid
        projects.save(Changes(order={root: scenes[::-1]}, parents={root: 1}))
        done = pykarabo("project", "import", str(folder), "--update")
        assert "since it was exported: the items of project 'Overview' were put in" in done.err
        projects.save(Changes(removed={scan: 1}))
        done = pykarabo("project", "import", str(folder), "--update")
        assert "since it was exported: macro 'scan' was removed; the items of" in done.err
    done = pykarabo("project", "import", str(folder), "--update", "--overwrite")
    assert done.lines[1:] == ["  save macro scan", "  put in order project Overview"]
    names = [wire["name"] for wire in pykarabo("project", "show", "Overview", "--json").json]
    assert names[1:4] == ["Main", "Čerenkov", "scan"]


def test_clone_of_an_export_in_git_is_imported_with_what_was_edited_there(
    pykarabo: Any, store: list[Item], tmp_path: Path
) -> None:
    def git(*arguments: str | Path) -> None:
        command = ["git", "-c", "user.name=ada", "-c", "user.email=ada@desk", *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True)

    first, clone = tmp_path / "first", tmp_path / "clone"
    assert pykarabo("project", "export", "Overview", str(first)).code == 0
    git("init", "-q", first)
    git("-C", first, "add", "-A")
    git("-C", first, "commit", "-qm", "export")
    git("clone", "-q", first, clone)
    (clone / "macros" / "scan.py").write_text("print('there')\n")
    done = pykarabo("project", "import", str(clone), "--update")
    assert done.lines[1:] == ["  save macro scan"], done.err
    (first / "macros" / "scan.py").write_text("print('here')\n")
    done = pykarabo("project", "import", str(first), "--update")
    assert "macro 'scan' was saved by " in done.err


def test_project_in_the_trash_is_named_as_such_and_comes_out_to_another_place(
    pykarabo: Any, store: list[Item], tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    assert pykarabo("project", "export", "Overview", str(folder)).code == 0
    assert pykarabo("project", "trash", "Overview").code == 0
    for options in ((), ("--dry-run",), ("--update",)):
        done = pykarabo("project", "import", str(folder), *options)
        assert done.code == 3
        assert "project 'Overview' is in the trash" in done.err
        assert f"pykarabo project restore {store[0].uuid}" in done.err
    assert pykarabo("project", "import", str(folder), "--copy").code == 0
    assert len(pykarabo("project", "show", "Overview", "--trash").lines) == 8
    kept = tmp_path / "trashed"
    assert pykarabo("project", "export", "Overview", str(kept), "--trash").code == 0
    assert (kept / "scenes" / "Main.svg").read_text() == SCENE
    done = pykarabo("project", "restore", "Overview")
    assert "another project 'Overview' in this folder" in done.err
    assert f"pykarabo project restore {store[0].uuid} --name NAME" in done.err
    done = pykarabo("project", "restore", "Overview", "--name", "Old", "--folder", "")
    assert (done.code, done.out) == (0, "Overview is out of the trash, as Old\n")
    assert pykarabo("project", "rename", "Old", "Older").out == "Old is Older now\n"
    assert "'' is no name for a project" in pykarabo("project", "rename", "Older", "").err
    assert pykarabo("project", "move", "Older", "Attic").out == "Older is Attic/Older now\n"
    places = [(r["folder"], r["name"]) for r in pykarabo("project", "list", "--json").json]
    assert places == [("Attic", "Older"), ("SPB/Optics", "Overview")]


def test_trash_restore_duplicate_and_find(pykarabo: Any, store: list[Item]) -> None:
    assert pykarabo("project", "duplicate", "Overview", "Second").code == 0
    assert pykarabo("project", "trash", "Overview").out == "Overview is in the trash\n"
    assert [r["name"] for r in pykarabo("project", "list", "--json").json] == ["Second"]
    assert [r["name"] for r in pykarabo("project", "list", "--trash", "--json").json] == [
        "Overview"
    ]
    found = pykarabo("project", "find", "--device", "SPB/*", "--json").json
    assert [match["project_name"] for match in found] == ["Second"]
    assert pykarabo("project", "restore", "Overview").code == 0
    found = pykarabo("project", "find", "--class", "SimulatedMotor", "--json").json
    assert len(found) == 2
    assert pykarabo("project", "find").code == 3


def test_devices_are_started_with_their_active_configurations(
    pykarabo: Any, short_runtime: Path
) -> None:
    root = item(Kind.PROJECT, "Hall")
    here, away = item(Kind.SERVER, "T/SERVER", root), item(Kind.SERVER, "T/AWAY", root)

    def device(name: str, class_id: str, text: str, server: Item = here) -> list[Item]:
        new = item(Kind.DEVICE, name, server)
        chosen = item(Kind.CONFIGURATION, "chosen", new, text=text)
        other = item(Kind.CONFIGURATION, "other", new, text=values(velocity=9.0))
        attributes = {"class_id": class_id, "active": chosen.uuid}
        return [replace(new, attributes=attributes), chosen, other]

    project = [
        *(root, here, away),
        *device("T/MOTOR/1", "SimulatedMotor", values(velocity=2.5)),
        *device("T/MOTOR/2", "SimulatedMotor", values(velocity="fast")),
        *device("T/MOTOR/3", "SimulatedMotor", values(), away),
        *device("PROJECTS", "SimulatedMotor", values()),
    ]
    with serve({"PROJECTS": ProjectStore}, server_id="T/SERVER"):
        with BlockingClient() as client:
            Projects(project_store(client)).save(Changes(items=project))
        done = pykarabo("project", "instantiate", "Hall")
        assert done.code == 1
        assert done.lines[0] == "T/MOTOR/1 on T/SERVER: started", done.err
        assert len(done.lines) == 4, done.err
        assert done.lines[1].startswith("T/MOTOR/2 on T/SERVER: failed: ")
        assert done.lines[2] == "PROJECTS on T/SERVER: incompatible"
        assert done.lines[3] == "T/MOTOR/3 on T/AWAY: no server"
        assert pykarabo("get", "T/MOTOR/1.velocity").out.startswith("2.5 ")
        done = pykarabo("project", "instantiate", "Hall", "--device", "*/1")
        assert (done.code, done.out) == (0, "T/MOTOR/1 on T/SERVER: online\n")


@pytest.fixture
def motors(short_runtime: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server T/MOTORS in a process of its own."""
    assert short_runtime.exists()
    command = [sys.executable, "-m", "pykarabo", "server", "start", "--id", "T/MOTORS"]
    with serve({"PROJECTS": ProjectStore}), subprocess.Popen(command) as process:
        yield process
        process.kill()


def test_devices_of_a_server_that_was_killed_are_not_online(
    pykarabo: Any, motors: "subprocess.Popen[bytes]"
) -> None:
    root = item(Kind.PROJECT, "Hall")
    server = item(Kind.SERVER, "T/MOTORS", root)
    device = item(Kind.DEVICE, "T/MOTOR/1", server, attributes={"class_id": "SimulatedMotor"})
    with BlockingClient() as client:
        Projects(project_store(client)).save(Changes(items=[root, server, device]))

        def outcome() -> tuple[int, str]:
            done = pykarabo("project", "instantiate", "Hall")
            return done.code, done.out.rpartition(": ")[2].strip()

        wait_until(lambda: outcome() == (0, "online"), timeout_s=20)
        motors.kill()
        wait_until(lambda: client.topology("T/MOTOR/1")[0].status == "gone", timeout_s=20)
        assert outcome() == (1, "no server")


def test_what_was_loaded_is_read_without_the_store(
    pykarabo: Any, short_runtime: Path, tmp_path: Path
) -> None:
    with serve({"PROJECTS": ProjectStore}):
        with BlockingClient() as client:
            Projects(project_store(client)).save(Changes(items=example()))
        assert pykarabo("project", "show", "Overview").code == 0
    assert pykarabo("project", "show", "Overview").code == 4
    assert "Overview" in pykarabo("project", "list", "--cached").out
    assert "Overview" in pykarabo("project", "list", "Over*", "--cached", "--folder", "SPB").out
    assert "Overview" not in pykarabo("project", "list", "Under*", "--cached").out
    assert "Overview" not in pykarabo("project", "list", "--cached", "--folder", "SP").out
    assert pykarabo("project", "list", "--cached", "--trash").code == 3
    done = pykarabo("project", "show", "Overview", "--cached")
    assert len(done.lines) == 8
    assert "as it was loaded at 2" in done.err
    assert pykarabo("project", "export", "Overview", str(tmp_path / "p"), "--cached").code == 0
    assert (tmp_path / "p" / "scenes" / "Main.svg").read_text() == SCENE


def test_export_of_a_copy_has_what_is_below_it_and_removes_nothing(
    pykarabo: Any, store: list[Item], tmp_path: Path
) -> None:
    outer = example("Outer")
    link = item(Kind.SUBPROJECT, "Overview", outer[0], attributes={"project": store[0].uuid})
    with BlockingClient() as client:
        Projects(project_store(client)).save(Changes(items=[*outer, link]))
    folder = tmp_path / "outer"
    assert pykarabo("project", "export", "Outer", str(folder)).code == 0
    whole = read_files(folder)
    assert pykarabo("project", "export", "Outer", str(folder), "--cached").code == 0
    assert read_files(folder) == whole
    done = pykarabo("project", "export", "Outer", str(folder), "--alone")
    assert f"{folder}/subprojects/Overview was not exported, and is left as it was" in done.err
    assert read_files(folder) == whole


def test_large_project_travels_in_several_messages(
    pykarabo: Any, store: list[Item], tmp_path: Path
) -> None:
    root = item(Kind.PROJECT, "Big")
    text = SCENE.replace("</svg>", f"<!--{'x' * 2_500_000}--></svg>")
    scenes = [item(Kind.SCENE, f"s{n}", root, text=text) for n in range(5)]
    with BlockingClient() as client:
        projects = Projects(project_store(client))
        projects.save(Changes(items=[root, *scenes]))
        loaded = projects.load(root.uuid)
    assert [found.text for found in loaded[1:]] == [text] * 5


def test_projects_without_a_store_say_how_to_start_one(pykarabo: Any, benches: None) -> None:
    done = pykarabo("project", "list", "--json")
    assert done.code == 3
    assert "pykarabo instantiate ProjectStore PROJECTS" in json.loads(done.out)["error"]["remedy"]
