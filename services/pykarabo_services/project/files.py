"""Projects as files: a directory that people read and git compares, or all of it in one archive.

A directory holds ``project.yaml``, which lists the items in their order, and one file per text::

    project.yaml
    exported.txt
    scenes/<name>.svg
    macros/<name>.py
    configurations/<device>/<name>.json
    subprojects/<name>/project.yaml ...

Where two servers have a device of one name, its configurations lie in ``<device>@<server>``.

Versions, times and users stay in the store: a project that nobody has changed gives the same bytes.
Whoever reads such files makes up the paths from the names himself, never follows one that is given,
and takes no link, so that nothing outside of the directory is read.
"""

import hashlib
import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final

from pykarabo.errors import BadConfigurationError, BadInputError, LimitExceededError

from ._contents import checked
from ._index import INDEX, read_index, write_index
from .exported import EXPORTED, Fingerprints, read_exported, write_exported
from .model import MAX_TEXT, Item, Kind
from .trees import in_tree_order

ARCHIVE_SUFFIX: Final = ".pkproject"
MAX_FILES: Final = 20_000
MAX_TOTAL: Final = 512 * 2**20
"""Bytes of all texts of one project with its subprojects."""
MAX_LIST: Final = 64 * 2**20
"""Bytes of a list of items; with all that ten thousand may be described with it stays below."""
MAX_DEPTH: Final = 8
"""Subprojects inside each other."""
_FOLDERS: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.SCENE: ("scenes", ".svg"),
    Kind.MACRO: ("macros", ".py"),
    Kind.CONFIGURATION: ("configurations", ".json"),
}
_QUOTED: Final = frozenset('%~"*:<>?|')
"""Characters that some systems of files mind, and those that stand for others."""
_MAX_FILE_NAME: Final = 200
"""Bytes; with a suffix it is less than the 255 that a directory takes."""
_LISTS: Final = frozenset({INDEX, EXPORTED})
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_DAMAGE: Final = (
    *(zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError, ValueError),
    *(IndexError, OverflowError, zlib.error, lzma.LZMAError, struct.error),
)
"""What reading an archive raises that is none, or of which a byte was changed."""

Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class ExportedProject:
    """A project in an export.

    Args:
        folder: where in the export it lies; empty for the outer one.
        items: with their texts.
    """

    folder: str
    items: list[Item]


def file_name(name: str) -> str:
    """Return a name as part of a path: ``A/B`` becomes ``A~B``; two names never become one."""
    plain = "".join(f"%{ord(sign):02X}" if sign in _QUOTED else sign for sign in name)
    path = plain.replace("/", "~")
    if len(path.encode()) <= _MAX_FILE_NAME:
        return path
    return f"{path[: _MAX_FILE_NAME // 8]}%{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _text_paths(items: Sequence[Item], *, with_server: bool = True) -> dict[str, str]:
    """Return the paths of the items that have texts, by uuid.

    Args:
        with_server: tell devices of one name on several servers apart; earlier exports did not.
    """
    by_uuid = {item.uuid: item for item in items}
    numbers = Counter(item.name for item in items if item.kind is Kind.DEVICE)
    paths: dict[str, str] = {}
    for item in items:
        if item.kind not in _FOLDERS:
            continue
        folder, suffix = _FOLDERS[item.kind]
        if item.kind is Kind.CONFIGURATION:
            device = by_uuid[item.parent]
            owner = device.name
            if with_server and numbers[owner] > 1:
                owner += f"@{by_uuid[device.parent].name}"
            folder += f"/{file_name(owner)}"
        paths[item.uuid] = f"{folder}/{file_name(item.name)}{suffix}"
    return paths


def _check_depth(folder: str, name: str) -> None:
    if folder.count("/") > 2 * MAX_DEPTH:
        raise LimitExceededError(
            f"{name}: more than {MAX_DEPTH} subprojects inside each other",
            remedy="export them apart, each with --alone",
        )


def _inner_folder(folder: str, subproject: Item) -> str:
    return f"{folder}subprojects/{file_name(subproject.name)}/"


# -- writing ------------------------------------------------------------------------------------


def to_files(items: Sequence[Item], others: Mapping[str, Sequence[Item]] | None = None) -> Files:
    """Return the files of a project whose items have their texts.

    Args:
        others: items of its subprojects, by their uuids; those that are missing stay references.

    Raises:
        LimitExceededError: it is more than can be read again.
    """
    files: Files = {}
    _add_project(files, "", items, dict(others or {}))
    return dict(_bounded(iter(files.items())))


def _add_project(
    files: Files, folder: str, items: Sequence[Item], others: dict[str, Sequence[Item]]
) -> None:
    ordered = [checked(item) for item in in_tree_order(items)]
    _check_depth(folder, f"project '{ordered[0].name}'")
    paths = _text_paths(ordered)
    _add_file(files, f"{folder}{INDEX}", write_index(ordered))
    _add_file(files, f"{folder}{EXPORTED}", write_exported(ordered))
    for item in ordered:
        if item.uuid in paths and item.text is not None:
            _add_file(files, f"{folder}{paths[item.uuid]}", item.text.encode())
        if item.kind is Kind.SUBPROJECT and item.attributes["project"] in others:
            inner = others.pop(item.attributes["project"])
            _add_project(files, _inner_folder(folder, item), inner, others)


def _add_file(files: Files, path: str, content: bytes) -> None:
    if path in files:
        raise BadConfigurationError(
            f"two items would be written to {path}", remedy="give one of them another name"
        )
    files[path] = content


def write_directory(files: Files, folder: Path) -> list[str]:
    """Bring files into a directory that is empty or holds an earlier export; remove what is gone.

    Returns the folders of subprojects that were left as they are, because the project refers to
    them and they were not exported with it.

    Raises:
        BadConfigurationError: there is something else in the directory.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / INDEX).is_file():
        raise BadConfigurationError(
            f"{folder} is not empty and holds no exported project",
            remedy="name another directory",
        )
    gone, left = _superseded(files, folder) if (folder / INDEX).is_file() else ([], [])
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, content)
    for name in gone:
        (folder / name).unlink(missing_ok=True)
    return left


def _write(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        part.replace(path)


def note_imported(folder: Path, projects: Sequence[ExportedProject]) -> None:
    """Note in a directory that the store is now what its files say."""
    for project in projects:
        _write(folder / project.folder / EXPORTED, write_exported(project.items))


def _superseded(files: Files, folder: Path) -> tuple[list[str], list[str]]:
    """Return what an earlier export has written and is gone now, and what stays unexported."""
    present = dict(_directory_files(folder))
    left = [
        inner
        for place, items in _outlines(files, str(folder))
        for item in items
        if item.kind is Kind.SUBPROJECT
        and f"{(inner := _inner_folder(place, item))}{INDEX}" not in files
        and f"{inner}{INDEX}" in present
    ]
    written: set[str] = set()
    for place, items in _outlines(present, str(folder)):
        paths = {*_text_paths(items).values(), *_text_paths(items, with_server=False).values()}
        written |= {f"{place}{path}" for path in (INDEX, EXPORTED, *paths)}
    gone = written & set(present) - set(files)
    return [name for name in gone if not name.startswith(tuple(left))], left


def write_archive(files: Files, path: Path) -> None:
    """Bring files into one archive, a zip; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(buffer.getvalue())
    part.replace(path)


# -- reading ------------------------------------------------------------------------------------


def read_files(path: Path) -> Files:
    """Return the files of an exported project, from its directory or its archive.

    Raises:
        BadConfigurationError: it is none, or leads outside of itself.
        LimitExceededError: it is larger than a project can be.
    """
    if path.is_dir():
        return dict(_bounded(_directory_files(path)))
    try:
        with zipfile.ZipFile(path) as archive:
            return dict(_bounded(_archive_files(path, archive)))
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadConfigurationError(
            f"{path} is no exported project: {reason}",
            remedy="name a directory or an archive that was written by pykarabo project export; "
            "take a damaged one from a copy, or export again",
        ) from None


def _bounded(files: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    total = 0
    for number, (name, content) in enumerate(files, 1):
        total += len(content)
        if number > MAX_FILES or total > MAX_TOTAL:
            raise LimitExceededError(
                f"more than {MAX_FILES} files or {MAX_TOTAL >> 20} MiB",
                remedy="divide the project, or export each of its subprojects with --alone",
            )
        yield name, content


def _directory_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for parent, names, files in os.walk(folder):  # which follows no links
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent) / name
            if not name.startswith("."):
                yield path.relative_to(folder).as_posix(), _read_plain(path)


def _read_plain(path: Path) -> bytes:
    """Read a file that is no link, no device, and not too large."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BadConfigurationError(
            f"{path} cannot be read: {error.strerror}", remedy="put a plain file there"
        ) from None
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise BadConfigurationError(f"{path} is no file", remedy="remove it")
        return _limited(file, str(path))


def _limited(file: IO[bytes], name: str) -> bytes:
    most = MAX_LIST if Path(name).name in _LISTS else MAX_TEXT
    content = file.read(most + 1)
    if len(content) > most:
        raise LimitExceededError(f"{name} has more than {most} bytes", remedy="make it smaller")
    return content


def _archive_files(path: Path, archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    for info in archive.infolist():
        parts = info.filename.split("/")
        if info.filename.startswith("/") or ".." in parts or "\\" in info.filename:
            raise BadConfigurationError(
                f"{path} holds '{info.filename[:100]}', which leads outside of it",
                remedy="take no archives from strangers",
            )
        if info.filename in seen:
            raise BadConfigurationError(
                f"{path} holds '{info.filename[:100]}' twice", remedy="export the project again"
            )
        seen.add(info.filename)
        if not info.is_dir():
            with archive.open(info) as file:
                yield info.filename, _limited(file, info.filename)


def from_files(files: Mapping[str, bytes], *, name: str = "") -> list[list[Item]]:
    """Return the items of a project and of those below it, the outer one first.

    Args:
        name: of the directory or archive, for errors.

    Raises:
        BadInputError: names the file and what is wrong in it.
        LimitExceededError: it holds more than a project can.
    """
    return [project.items for project in projects_in(files, name=name)]


def projects_in(files: Mapping[str, bytes], *, name: str = "") -> list[ExportedProject]:
    """Return a project and those below it, the outer one first; `from_files` with their places."""
    return [
        ExportedProject(folder, _with_texts(files, folder, name, items))
        for folder, items in list(_outlines(files, name))
    ]


def exported_in(
    files: Mapping[str, bytes], project: ExportedProject, *, name: str = ""
) -> Fingerprints | None:
    """Return what a project was when it was exported; None where nothing tells.

    Raises:
        BadConfigurationError: what should tell it is broken.
    """
    content = files.get(f"{project.folder}{EXPORTED}")
    place = _place(name, project.folder, EXPORTED)
    return None if content is None else read_exported(content, place)


def _outlines(files: Mapping[str, bytes], name: str) -> Iterator[tuple[str, list[Item]]]:
    """Yield the folder and the items, without texts, of a project and of those below it."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        _check_depth(folder, name)
        content = files.get(f"{folder}{INDEX}")
        if content is None:
            raise BadConfigurationError(
                f"{_place(name, folder)}: there is no such file", remedy="name an exported project"
            )
        items = read_index(content, _place(name, folder))
        yield folder, items
        inner = [_inner_folder(folder, item) for item in items if item.kind is Kind.SUBPROJECT]
        waiting += [place for place in reversed(inner) if f"{place}{INDEX}" in files]


def _place(name: str, folder: str, file: str = INDEX) -> str:
    return f"{name}/{folder}{file}" if name else f"{folder}{file}"


def _with_texts(
    files: Mapping[str, bytes], folder: str, name: str, items: Sequence[Item]
) -> list[Item]:
    """Return a project's items with the texts that belong to them."""
    paths = _text_paths(items)
    earlier = _text_paths(items, with_server=False)
    numbers = Counter(earlier.values())

    def with_text(item: Item) -> Item:
        path = paths.get(item.uuid)
        if path is None:
            return item
        former = earlier[item.uuid]
        if f"{folder}{path}" not in files and numbers[former] == 1:
            path = former
        content = files.get(f"{folder}{path}")
        if content is None:
            raise _no_text(item, _place(name, folder), path, former)
        place = _place(name, folder, path)
        try:
            return checked(replace(item, text=content.decode(), size=len(content)))
        except UnicodeDecodeError:
            raise BadConfigurationError(
                f"{place} is no text in UTF-8", remedy="correct it there"
            ) from None
        except (BadInputError, LimitExceededError) as error:
            error.message = f"{place}: {error.message}"
            raise

    return [with_text(item) for item in items]


def _no_text(item: Item, index: str, path: str, former: str) -> BadConfigurationError:
    problem, remedy = f"{index}: {item.kind} '{item.name}' has no file {path}", "put it there"
    if former != path:
        remedy += (
            f"; {former} of an earlier export is not used, since it may be that of the other "
            "server's device"
        )
    return BadConfigurationError(problem, remedy=remedy)
