"""Projects as files: a directory that people read and git compares, or all of it in one archive.

A directory holds ``project.yaml``, which lists the items in their order, and one file per text::

    project.yaml
    scenes/<name>.svg
    macros/<name>.py
    configurations/<device>/<name>.json
    subprojects/<name>/project.yaml ...

Versions, times and users stay in the store: a project that nobody has changed gives the same bytes.
Whoever reads such files makes up the paths from the names himself, never follows one that is given,
and takes no link, so that nothing outside of the directory is read.
"""

import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pykarabo.errors import BadConfigurationError, LimitExceededError, WrongTypeError

from ._contents import checked
from .model import MAX_TEXT, Item, Kind, check_uuid, in_tree_order

FORMAT: Final = 1
INDEX: Final = "project.yaml"
ARCHIVE_SUFFIX: Final = ".pkproject"
MAX_FILES: Final = 20_000
MAX_TOTAL: Final = 512 * 2**20
"""Bytes of all texts of one project with its subprojects."""
MAX_DEPTH: Final = 8
"""Subprojects inside each other."""
_FOLDERS: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.SCENE: ("scenes", ".svg"),
    Kind.MACRO: ("macros", ".py"),
    Kind.CONFIGURATION: ("configurations", ".json"),
}
_LISTS: Final[Mapping[Kind, str]] = {
    Kind.SUBPROJECT: "subprojects",
    Kind.SCENE: "scenes",
    Kind.MACRO: "macros",
    Kind.SERVER: "servers",
    Kind.DEVICE: "devices",
    Kind.CONFIGURATION: "configurations",
}
_QUOTED: Final = frozenset('%~"*:<>?|')
"""Characters that some systems of files mind, and those that stand for others."""
_MAX_FILE_NAME: Final = 200
"""Bytes; with a suffix it is less than the 255 that a directory takes."""
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)

Files = dict[str, bytes]


def file_name(name: str) -> str:
    """Return a name as part of a path: ``A/B`` becomes ``A~B``; two names never become one."""
    plain = "".join(f"%{ord(sign):02X}" if sign in _QUOTED else sign for sign in name)
    path = plain.replace("/", "~")
    if len(path.encode()) <= _MAX_FILE_NAME:
        return path
    return f"{path[: _MAX_FILE_NAME // 8]}%{hashlib.sha256(name.encode()).hexdigest()[:16]}"


# -- writing ------------------------------------------------------------------------------------


def to_files(items: Sequence[Item], others: Mapping[str, Sequence[Item]] | None = None) -> Files:
    """Return the files of a project whose items have their texts.

    Args:
        others: items of its subprojects, by their uuids; those that are missing stay references.
    """
    files: Files = {}
    _add_project(files, "", items, dict(others or {}))
    return files


def _add_project(
    files: Files, folder: str, items: Sequence[Item], others: dict[str, Sequence[Item]]
) -> None:
    ordered = in_tree_order(items)
    root = ordered[0]
    index: dict[str, Any] = {"format": FORMAT, **_entry(root, ordered)}
    files[f"{folder}{INDEX}"] = _to_yaml(index)
    for item in ordered:
        path = _text_path(item, ordered)
        if path is not None and item.text is not None:
            files[f"{folder}{path}"] = (checked(item).text or "").encode()
        if item.kind is Kind.SUBPROJECT and item.attributes["project"] in others:
            inner = others.pop(item.attributes["project"])
            _add_project(files, f"{folder}subprojects/{file_name(item.name)}/", inner, others)


def _entry(item: Item, items: Sequence[Item]) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": item.name, "uuid": item.uuid}
    attributes = {name: value for name, value in item.attributes.items() if value}
    active = attributes.pop("active", None)
    entry |= dict(sorted(attributes.items()))
    if active is not None:
        entry["active"] = next(other.name for other in items if other.uuid == active)
    for kind, name in _LISTS.items():
        inner = [_entry(c, items) for c in items if c.parent == item.uuid and c.kind is kind]
        if inner:
            entry[name] = inner
    return entry


def _text_path(item: Item, items: Sequence[Item]) -> str | None:
    if item.kind not in _FOLDERS:
        return None
    folder, suffix = _FOLDERS[item.kind]
    if item.kind is Kind.CONFIGURATION:
        device = next(other for other in items if other.uuid == item.parent)
        folder = f"{folder}/{file_name(device.name)}"
    return f"{folder}/{file_name(item.name)}{suffix}"


def _to_yaml(index: Mapping[str, Any]) -> bytes:
    import yaml

    return yaml.safe_dump(dict(index), sort_keys=False, allow_unicode=True, width=100).encode()


def write_directory(files: Files, folder: Path) -> None:
    """Bring files into a directory that is empty or holds an earlier export; remove what is gone.

    Raises:
        BadConfigurationError: there is something else in the directory.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / INDEX).is_file():
        raise BadConfigurationError(
            f"{folder} is not empty and holds no exported project",
            remedy="name another directory",
        )
    earlier = _earlier_files(folder) if (folder / INDEX).is_file() else set[str]()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != content:
            part = path.with_name(f".{path.name}.part")
            part.write_bytes(content)
            part.replace(path)
    for name in earlier - set(files):
        (folder / name).unlink(missing_ok=True)


def _earlier_files(folder: Path) -> set[str]:
    """Return the files that an earlier export has written, and nothing else there."""
    found = from_files(read_files(folder), name=str(folder))
    others = {items[0].uuid: items for items in found[1:]}
    return set(to_files(found[0], others))


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
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadConfigurationError(
            f"{path} is no exported project: {reason}",
            remedy="name a directory or an archive that was written by pykarabo project export",
        ) from None


def _bounded(files: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    total = 0
    for number, (name, content) in enumerate(files, 1):
        total += len(content)
        if number > MAX_FILES or total > MAX_TOTAL:
            raise LimitExceededError(
                f"more than {MAX_FILES} files or {MAX_TOTAL >> 20} MiB",
                remedy="export the subprojects one by one",
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
        return _limited(file.read(MAX_TEXT + 1), str(path))


def _limited(content: bytes, name: str) -> bytes:
    if len(content) > MAX_TEXT:
        raise LimitExceededError(f"{name} has more than {MAX_TEXT} bytes", remedy="make it smaller")
    return content


def _archive_files(path: Path, archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    for info in archive.infolist():
        parts = info.filename.split("/")
        if info.filename.startswith("/") or ".." in parts or "\\" in info.filename:
            raise BadConfigurationError(
                f"{path} holds '{info.filename[:100]}', which leads outside of it",
                remedy="take no archives from strangers",
            )
        if not info.is_dir():
            with archive.open(info) as file:
                yield info.filename, _limited(file.read(MAX_TEXT + 1), info.filename)


def from_files(files: Mapping[str, bytes], *, name: str = "") -> list[list[Item]]:
    """Return the items of a project and of those below it, the outer one first.

    Args:
        name: of the directory or archive, for errors.

    Raises:
        BadConfigurationError: names the file and what is wrong in it.
    """
    found: list[list[Item]] = []
    _read_project(files, "", name, found)
    return found


def _read_project(
    files: Mapping[str, bytes], folder: str, name: str, found: list[list[Item]]
) -> None:
    if folder.count("subprojects/") > MAX_DEPTH:
        raise LimitExceededError(
            f"more than {MAX_DEPTH} subprojects inside each other", remedy="export them apart"
        )
    reader = _Reader(files, folder, name)
    items = reader.read()
    found.append(items)
    for item in items:
        inner = f"{folder}subprojects/{file_name(item.name)}/"
        if item.kind is Kind.SUBPROJECT and f"{inner}{INDEX}" in files:
            _read_project(files, inner, name, found)


class _Reader:
    """Reads one project.yaml, and the texts that belong to it."""

    def __init__(self, files: Mapping[str, bytes], folder: str, name: str) -> None:
        self._files = files
        self._folder = folder
        self._name = name
        self._items: list[Item] = []

    def read(self) -> list[Item]:
        index = self._index()
        if index.pop("format", None) != FORMAT:
            raise self._wrong(f"it has no 'format: {FORMAT}'", "install a newer pykarabo")
        self._add(index, Kind.PROJECT, "", 0)
        return [self._with_text(item) for item in self._items]

    def _wrong(self, problem: str, remedy: str) -> BadConfigurationError:
        place = f"{self._name}/{self._folder}{INDEX}".lstrip("/")
        return BadConfigurationError(f"{place}: {problem}", remedy=remedy)

    def _index(self) -> dict[str, Any]:
        import yaml

        content = self._files.get(f"{self._folder}{INDEX}")
        if content is None:
            raise self._wrong("there is no such file", "name an exported project")
        try:
            index = yaml.load(content, _plain_loader())  # noqa: S506 - a SafeLoader
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            problem = " ".join(str(error).split())
            raise self._wrong(problem[:300] or "it is no YAML", "correct it there") from None
        if not isinstance(index, dict):
            raise self._wrong("it holds no names with values", "export the project again")
        return {str(key): value for key, value in index.items()}

    def _add(self, entry: object, kind: Kind, parent: str, position: int) -> str:
        if not isinstance(entry, dict):
            raise self._wrong(f"a {kind} is no map of names and values", "correct it there")
        data = {str(key): value for key, value in entry.items()}
        lists = {inner: data.pop(_LISTS[inner], []) for inner in _LISTS}
        active = data.pop("active", None)
        try:
            item = Item(
                uuid=check_uuid(data.pop("uuid", None)),
                kind=kind,
                name=_as_text(data.pop("name", None)),
                parent=parent,
                position=position,
                attributes={name: _as_text(value) for name, value in data.items()},
            )
        except WrongTypeError as error:
            raise self._wrong(f"a {kind}: {error.message}", error.remedy or "") from None
        place = len(self._items)
        self._items.append(item)
        for inner, entries in lists.items():
            if not isinstance(entries, list):
                raise self._wrong(f"'{_LISTS[inner]}' is no list", "begin each entry with '-'")
            for number, child in enumerate(entries):
                self._add(child, inner, item.uuid, number)
        if active is not None:
            self._items[place] = self._with_active(item, _as_text(active))
        return item.uuid

    def _with_active(self, device: Item, name: str) -> Item:
        for item in self._items:
            if item.parent == device.uuid and item.name == name:
                attributes = {**device.attributes, "active": item.uuid}
                return replace(device, attributes=attributes)
        raise self._wrong(
            f"'{device.name}' has no configuration '{name}', which is to be active",
            "name one of its configurations",
        )

    def _with_text(self, item: Item) -> Item:
        path = _text_path(item, self._items)
        if path is None:
            return item
        content = self._files.get(f"{self._folder}{path}")
        if content is None:
            raise self._wrong(f"{item.kind} '{item.name}' has no file {path}", "put it there")
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise self._wrong(f"{path} is no text in UTF-8", "correct it there") from None
        return checked(replace(item, text=text, size=len(content)))


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise WrongTypeError(
        f"{str(value)[:64]!r} is {type(value).__name__}, not text", remedy="put it in quotes"
    )


def _plain_loader() -> Any:
    """Return a loader for plain data without aliases, which can make much out of little."""
    import yaml

    class PlainLoader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    "an alias ('*name')",
                    self.peek_event().start_mark,  # type: ignore[no-untyped-call]
                )
            return super().compose_node(parent, index)

    return PlainLoader
