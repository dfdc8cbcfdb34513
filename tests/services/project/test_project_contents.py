"""What is no project is refused before it is kept, however it comes (case B9)."""

import json
import os
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pykarabo.errors import (
    BadConfigurationError,
    BadInputError,
    InvalidNameError,
    LimitExceededError,
    WrongTypeError,
)
from pykarabo_services.project._contents import checked
from pykarabo_services.project._staging import KEEP_NS, Staging
from pykarabo_services.project.files import (
    from_files,
    read_files,
    to_files,
    write_archive,
    write_directory,
)
from pykarabo_services.project.model import Changes, Item, Kind, check_folder, new_uuid
from tests.harness.projects import SCENE, example, item, values

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{}</svg>'
LAUGHS = "".join(f'<!ENTITY lol{number} "{f"&lol{number - 1};" * 10}">' for number in range(1, 10))
BOMB = f'<!DOCTYPE svg [<!ENTITY lol0 "lol">{LAUGHS}]>' + SVG.format("<text>&lol9;</text>")
_UUID = "8dcb3a04-3671-442b-8901-bba45336bd4d"  # the same in every process that collects tests
_OTHER = "a8f7b7a6-8b1c-4a43-9a37-0f2d8e6cf2f5"
_HEAD = f"format: 1\nname: a\nuuid: {_UUID}\n"
PROJECT = {"kind": "project", "uuid": new_uuid(), "name": "a"}
REMOTE = '<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + SVG.format("&x;")


def scene(text: str) -> Item:
    return Item(uuid=new_uuid(), kind=Kind.SCENE, name="Main", parent=new_uuid(), text=text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no element found"),
        ("<svg", "is no SVG"),
        ("<html/>", "begins with 'html', not with 'svg'"),
        (BOMB, "document type declaration, which may define entities"),
        (REMOTE, "document type declaration"),
        ("<?xml-stylesheet href='x'?>" + SCENE, "an instruction 'xml-stylesheet'"),
        (SVG.format("<script>alert(1)</script>"), "an element 'script'"),
        (SVG.format("<foreignObject/>"), "an element 'foreignobject'"),
        (SVG.format('<image xlink:href="../../../etc/passwd"/>'), "outside of the scene"),
        (SVG.format('<image href="file:///etc/passwd"/>'), "outside of the scene"),
        (SVG.format('<use href="http://evil/x.svg#a"/>'), "outside of the scene"),
        (SVG.format('<a href="javascript:alert(1)"/>'), "outside of the scene"),
        (SVG.format('<rect onclick="go()"/>'), "runs a program: onclick"),
        (SVG.format('<rect style="fill:url(http://evil/x)"/>'), "loads something from outside"),
        (SVG.format("<style>@import 'http://evil/x.css';</style>"), "a style loads something"),
        (SVG.format("<g>" * 100 + "</g>" * 100), "more than 64 of them inside each other"),
        (SVG.format("<g/>" * 100_001), "more than 100000 elements"),
        (SCENE + "trailing", "is no SVG"),
    ],
)
def test_B9_scene_that_is_no_plain_drawing_is_refused(text: str, reason: str) -> None:
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises((BadConfigurationError, LimitExceededError), match=reason):
        checked(scene(text))
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - began < 2
    assert peak < 20 * 2**20


def test_B9_scene_may_refer_to_what_is_in_it_and_link_to_pages() -> None:
    inside = (
        '<image xlink:href="data:image/png;base64,AAAA"/><use href="#a"/>'
        '<a href="https://doc"><rect style="fill:url(#g)"/></a><style>rect{fill:red}</style>'
    )
    checked(scene(SVG.format(inside)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "configuration 'c' cannot be read"),
        ("{", "configuration 'c' cannot be read"),
        ("[1]", "configuration 'c' cannot be read"),
        (values(a=1).replace('"a"', '"a": 2, "a"', 1), "configuration 'c'"),
        ("[" * 100_000, "configuration 'c'"),
        (json.dumps({"pykarabo": "value", "version": 1, "value": 7}), "not values by their keys"),
        (json.dumps({"pykarabo": "value", "version": 99, "value": {}}), "configuration 'c'"),
        (values(a=list(range(200_000))), "configuration 'c'"),
    ],
)
def test_B9_configuration_that_is_none_is_refused(text: str, reason: str) -> None:
    broken = Item(uuid=new_uuid(), kind=Kind.CONFIGURATION, name="c", parent=new_uuid(), text=text)
    with pytest.raises(Exception, match=reason) as caught:
        checked(broken)
    assert hasattr(caught.value, "remedy")


@pytest.mark.parametrize("kind", [Kind.SCENE, Kind.MACRO, Kind.PROJECT, Kind.CONFIGURATION])
@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../../x", "/etc/passwd", "a/b", "a\\b", ".hidden", " a", "a ", "x" * 129),
        *("a\nb", "a\x00b", "a\x7fb", "half \ud800"),
    ],
)
def test_B9_name_that_could_lead_elsewhere_is_refused(name: str, kind: Kind) -> None:
    with pytest.raises((InvalidNameError, WrongTypeError)):
        Item(
            uuid=new_uuid(), kind=kind, name=name, parent="" if kind is Kind.PROJECT else new_uuid()
        )


@pytest.mark.parametrize("folder", ["/a", "a/", "a//b", "../a", "a/../b", "x" * 300])
def test_B9_folder_that_could_lead_elsewhere_is_refused(folder: str) -> None:
    with pytest.raises(InvalidNameError):
        check_folder(folder)


def test_B9_text_above_4_MiB_is_refused() -> None:
    macro = {"uuid": new_uuid(), "kind": Kind.MACRO, "name": "m", "parent": new_uuid()}
    Item(**macro, text="x" * 4 * 2**20)  # type: ignore[arg-type]
    with pytest.raises(LimitExceededError, match="macro 'm' has 4194305 bytes"):
        Item(**macro, text="x" * (4 * 2**20 + 1))  # type: ignore[arg-type]
    with pytest.raises(WrongTypeError, match="NUL or half of a character"):
        Item(**macro, text="a\x00")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (None, "changes: NoneType, not a map"),
        ({"items": 7}, "items: int, not a list"),
        ({"items": [7]}, "an item: int, not a map"),
        ({"items": [{"kind": "rocket"}]}, "no kind of item 'rocket'"),
        ({"items": [{"kind": "scene", "uuid": "../x"}]}, "'../x' is no uuid"),
        ({"items": [{"kind": "project", "uuid": new_uuid(), "name": 7}]}, "'name': int, not text"),
        ({"removed": {"x": 1}}, "'x' is no uuid"),
        ({"removed": {new_uuid(): -1}}, "is no number from 0 on"),
        ({"removed": {new_uuid(): 2**70}}, "is no number from 0 on"),
        ({"order": {new_uuid(): "x"}}, "order: str, not a list"),
        (
            {"items": [PROJECT | {"text": "x"}]},
            "a project has no text",
        ),
        (
            {"items": [PROJECT | {"parent": new_uuid()}]},
            "cannot lie in another item",
        ),
        (
            {
                "items": [
                    {"kind": "project", "uuid": new_uuid(), "name": "a", "attributes": {"x": "y"}}
                ]
            },
            "project 'a' cannot have 'x'",
        ),
        ({"removed": {new_uuid(): 1 for _ in range(50_001)}}, "more than 50000 items"),
        ({"parents": {new_uuid(): -1}}, "is no number from 0 on"),
    ],
)
def test_B9_changes_that_are_none_are_refused(changes: Any, reason: str) -> None:
    with pytest.raises((BadInputError, LimitExceededError), match=reason):
        Changes.from_wire(changes)


def test_B9_item_named_twice_in_one_save_is_refused() -> None:
    project = item(Kind.PROJECT, "a")
    with pytest.raises(BadConfigurationError, match=r"project 'a' \(.*\) is named twice"):
        Changes(items=[project], removed={project.uuid: 1})


def test_B9_parts_of_saves_are_bounded_and_forgotten() -> None:
    staging = Staging()
    text = "x" * 4 * 2**20
    part = Changes(
        items=[item(Kind.MACRO, f"m{n}", item(Kind.PROJECT, "p"), text=text) for n in range(3)]
    )
    for number in range(21):
        staging.add("ada", f"t{number}", part, 0)
    with pytest.raises(LimitExceededError, match="256 MiB of saves are under way"):
        staging.add("ada", "t21", part, 1)
    with pytest.raises(BadInputError, match="not there any more"):
        staging.take("bob", "t0", 1)
    assert staging.take("ada", "t0", 1) == part
    with pytest.raises(BadInputError):
        staging.take("ada", "t1", KEEP_NS + 1)
    assert staging.nbytes == 0


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    write_directory(to_files(example()), tmp_path / "project")
    return tmp_path / "project"


def test_B9_link_out_of_the_directory_is_refused(exported: Path) -> None:
    (exported / "scenes" / "Main.svg").unlink()
    (exported / "scenes" / "Main.svg").symlink_to("/etc/passwd")
    with pytest.raises(BadConfigurationError, match=r"Main\.svg cannot be read"):
        read_files(exported)


def test_B9_linked_folder_is_not_entered(exported: Path, tmp_path: Path) -> None:
    (exported / "scenes").rename(tmp_path / "elsewhere")
    (exported / "scenes").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadConfigurationError, match=r"has no file scenes/"):
        from_files(read_files(exported))


def test_B9_pipe_in_the_directory_is_refused(exported: Path) -> None:
    os.mkfifo(exported / "scenes" / "pipe.svg")
    with pytest.raises(BadConfigurationError, match=r"pipe\.svg is no file"):
        read_files(exported)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\\..\\x"])
def test_B9_archive_that_leads_outside_is_refused(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pkproject", "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(BadConfigurationError, match="leads outside of it"):
        read_files(tmp_path / "a.pkproject")


def test_B9_archive_that_swells_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pkproject", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scenes/a.svg", bytes(100 * 2**20))
    assert (tmp_path / "a.pkproject").stat().st_size < 2**20
    with pytest.raises(LimitExceededError, match="more than 4194304 bytes"):
        read_files(tmp_path / "a.pkproject")


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ("format: 1\nname: &a [*a]", "an alias"),
        ("a: &a x\nb: *a", "an alias"),
        ("!!python/object/apply:os.system ['true']", "python/object"),
        ("[1, 2]", "no names with values"),
        ("format: 2", "no 'format: 1'"),
        ("{" * 5000, "project.yaml"),
        ("format: 1\nname: a", "is no uuid"),
        (f"format: 1\nname: ../../x\nuuid: {_UUID}", "'../../x' is no name"),
        (f"format: 1\nname: a\nuuid: {_UUID}\nscenes: x", "'scenes' is no list"),
        (f"format: 1\nname: a\nuuid: {_UUID}\nscenes: [x]", "a scene is no map"),
        (f"format: 1\nname: a\nuuid: {_UUID}\ncolour: red", "cannot have 'colour'"),
        (f"format: 1\nname: a\nuuid: {_UUID}\nfolder: 7", "put it in quotes"),
        (
            f"format: 1\nname: a\nuuid: {_UUID}\nmacros: [{{name: m, uuid: {_OTHER}}}]",
            "macro 'm' has no file macros/m.py",
        ),
        (
            f"{_HEAD}macros:\n- name: m\n  uuid: {_UUID}",
            "line 5: macro 'm' has the uuid of what is on line 1",
        ),
        (f"{_HEAD}macros: []\nscenes: []\nmacros: []", "line 6: 'macros' .* is on line 4 already"),
        (f"{_HEAD}scense: []", r"x/project\.yaml, line 4: .* - did you mean 'scenes'\?"),
        (f"{_HEAD}foldr: b", r"x/project\.yaml, line 4: .* - did you mean 'folder'\?"),
        (f"{_HEAD}servers:\n- name: a\n  uuid: {_OTHER}\n  hosts: b", "line 7: .*mean 'host'"),
        (f"{_HEAD}folder: [a]", "line 4: 'folder' is no text"),
        (f"{_HEAD}folder:", "line 4: 'folder': '' is null, not text"),
        ('format: !!int ""', "line 1: a tag"),
        (f"{_HEAD}folder: !!timestamp x", "line 4: a tag"),
        (f"{_HEAD}folder: !!bool x", "line 4: a tag"),
        (f"{_HEAD}? [a]\n: b", "line 4: a project cannot have ''"),
        (f"{_HEAD}name: [", "line 5: "),
        (f"{_HEAD}folder: \x07", "control characters are not allowed"),
        ("", "it is empty"),
    ],
)
def test_B9_index_that_is_none_is_refused(index: str, reason: str) -> None:
    with pytest.raises((BadInputError, LimitExceededError), match=reason):
        from_files({"project.yaml": index.encode()}, name="x")


def test_B9_list_longer_than_a_project_is_refused() -> None:
    index = _HEAD + "macros:\n" + "- {}\n" * 200_000
    with pytest.raises(LimitExceededError, match="more than a project can"):
        from_files({"project.yaml": index.encode()}, name="x")


def test_B9_archive_of_which_one_byte_was_changed_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pkproject"
    write_archive(to_files(example()), path)
    good = path.read_bytes()
    refused = 0
    for position in range(0, len(good), 3):
        changed = bytearray(good)
        changed[position] ^= 0xFF
        path.write_bytes(changed)
        try:
            from_files(read_files(path), name=str(path))
        except (BadInputError, LimitExceededError):
            refused += 1
    assert refused > len(good) / 6


def test_B9_text_that_is_none_is_refused_with_its_file(exported: Path) -> None:
    (exported / "scenes" / "Main.svg").write_text("<html/>")
    with pytest.raises(BadConfigurationError, match=r"scenes/Main\.svg: scene 'Main', line 1: "):
        from_files(read_files(exported), name="x")


def test_B9_archive_with_two_files_of_one_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pkproject", "w") as archive:
        archive.writestr("project.yaml", "x")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("project.yaml", "x")
    with pytest.raises(BadConfigurationError, match=r"'project\.yaml' twice"):
        read_files(tmp_path / "a.pkproject")


def test_B9_directory_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfigurationError, match="there is no such file"):
        from_files(read_files(tmp_path))
    (tmp_path / "text").write_text("x")
    with pytest.raises(BadConfigurationError, match="is no exported project"):
        read_files(tmp_path / "text")
