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
    assert lines[0].split() == ["name", "folder", "items", "saved", "by", "uuid"]
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
    assert pykarabo("project", "export", "Overview", str(folder)).out == f"6 files in {folder}\n"
    done = pykarabo("project", "import", str(folder))
    assert done.code == 3
    assert "--update" in done.err
    told = pykarabo("project", "import", str(folder), "--update", "--json").json
    assert (told["saved"], told["removed"], told["reordered"]) == ([], 0, 0)
    (folder / "macros" / "scan.py").write_text("print('better')\n")
    done = pykarabo("project", "import", str(folder), "--update", "--dry-run")
    assert done.lines == ["project Overview: 1 items would be saved, 0 removed", "  macro scan"]
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
    assert done.code == 3
    assert "another project 'Overview'" in done.err
    assert len(pykarabo("project", "list", "--json").json) == 2, "nothing of it was saved"


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
    done = pykarabo("project", "show", "Overview", "--cached")
    assert len(done.lines) == 8
    assert "as it was loaded at 2" in done.err
    assert pykarabo("project", "export", "Overview", str(tmp_path / "p"), "--cached").code == 0
    assert (tmp_path / "p" / "scenes" / "Main.svg").read_text() == SCENE


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
