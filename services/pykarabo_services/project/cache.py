"""Copies of projects that were loaded, to read where the project store cannot be reached."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pykarabo.errors import LimitExceededError, PykaraboError
from pykarabo.transport import cache_directory

from .files import ARCHIVE_SUFFIX, from_files, read_files, to_files, write_archive
from .model import Item, check_uuid
from .trees import below, resolve

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeptProject:
    """A project as it was when it was loaded last, in ns since 1970."""

    items: list[Item]
    loaded_ns: int

    @property
    def uuid(self) -> str:
        """Of the project."""
        return self.items[0].uuid

    @property
    def place(self) -> tuple[str, str]:
        """Its folder and name."""
        return self.items[0].attributes.get("folder", ""), self.items[0].name


class ProjectCache:
    """Copies of projects that were loaded, to read where the store cannot be reached."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = cache_directory() / "projects" if folder is None else folder

    def keep(self, items: Sequence[Item]) -> None:
        """Keep a copy; where none can be written, or it would be too large, there is none."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_archive(to_files(items), self._path(items[0].uuid))
        except (OSError, LimitExceededError) as error:
            _log.info("no copy of project '%s' is kept: %s", items[0].name, error)

    def _path(self, uuid: str) -> Path:
        return self._folder / f"{check_uuid(uuid)}{ARCHIVE_SUFFIX}"

    def kept(self) -> list[KeptProject]:
        """Return all copies that can be read, by folder and name; warn of the others."""
        found: list[KeptProject] = []
        for path in sorted(self._folder.glob(f"*{ARCHIVE_SUFFIX}")):
            try:
                items = from_files(read_files(path), name=str(path))[0]
                found.append(KeptProject(items, path.stat().st_mtime_ns))
            except PykaraboError as error:
                _log.warning("a copy is left out: %s", error.message)
                _log.warning("load its project again, or remove %s", path)
        return sorted(found, key=lambda kept: kept.place)

    def load(self, project: str) -> KeptProject:
        """Return the copy of a project, by uuid, name or FOLDER/NAME.

        Raises:
            UnknownItemError: none was kept.
        """
        kept = {found.uuid: found for found in self.kept()}
        return kept[_resolved(project, kept)]

    def load_all(self, project: str) -> tuple[KeptProject, dict[str, list[Item]]]:
        """Return the copy of a project and, by their uuids, those of all below it that were kept.

        Raises:
            UnknownItemError: none was kept of the project itself.
        """
        kept = {found.uuid: found for found in self.kept()}
        outer = kept[_resolved(project, kept)]
        others: dict[str, list[Item]] = {}
        waiting = below(outer.items)
        while waiting:
            uuid = waiting.pop()
            if uuid in kept and uuid not in others and uuid != outer.uuid:
                others[uuid] = kept[uuid].items
                waiting += below(others[uuid])
        return outer, others


def _resolved(project: str, kept: Mapping[str, KeptProject]) -> str:
    return resolve(project, {uuid: found.place for uuid, found in kept.items()})
