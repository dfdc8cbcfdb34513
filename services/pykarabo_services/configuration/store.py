"""Configurations in a database: every version is a row, which nobody changes.

Values are kept as the JSON form of values, which people can read and which loses nothing. Equal
contents and equal schemas are kept once.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    Index,
    Integer,
    Row,
    RowMapping,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    select,
    text,
)

from pykarabo.data import Schema, from_json, to_json
from pykarabo.errors import LimitExceededError
from pykarabo_services.configuration.model import (
    MAX_CONTENT_BYTES,
    Action,
    Content,
    Saving,
    Stored,
    Version,
    Which,
)
from pykarabo_services.kernel.database import Database, StoreDeclaration, new_metadata

METADATA: Final = new_metadata()
_DIGEST: Final = 64
_VERSION_BYTES: Final = 5_000
"""Of a version besides its values: a comment may have 4,000 characters."""
# SQLite numbers rows only by a column of exactly this type.
_NUMBER: Final = BigInteger().with_variant(Integer(), "sqlite")

SCHEMA: Final = Table(
    "configuration_schema",
    METADATA,
    Column("digest", String(_DIGEST), primary_key=True),
    Column("text", Text, nullable=False),
)
CONTENT: Final = Table(
    "configuration_content",
    METADATA,
    Column("digest", String(_DIGEST), primary_key=True),
    Column("text", Text, nullable=False),
)
VERSION: Final = Table(
    "configuration_version",
    METADATA,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("device_id", String(128), nullable=False),
    Column("name", String(30), nullable=False),
    Column("number", Integer, nullable=False),
    Column("action", String(16), nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("user", String(128), nullable=False),
    Column("class_id", String(128), nullable=False),
    Column("server_id", String(260), nullable=False),
    Column("own_process", Boolean, nullable=False),
    Column("comment", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("schema_digest", ForeignKey("configuration_schema.digest"), nullable=False),
    Column("content_digest", ForeignKey("configuration_content.digest"), nullable=False),
    UniqueConstraint("device_id", "name", "number"),
    Index("ix_configuration_version_device_id_time_ns", "device_id", "time_ns"),
)
STORE: Final = StoreDeclaration(
    name="configurations",
    metadata=METADATA,
    migrations="pykarabo_services.configuration.migrations",
)
_FIELDS: Final = tuple(name for name in Version.__slots__ if name != "action")


class Configurations:
    """Keeps versions in a database; see `ConfigurationStorage`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self) -> None:
        """Connect; a database that cannot be reached now is tried again."""
        await self._database.open(required=False)

    async def aclose(self) -> None:
        """End the connections."""
        await self._database.aclose()

    async def devices(self) -> list[str]:
        """Return the devices that have configurations, sorted."""
        return await self._database.read(_devices)

    async def current(self, device_id: str, *, deleted: bool = False) -> list[Version]:
        """Return a device's configurations as they are now: by priority, then by name."""
        return await self._database.read(
            lambda connection: _current(connection, device_id, deleted=deleted)
        )

    async def history(
        self, device_id: str, name: str, *, before: int = 0, limit: int = 0
    ) -> list[Version]:
        """Return every version of a configuration, the latest first; none where there is none."""
        query = _of(device_id, name).order_by(VERSION.c.number.desc())
        if before:
            query = query.where(VERSION.c.number < before)
        if limit:
            query = query.limit(limit)
        return await self._database.read(
            lambda connection: [_version(row) for row in connection.execute(query)]
        )

    async def find(self, device_id: str, wanted: Which) -> Stored | None:
        """Return a version, if there was one."""
        return await self._database.read(lambda connection: _find(connection, device_id, wanted))

    async def latest(
        self, device_id: str, names: Sequence[str], *, max_bytes: int
    ) -> dict[str, Stored | None]:
        """Return the latest versions of the first of `names`, by name: as many as fit."""
        return await self._database.read(
            lambda connection: _latest_of(connection, device_id, names, max_bytes)
        )

    async def save(self, saving: Saving, time_ns: int) -> Version:
        """Keep a new version."""
        schema, content = schema_text(saving.content.schema), content_text(saving)
        return await self._database.write(
            lambda connection: _save(connection, saving, time_ns, schema, content)
        )

    async def describe(
        self,
        device_id: str,
        name: str,
        user: str,
        time_ns: int,
        *,
        action: Action,
        comment: str | None = None,
        priority: int | None = None,
        active: bool | None = None,
    ) -> Version | None:
        """Keep a new version with the content of the latest; None where there is no such."""
        told = {"comment": comment, "priority": priority, "active": active}
        given = {key: value for key, value in told.items() if value is not None}
        new = {"action": str(action), "user": user, "time_ns": time_ns, **given}
        return await self._database.write(
            lambda connection: _describe(connection, device_id, name, new)
        )


# -- texts --------------------------------------------------------------------------------------


def content_text(saving: Saving) -> str:
    """Return a configuration's values as text; raises `LimitExceededError`."""
    text = to_json(dict(saving.content.values))
    nbytes = len(text.encode())
    if nbytes > MAX_CONTENT_BYTES:
        raise LimitExceededError(
            f"configuration '{saving.name}' of '{saving.device_id}' is too large to be kept: "
            f"{nbytes} bytes",
            device=saving.device_id,
            remedy=f"{MAX_CONTENT_BYTES} can be; keep large arrays in files",
        )
    return text


def schema_text(schema: Schema) -> str:
    """Return a schema as text."""
    return to_json(schema.to_wire())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# -- reading ------------------------------------------------------------------------------------


def _devices(connection: Connection) -> list[str]:
    found = connection.execute(_newest().where(VERSION.c.action != str(Action.DELETED)))
    return sorted({row.device_id for row in found})


def _newest(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Select the latest version of every configuration."""
    last = (
        select(VERSION.c.device_id, VERSION.c.name, func.max(VERSION.c.number).label("number"))
        .where(*conditions)
        .group_by(VERSION.c.device_id, VERSION.c.name)
        .subquery()
    )
    return select(VERSION).join(
        last,
        (VERSION.c.device_id == last.c.device_id)
        & (VERSION.c.name == last.c.name)
        & (VERSION.c.number == last.c.number),
    )


def _current(connection: Connection, device_id: str, *, deleted: bool = False) -> list[Version]:
    query = _newest(VERSION.c.device_id == device_id)
    versions = [_version(row) for row in connection.execute(query)]
    found = [version for version in versions if version.is_there is not deleted]
    return sorted(found, key=lambda version: (-version.priority, version.name))


def _of(device_id: str, name: str) -> Select[Any]:
    return select(VERSION).where(VERSION.c.device_id == device_id, VERSION.c.name == name)


def _find(connection: Connection, device_id: str, wanted: Which) -> Stored | None:
    query = _of(device_id, wanted.name).limit(1)
    if wanted.number is not None:
        query = query.where(VERSION.c.number == wanted.number)
    if wanted.time_ns is not None:
        # By time first: where the clock was put back, a version's own time still names it.
        query = query.where(VERSION.c.time_ns <= wanted.time_ns).order_by(VERSION.c.time_ns.desc())
    query = query.order_by(VERSION.c.number.desc())
    row = connection.execute(query).one_or_none()
    return None if row is None else _stored(row, *_texts(connection, row))


def _latest_of(
    connection: Connection, device_id: str, names: Sequence[str], max_bytes: int
) -> dict[str, Stored | None]:
    found: dict[str, Stored | None] = {}
    nbytes = 0
    for name in names:
        query = _of(device_id, name).order_by(VERSION.c.number.desc()).limit(1)
        row = connection.execute(query).one_or_none()
        texts = ("", "") if row is None else _texts(connection, row)
        nbytes += len(texts[1].encode()) + _VERSION_BYTES
        if found and nbytes > max_bytes:
            break
        found[name] = None if row is None else _stored(row, *texts)
    return found


def _texts(connection: Connection, row: Row[Any]) -> tuple[str, str]:
    """Return schema and content of a version."""
    schema = select(SCHEMA.c.text).where(SCHEMA.c.digest == row.schema_digest)
    content = select(CONTENT.c.text).where(CONTENT.c.digest == row.content_digest)
    return connection.execute(schema).scalar_one(), connection.execute(content).scalar_one()


def _stored(row: Row[Any], schema: str, content: str) -> Stored:
    return Stored(
        _version(row), Content(Schema.from_wire(from_json(schema)), dict(from_json(content)))
    )


def _version(row: Row[Any]) -> Version:
    return Version(action=Action(row.action), **{name: getattr(row, name) for name in _FIELDS})


# -- writing ------------------------------------------------------------------------------------


def _lock(connection: Connection) -> None:
    """Have versions added one after the other, also by several stores of one domain."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer
        connection.execute(text("LOCK TABLE configuration_version IN SHARE ROW EXCLUSIVE MODE"))


def _save(
    connection: Connection, saving: Saving, time_ns: int, schema: str, content: str
) -> Version:
    _lock(connection)
    before = _last_row(connection, saving.device_id, saving.name)
    known = before if before is not None and before["action"] != str(Action.DELETED) else {}
    described = {
        "comment": known.get("comment", "") if saving.comment is None else saving.comment,
        "priority": known.get("priority", 0) if saving.priority is None else saving.priority,
        "active": known.get("active", False) if saving.active is None else saving.active,
    }
    row = {
        "device_id": saving.device_id,
        "name": saving.name,
        "number": 1 if before is None else before["number"] + 1,
        "action": str(Action.SAVED),
        "time_ns": time_ns,
        "user": saving.user,
        "class_id": saving.content.schema.class_id,
        "server_id": saving.server_id,
        "own_process": saving.own_process,
        "schema_digest": _keep_text(connection, SCHEMA, schema),
        "content_digest": _keep_text(connection, CONTENT, content),
        **described,
    }
    return _append(connection, row)


def _describe(
    connection: Connection, device_id: str, name: str, new: dict[str, Any]
) -> Version | None:
    _lock(connection)
    before = _last_row(connection, device_id, name)
    if before is None:
        return None
    is_there = before["action"] != str(Action.DELETED)
    if is_there == (new["action"] == str(Action.RESTORED)):
        return None
    if new["action"] == str(Action.DELETED):
        new = {**new, "active": False}
    elif not is_there:
        new = {**new, "active": _gets_mark_back(connection, before)}
    return _append(connection, _next(before, new))


def _gets_mark_back(connection: Connection, deleted: RowMapping) -> bool:
    """Tell whether a configuration was the active one when it was deleted, and none is it now."""
    device_id, number = deleted["device_id"], deleted["number"]
    query = _of(device_id, deleted["name"]).where(VERSION.c.number == number - 1)
    had_it = connection.execute(query).mappings().one()["active"]
    return had_it and not any(version.active for version in _current(connection, device_id))


def _append(connection: Connection, row: Mapping[str, Any]) -> Version:
    """Add a version; where it becomes the active one, the one that was it is so no more."""
    if row["active"]:
        for other in _current(connection, row["device_id"]):
            if other.active and other.name != row["name"]:
                _deactivate(connection, other, row)
    connection.execute(insert(VERSION).values(row))
    return Version(action=Action(row["action"]), **{name: row[name] for name in _FIELDS})


def _deactivate(connection: Connection, other: Version, row: Mapping[str, Any]) -> None:
    before = _last_row(connection, other.device_id, other.name)
    assert before is not None  # noqa: S101 - it was just read in this transaction
    new = {
        "action": str(Action.DESCRIBED),
        "active": False,
        "user": row["user"],
        "time_ns": row["time_ns"],
    }
    connection.execute(insert(VERSION).values(_next(before, new)))


def _next(before: RowMapping, new: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in before.items() if key != "id"}
    return {**known, **new, "number": before["number"] + 1}


def _last_row(connection: Connection, device_id: str, name: str) -> RowMapping | None:
    query = _of(device_id, name).order_by(VERSION.c.number.desc()).limit(1)
    return connection.execute(query).mappings().one_or_none()


def _keep_text(connection: Connection, table: Table, text: str) -> str:
    """Keep a text if it is not there yet; returns its digest."""
    digest = _digest(text)
    known = connection.execute(select(table.c.digest).where(table.c.digest == digest)).all()
    if not known:
        connection.execute(insert(table).values(digest=digest, text=text))
    return digest
