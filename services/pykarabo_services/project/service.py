"""The project store: a device that keeps the projects of its domain."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any, Final

from pykarabo.data import AccessLevel, State, String, UInt32, UInt64, VectorString
from pykarabo.device import Device, Event, command
from pykarabo.errors import (
    BadConfigurationError,
    BadInputError,
    ChangedMeanwhileError,
    DatabaseError,
    DiskFullError,
    LimitExceededError,
)
from pykarabo.transport import Caller
from pykarabo_services.project._staging import Staging
from pykarabo_services.project.model import (
    MAX_ITEMS,
    TEXTS,
    Author,
    Changes,
    Item,
    Kind,
    ProjectStorage,
    Saved,
    check_uuid,
)

REPLY_BYTES: Final = 4 * 2**20
"""Texts or rows in one answer: half of a message, since a text of as much must fit in its frame."""
REPLY_ROWS: Final = 3_000
"""In one answer: a message holds a hundred thousand values, an item has up to twenty."""
_MAX_AUTHOR: Final = 128
_TOLD: Final = 100
"""Uuids that an event names; who gets more loads the project again."""


class ProjectStore(Device):
    """Keeps projects for everybody, and tells everybody what is changed.

    Whoever saves names the versions that he has read; what somebody else has saved meanwhile is
    never overwritten unless he says so.
    """

    initialize_timeout_s = 25.0
    """Libraries for databases are large, and a loaded server takes seconds to make tables."""

    database = String(read_only=True, description="Where the projects are.")
    projects = UInt32(read_only=True, description="Projects that are not in the trash.")
    saves = UInt64(read_only=True, description="Saves since the start.")
    conflicts = UInt64(
        read_only=True, description="Saves refused because somebody else was faster."
    )
    changed = Event(
        project=String(description="Uuid of the project."),
        items=VectorString(description="Uuids of the items that were saved or removed."),
        what=String(description="saved, trashed, restored or created."),
        by=String(description="Who did it."),
        description="Somebody has changed a project.",
    )

    async def open_storage(self, tell: Callable[[str, str], None]) -> ProjectStorage:
        """Return where projects are kept; `main` says how.

        Args:
            tell: to be called with the place and what is wrong with it whenever that changes.
        """
        raise NotImplementedError(str(tell))

    async def close_storage(self) -> None:
        """Close what `open_storage` has opened."""

    async def on_initialize(self) -> None:
        """Open the storage."""
        self._staging = Staging()
        self._storage = await self.open_storage(self._show_health)
        await self._count()

    async def on_stop(self) -> None:
        """Close the storage."""
        await self.close_storage()

    def _show_health(self, place: str, problem: str) -> None:
        state = State.ERROR if problem else State.ON
        self.set_values({"database": place, "state": state, "status": problem})
        if not problem and self.is_initialized:
            self.spawn(self._count(), name="counting")

    async def _count(self) -> None:
        """Show how many projects there are, if the database can tell now."""
        try:
            self.projects = len(await self._storage.projects())
        except (DatabaseError, DiskFullError) as error:
            self.log.warning("the projects cannot be counted: %s", error)

    def _author(self) -> Author:
        """Return who calls, as people know him."""
        caller = self.caller
        if caller is None:
            return Author(self.device_id, self.clock.time_ns())
        host, _pid, user, _program = caller.identity
        name = f"{caller.granted.user or user}@{host}"
        if caller.name != Caller.of(caller.identity).name:
            name += f" through {caller.name}"
        return Author(name[:_MAX_AUTHOR], self.clock.time_ns())

    # Reading

    @command(access_level=AccessLevel.OBSERVER, idempotent=True)
    async def folders(self) -> list[str]:
        """Return the folders that projects lie in."""
        return sorted({record.folder for record in await self._storage.projects()})

    @command(access_level=AccessLevel.OBSERVER, idempotent=True)
    async def list_projects(
        self, folder: str = "", name: str = "*", trashed: bool = False, after: str = ""
    ) -> dict[str, Any]:
        """Return the projects whose name matches, in a folder and below it; or those in the trash.

        Each with uuid, name, folder, who saved something of it last and when, and how many items.

        Returns ``projects``, as many as one answer can hold, and ``next``: call again with that as
        `after`; empty where all have come.
        """
        found = [
            record
            for record in await self._storage.projects(trashed=trashed)
            if fnmatchcase(record.name, name)
            and (not folder or f"{record.folder}/".startswith(f"{folder}/"))
        ]
        rows, following = _page([(record.key(), asdict(record)) for record in found], after)
        return {"projects": rows, "next": following}

    @command(access_level=AccessLevel.OBSERVER, idempotent=True)
    async def load_project(self, project: str, start: int = 0) -> dict[str, Any]:
        """Return a project's items, each behind the one it lies in; without their texts.

        Returns ``items``, as many as one answer can hold, and ``next``: call again with that as
        `start`; 0 where all have come. Of a project that was changed in between comes another
        ``state``: load it from its beginning then.
        """
        start = max(start, 0)
        items = await self._storage.items(check_uuid(project))
        wires = [item.to_wire() for item in items[start:]]
        number = _fitting(wires)
        following = start + number
        if not start:
            await self._note_loaded(project)
        return {
            "items": wires[:number],
            "next": following if following < len(items) else 0,
            "state": _state_of(items),
        }

    async def _note_loaded(self, project: str) -> None:
        try:
            await self._storage.note_loaded(project, at_ns=self.clock.time_ns())
        except (DatabaseError, DiskFullError) as error:
            # One reads on where nothing can be written.
            self.log.warning("that %s was loaded cannot be noted: %s", project, error)

    @command(access_level=AccessLevel.OBSERVER, idempotent=True)
    async def load_texts(self, items: list[str]) -> dict[str, Any]:
        """Return the first of the texts that were asked for, as many as one answer can hold.

        Each with the ``version`` of its item. Ask again for those that are missing. One scene can
        be loaded without its project.
        """
        if len(items) > MAX_ITEMS:
            raise BadConfigurationError(
                f"{len(items)} texts at once", remedy=f"ask for {MAX_ITEMS} at most"
            )
        uuids = [check_uuid(item) for item in items]
        texts = await self._storage.texts(uuids, max_bytes=REPLY_BYTES)
        return {uuid: text._asdict() for uuid, text in texts.items()}

    @command(access_level=AccessLevel.OBSERVER, idempotent=True)
    async def find_items(  # noqa: PLR0917 - named by whoever calls
        self,
        device: str = "",
        server: str = "",
        macro: str = "",
        scene: str = "",
        class_id: str = "",
        after: str = "",
    ) -> dict[str, Any]:
        """Return the items whose names match one of these patterns, and the projects they are in.

        With a class only devices of it. Returns ``items``, as many as one answer can hold, and
        ``next``: call again with that as `after`; empty where all have come.
        """
        given = {Kind.DEVICE: device, Kind.SERVER: server, Kind.MACRO: macro, Kind.SCENE: scene}
        patterns = {kind: pattern for kind, pattern in given.items() if pattern}
        if not patterns and not class_id:
            raise BadConfigurationError(
                "nothing to look for", remedy="give a pattern for device, server, macro or scene"
            )
        found = await self._storage.find(patterns, class_id=class_id)
        wires = [(match.key(), asdict(match) | {"kind": str(match.kind)}) for match in found]
        rows, following = _page(wires, after)
        return {"items": rows, "next": following}

    # Changing

    @command()
    async def stage_changes(self, token: str, changes: dict[str, Any]) -> None:
        """Send a part of a save that is too large for one message; `save_changes` ends it."""
        author = self._author()
        self._staging.add(author.name, token, Changes.from_wire(changes), self.clock.monotonic_ns())

    @command()
    async def save_changes(
        self, changes: dict[str, Any], token: str = "", overwrite: bool = False
    ) -> dict[str, Any]:
        """Save items, remove items, put items in order: all of it or nothing.

        Args:
            changes: what was changed, each item with the version that was read.
            token: of the parts that were staged before.
            overwrite: also what somebody else has saved meanwhile.

        Returns the new versions, by uuid.
        """
        author = self._author()
        given = Changes.from_wire(changes)
        if token:
            given = self._staging.take(author.name, token, self.clock.monotonic_ns()) + given
        saved = await self._save(given, author, overwrite=overwrite)
        new = {item.uuid for item in given.items if item.kind is Kind.PROJECT and not item.version}
        for project in saved.projects:
            what = "created" if project in new else "saved"
            self._tell(project, [*saved.versions, *given.removed], what, author)
        if new:
            await self._count()
        return dict(saved.versions)

    async def _save(self, changes: Changes, author: Author, *, overwrite: bool) -> Saved:
        try:
            saved = await self._storage.save(changes, author, overwrite=overwrite)
        except ChangedMeanwhileError:
            self.conflicts += 1
            raise
        self.saves += 1
        return saved

    @command()
    async def trash_project(self, project: str) -> None:
        """Put a project into the trash; nothing of it is lost."""
        author = self._author()
        await self._storage.set_trashed(check_uuid(project), author, trashed=True)
        self._tell(project, [], "trashed", author)
        await self._count()

    @command()
    async def restore_project(
        self, project: str, name: str | None = None, folder: str | None = None
    ) -> None:
        """Take a project out of the trash; to another name or folder where its own is taken."""
        author = self._author()
        await self._storage.set_trashed(
            check_uuid(project), author, trashed=False, name=name, folder=folder
        )
        self._tell(project, [], "restored", author)
        await self._count()

    @command()
    async def duplicate_project(
        self, project: str, name: str, folder: str | None = None, alone: bool = False
    ) -> str:
        """Copy a project with everything in it, and return the uuid of the copy.

        The projects below it are copied too; each keeps its name, or gets a number behind it where
        that is taken.

        Args:
            project: uuid of what is copied.
            name: of the copy.
            folder: of all copies; default: each lies beside what it is a copy of.
            alone: the copy refers to the same projects below it.
        """
        author = self._author()
        copies = await self._storage.duplicate(
            check_uuid(project), author, name=name, folder=folder, alone=alone
        )
        for uuid in copies:
            self._tell(uuid, [], "created", author)
        await self._count()
        return copies[0]

    def _tell(self, project: str, items: list[str], what: str, author: Author) -> None:
        self.emit("changed", project=project, items=items[:_TOLD], what=what, by=author.name)

    def told_arguments(self, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Show the audit log what was saved by name, not each text in full."""
        if "changes" not in arguments:
            return arguments
        return {**arguments, "changes": _summary(arguments["changes"])}


def _page(rows: Sequence[tuple[str, dict[str, Any]]], after: str) -> tuple[list[Any], str]:
    """Return the rows behind a key, as many as one answer can hold, and behind which to go on."""
    left = [row for row in rows if row[0] > after] if after else rows
    number = _fitting([row for _key, row in left])
    following = left[number - 1][0] if number < len(left) else ""
    return [row for _key, row in left[:number]], following


def _fitting(rows: Sequence[dict[str, Any]]) -> int:
    """Return how many rows one answer can hold."""
    nbytes = 0
    for number, row in enumerate(rows[:REPLY_ROWS]):
        nbytes += len(json.dumps(row, ensure_ascii=False).encode())
        if number and nbytes > REPLY_BYTES:
            return number
    return min(len(rows), REPLY_ROWS)


def _state_of(items: Sequence[Item]) -> str:
    """Return what is another one as soon as anything of a project is changed."""
    told = "".join(f"{item.uuid}{item.version}:{item.position};" for item in items)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _summary(changes: Any) -> Any:
    try:
        parsed = Changes.from_wire(changes)
    except (BadInputError, LimitExceededError) as error:
        return f"no changes: {error}"  # the command itself will refuse them
    return {
        "saved": [f"{item.kind} {item.name}" for item in parsed.items[:_TOLD]],
        "bytes": sum(len(item.text or "") for item in parsed.items if item.kind in TEXTS),
        "removed": list(parsed.removed)[:_TOLD],
    }
