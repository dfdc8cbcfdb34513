"""Projects as files: the same bytes for the same project, and nothing lost on the way."""

import itertools
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.errors import (
    BadConfigurationError,
    InvalidNameError,
    LimitExceededError,
    WrongTypeError,
)
from pykarabo_services.project._contents import checked
from pykarabo_services.project.cache import ProjectCache
from pykarabo_services.project.files import (
    exported_in,
    file_name,
    from_files,
    projects_in,
    read_files,
    to_files,
    write_archive,
    write_directory,
)
from pykarabo_services.project.model import Changes, Item, Kind, check_name
from pykarabo_services.project.trees import changes_between, with_new_uuids
from tests.harness.projects import SCENE, example, item, named, values


def same(one: list[Item], other: list[Item]) -> bool:
    return changes_between(checked_all(one), other).to_wire() == Changes().to_wire()


def checked_all(items: list[Item]) -> list[Item]:
    return [checked(found) for found in items]


def twins() -> list[Item]:
    """Return a project in which two servers have a device of one name, each with its own values."""
    root = item(Kind.PROJECT, "Twins")
    project = [root]
    for number in (1, 2):
        server = item(Kind.SERVER, f"SPB/SERVER/{number}", root, position=number)
        device = item(Kind.DEVICE, "SPB/MOTOR/1", server, attributes={"class_id": "Motor"})
        text = values(velocity=float(number))
        project += [server, device, item(Kind.CONFIGURATION, "fast", device, text=text)]
    return project


def test_directory_is_readable_and_leads_back_to_the_project(tmp_path: Path) -> None:
    project = example()
    write_directory(to_files(project), tmp_path / "p")
    names = sorted(p.relative_to(tmp_path / "p").as_posix() for p in (tmp_path / "p").rglob("*.*"))
    assert names == [
        "configurations/SPB~MOTOR~1/fast.json",
        "configurations/SPB~MOTOR~1/slow.json",
        "exported.txt",
        "macros/scan.py",
        "project.yaml",
        "scenes/Main.svg",
        "scenes/Čerenkov.svg",
    ]
    index = (tmp_path / "p" / "project.yaml").read_text()
    assert index.startswith("format: 1\nname: Overview\n")
    assert "    active: slow\n" in index
    assert index.index("name: Main") < index.index("name: Čerenkov")
    [read] = from_files(read_files(tmp_path / "p"))
    assert same(project, read)
    assert (tmp_path / "p" / "macros" / "scan.py").read_text() == "print('scan')\n"


def test_configuration_has_a_line_for_each_value(tmp_path: Path) -> None:
    write_directory(to_files(example()), tmp_path)
    lines = (tmp_path / "configurations" / "SPB~MOTOR~1" / "fast.json").read_text().splitlines()
    assert [line for line in lines if "velocity" in line] == ['    "velocity": 2.5,']
    assert [line for line in lines if "name" in line] == ['    "name": "ß"']


def test_git_shows_one_line_for_one_change_and_none_for_none(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    project = example()
    git("init", "-q")
    write_directory(to_files(project), tmp_path / "p")
    git("add", "-A")
    stored = [replace(found, version=7, saved_ns=99, saved_by="ada") for found in project]
    write_directory(to_files(stored), tmp_path / "p")
    assert git("diff", "--stat") == ""
    fast = named(project, "fast")
    text = (fast.text or "").replace("2.5", "3.5")
    changed = [replace(found, text=text) if found is fast else found for found in project]
    write_directory(to_files(changed), tmp_path / "p")
    assert git("diff", "--numstat").splitlines() == [
        "1\t1\tp/configurations/SPB~MOTOR~1/fast.json",
        "1\t1\tp/exported.txt",
    ]


def test_export_over_an_earlier_one_removes_what_is_gone_and_nothing_else(tmp_path: Path) -> None:
    project = example()
    write_directory(to_files(project), tmp_path)
    (tmp_path / "macros" / "notes.py").write_text("mine")
    (tmp_path / "README.md").write_text("mine")
    write_directory(to_files([i for i in project if i.name != "scan"]), tmp_path)
    assert sorted(path.name for path in (tmp_path / "macros").iterdir()) == ["notes.py"]
    assert (tmp_path / "README.md").exists()


def test_export_into_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(BadConfigurationError, match="is not empty and holds no exported project"):
        write_directory(to_files(example()), tmp_path)


def test_devices_of_one_name_on_two_servers_keep_their_own_configurations(tmp_path: Path) -> None:
    project = twins()
    files = to_files(project)
    assert [name for name in sorted(files) if "fast" in name] == [
        "configurations/SPB~MOTOR~1@SPB~SERVER~1/fast.json",
        "configurations/SPB~MOTOR~1@SPB~SERVER~2/fast.json",
    ]
    write_directory(files, tmp_path)
    [read] = from_files(read_files(tmp_path))
    assert same(project, read)


def test_export_of_an_earlier_version_is_read_where_it_is_clear() -> None:
    project = twins()
    folder = "configurations/SPB~MOTOR~1"
    files = to_files(project)
    second = files.pop(f"{folder}@SPB~SERVER~2/fast.json")
    renamed = files.pop(f"{folder}@SPB~SERVER~1/fast.json")
    with pytest.raises(BadConfigurationError, match="of an earlier export is not used"):
        from_files({**files, f"{folder}/fast.json": second})
    files["project.yaml"] = files["project.yaml"].replace(b"name: fast", b"name: quick", 1)
    earlier = {f"{folder}/quick.json": renamed, f"{folder}/fast.json": second}
    [read] = from_files({**files, **earlier})
    assert [found.text for found in read] == [found.text for found in checked_all(project)]


def test_export_over_one_of_an_earlier_version_leaves_nothing_of_it(tmp_path: Path) -> None:
    files = to_files(twins())
    earlier = dict(files)
    for name in [name for name in files if "@" in name]:
        earlier["configurations/SPB~MOTOR~1/fast.json"] = earlier.pop(name)
    for name, content in earlier.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    write_directory(files, tmp_path)
    assert read_files(tmp_path) == files


def nested(number: int) -> tuple[list[Item], dict[str, list[Item]]]:
    """Return a project with so many others inside each other."""
    roots = [item(Kind.PROJECT, "subprojects") for _ in range(number + 1)]
    projects = [
        [outer, item(Kind.SUBPROJECT, "subprojects", outer, attributes={"project": inner.uuid})]
        for outer, inner in itertools.pairwise(roots)
    ]
    return projects[0], {items[0].uuid: items for items in (*projects[1:], [roots[-1]])}


def test_subprojects_that_could_not_be_read_again_are_not_written() -> None:
    assert len(from_files(to_files(*nested(8)))) == 9
    with pytest.raises(LimitExceededError, match="project 'subprojects': more than 8 subprojects"):
        to_files(*nested(9))


def test_no_file_is_written_twice() -> None:
    project = example()
    with pytest.raises(BadConfigurationError, match=r"two items would be written to scenes/Main"):
        to_files([*project, item(Kind.SCENE, "Main", project[0], text=SCENE)])


def test_export_without_a_subproject_leaves_what_was_exported_of_it(tmp_path: Path) -> None:
    outer, inner = example("Outer"), example("Inner")
    link = item(Kind.SUBPROJECT, "Inner", outer[0], attributes={"project": inner[0].uuid})
    assert write_directory(to_files([*outer, link], {inner[0].uuid: inner}), tmp_path) == []
    whole = read_files(tmp_path)
    assert write_directory(to_files([*outer, link]), tmp_path) == ["subprojects/Inner/"]
    assert read_files(tmp_path) == whole
    assert write_directory(to_files(outer), tmp_path) == []
    assert not any(name.startswith("subprojects") for name in read_files(tmp_path))


def test_files_of_a_large_project_are_made_in_seconds() -> None:
    root = item(Kind.PROJECT, "Large")
    server = item(Kind.SERVER, "A/B/1", root)
    project = [root, server]
    for number in range(3000):
        device = item(Kind.DEVICE, f"A/C/{number}", server)
        chosen = item(Kind.CONFIGURATION, "chosen", device, text=values(velocity=1.0))
        project += [replace(device, attributes={"active": chosen.uuid}), chosen]
    began = time.process_time()
    files = to_files(project)
    assert time.process_time() - began < 6
    began = time.process_time()
    assert len(from_files(files)[0]) == 6002
    assert time.process_time() - began < 6


def test_archive_is_one_file_and_the_same_bytes_for_the_same_project(tmp_path: Path) -> None:
    project = example()
    for name in ("a.pkproject", "b.pkproject"):
        write_archive(to_files(project), tmp_path / name)
    assert (tmp_path / "a.pkproject").read_bytes() == (tmp_path / "b.pkproject").read_bytes()
    [read] = from_files(read_files(tmp_path / "a.pkproject"))
    assert same(project, read)


def test_subprojects_go_along_where_they_are_there(tmp_path: Path) -> None:
    outer, inner = example("Outer"), example("Inner")
    links = [
        item(Kind.SUBPROJECT, "Inner", outer[0], attributes={"project": inner[0].uuid}),
        item(
            Kind.SUBPROJECT, "Missing", outer[0], position=1,
            attributes={"project": example()[0].uuid},
        ),
    ]  # fmt: skip
    write_directory(to_files([*outer, *links], {inner[0].uuid: inner}), tmp_path)
    assert (tmp_path / "subprojects" / "Inner" / "scenes" / "Main.svg").read_text() == SCENE
    read = from_files(read_files(tmp_path))
    assert [items[0].name for items in read] == ["Outer", "Inner"]
    assert same([*outer, *links], read[0])
    assert same(inner, read[1])
    copy = with_new_uuids([found for items in read for found in items])
    uuids = {found.name: found for found in copy if found.kind in (Kind.PROJECT, Kind.SUBPROJECT)}
    assert named(copy, "Outer").uuid != outer[0].uuid
    inner_copy = next(f for f in copy if f.kind is Kind.PROJECT and f.name == "Inner")
    link = next(f for f in copy if f.kind is Kind.SUBPROJECT and f.name == "Inner")
    assert link.attributes["project"] == inner_copy.uuid != inner[0].uuid
    assert uuids["Missing"].attributes == links[1].attributes


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_names_have_two_files_that_lie_where_they_should(one: str, other: str) -> None:
    names = []
    for name in (one, other):
        try:
            names.append(check_name(name, Kind.SCENE))
        except (InvalidNameError, WrongTypeError):
            return
    files = [file_name(name) for name in names]
    assert (files[0] == files[1]) == (one == other)
    for name in files:
        assert "/" not in name
        assert not name.startswith(".")
        assert len(name.encode()) <= 250


@given(st.text(max_size=100), st.text(min_size=1, max_size=128))
def test_whatever_a_name_and_a_description_hold_comes_back(words: str, name: str) -> None:
    root = item(Kind.PROJECT, "All")
    try:
        scene = item(Kind.SCENE, name, root, text=SCENE, attributes={"description": words})
    except (InvalidNameError, WrongTypeError):
        return
    files = to_files([root, scene])
    [project] = projects_in(files)
    assert same([root, scene], project.items)
    assert list(exported_in(files, project) or ()) == [root.uuid, scene.uuid]


def test_names_that_nearly_meet_have_files_of_their_own() -> None:
    names = ["a~b", "a%7Eb", "a/b", "a%b", "long " + "ß" * 120, "long " + "ß" * 119 + "x"]
    assert len({file_name(name) for name in names}) == len(names)


def test_cache_keeps_the_last_state_and_is_asked_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ProjectCache(tmp_path / "cache")
    assert cache.kept() == []
    project = example()
    cache.keep(project)
    cache.keep([replace(found, name="Newer") if not found.parent else found for found in project])
    [kept] = cache.kept()
    assert kept.items[0].name == "Newer"
    assert cache.load("Newer").items == kept.items
    assert cache.load("SPB/Optics/Newer").items == kept.items
    with pytest.raises(Exception, match=r"there is no project 'Never' - did you mean 'Newer'"):
        cache.load("Never")
    cache.keep(example("Other"))
    path = tmp_path / "cache" / f"{project[0].uuid}.pkproject"
    whole = path.read_bytes()
    for broken in (b"half a fi", whole[:100], whole[:60] + b"\xff" * 40 + whole[100:]):
        path.write_bytes(broken)
        caplog.clear()
        assert [found.items[0].name for found in cache.kept()] == ["Other"]
        assert f"{path} is no exported project" in caplog.text
        assert f"or remove {path}" in caplog.text


def test_cache_gives_a_project_with_those_below_it(tmp_path: Path) -> None:
    cache = ProjectCache(tmp_path / "cache")
    outer, inner = example("Outer"), example("Inner")
    for below in (inner, example("Missing")):
        link = {"project": below[0].uuid}
        outer.append(item(Kind.SUBPROJECT, below[0].name, outer[0], attributes=link))
    cache.keep(outer)
    cache.keep(inner)
    kept, others = cache.load_all("Outer")
    assert kept.items[0].name == "Outer"
    assert list(others) == [inner[0].uuid]
