"""The configuration store as a device: saves, compares and applies configurations of devices."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from pykarabo.client import Client, check_device_id
from pykarabo.data import (
    AccessLevel,
    Schema,
    State,
    String,
    UInt32,
    checked_configuration,
    class_property,
    kept_configuration,
    live_configuration,
    raise_all,
    without_defaults,
)
from pykarabo.device import Device, command
from pykarabo.errors import (
    BadConfigurationError,
    BadInputError,
    InvalidNameError,
    MissingValueError,
    PykaraboError,
    did_you_mean,
)
from pykarabo.facility import check_configuration_name, check_priority
from pykarabo_services.configuration.applying import Writing, refuse_conflicts, writing_of
from pykarabo_services.configuration.drift import Drift, Fitted, differences, fit
from pykarabo_services.configuration.looking import Looker, call, ours
from pykarabo_services.configuration.model import (
    LIVE,
    Action,
    ConfigurationStorage,
    Content,
    Saving,
    Stored,
    Which,
    check_comment,
    kept_schema,
    which,
)
from pykarabo_services.kernel.acting import CallersClients

_AT_ONCE: Final = 16
"""Devices that are read at the same time: a server takes a hundred calls of one client."""
_SAVE_S: Final = 3.0
"""A device that does not answer must not keep the others of a bulk from being saved."""
_OPEN_S: Final = 5.0
"""A database that is slow keeps nobody from starting; what is asked meanwhile is refused."""
_START_S: Final = 35.0
"""The server gives `on_initialize` 10 s; a process of its own has 30 s."""


class ConfigurationStore(Device):
    """Keeps named configurations of devices with all of their history.

    A configuration is applied with the rights of whoever asks for it, not with those of this
    service: a device refuses it what it would refuse him.
    """

    database = String(
        init_only=True,
        secret=True,
        # Whoever chooses it sees what is kept of others, or hides it from them.
        access_level=AccessLevel.ADMINISTRATOR,
        description="URL of the database; empty for the one that the domain's services share.",
    )
    saved = UInt32(read_only=True, description="Versions saved since the start.")

    _storage: ConfigurationStorage
    _callers: CallersClients
    _looker: Looker

    def open_storage(self) -> ConfigurationStorage:
        """Return where versions are kept; `main` says how."""
        raise NotImplementedError

    def show_health(self, problem: str) -> None:
        """Show whether the database does its work; `problem` is empty when it does."""
        state = State.ERROR if problem else State.ON
        self.set_values({"state": state, "status": problem or "keeping configurations"})

    async def on_initialize(self) -> None:
        """Open the storage."""
        self._callers = CallersClients(self.client)
        self._looker = Looker(self.client)
        self._storage = self.open_storage()
        opening = self.spawn(self._storage.open(), name="opening the database")
        await asyncio.wait({opening}, timeout=_OPEN_S)
        if opening.done():
            opening.result()
        else:
            self.set_values({"state": State.STARTING, "status": "the database does not answer yet"})

    async def on_stop(self) -> None:
        """Close everything."""
        await self._callers.aclose()
        await self._storage.aclose()

    # -- reading --------------------------------------------------------------------------------

    @command(access_level=AccessLevel.OBSERVER)
    async def devices(self) -> list[str]:
        """Return the devices that have configurations."""
        return await self._storage.devices()

    @command(access_level=AccessLevel.OBSERVER)
    async def names(self, device_id: str) -> list[Any]:
        """Return a device's configurations without their values, the highest priority first."""
        return [version.to_plain() for version in await self._storage.current(device_id)]

    @command(access_level=AccessLevel.OBSERVER)
    async def configurations(self, device_id: str) -> dict[str, Any]:
        """Return a device's configurations with their values, by name."""
        found: dict[str, Any] = {}
        for version in await self._storage.current(device_id):
            stored = await self._require(device_id, Which(version.name, version.number))
            found[version.name] = _plain(stored)
        return found

    @command(access_level=AccessLevel.OBSERVER)
    async def versions(self, device_id: str, name: str) -> list[Any]:
        """Return every version of a configuration, the latest first."""
        found = await self._storage.history(device_id, check_configuration_name(name))
        if not found:
            raise await self._unknown(device_id, name)
        return [version.to_plain() for version in found]

    @command(access_level=AccessLevel.OBSERVER)
    async def show(self, device_id: str, configuration: str) -> dict[str, Any]:
        """Return a version, NAME or NAME@NUMBER or NAME@TIME, and how the class has changed since.

        The present class is that of the running device, or of a server that offers it.
        """
        stored = await self._require(device_id, which(configuration))
        try:
            today = await self._looker.class_of(stored.version)
        except PykaraboError as error:
            return {**_plain(stored), "drift": [], "today": str(error)}
        fitted = _fit(stored, today)
        return {**_plain(stored), "drift": _drifts(fitted.drifts), "today": ""}

    @command(access_level=AccessLevel.OBSERVER)
    async def compare(self, device_id: str, left: str, right: str = LIVE) -> dict[str, Any]:
        """Return how two configurations of a device differ; `live` is what it has now."""
        sides = [await self._side(device_id, text) for text in (left, right)]
        found = differences(*sides)
        drifts = fit(*sides[0], sides[1][0]).drifts
        return {
            "differences": [difference.to_plain() for difference in found],
            "drift": _drifts(drifts),
        }

    # -- keeping --------------------------------------------------------------------------------

    @command()
    async def save(
        self,
        device_id: str,
        name: str,
        comment: str | None = None,
        priority: int | None = None,
        active: bool | None = None,
    ) -> dict[str, Any]:
        """Save what a device is configured with now as a new version of a configuration."""
        _check(name, comment, priority)
        live = await self._looker.device(device_id)
        kept = kept_configuration(live.schema, live.live, live.plain)
        content = Content(kept_schema(live.schema), kept.values)
        saving = Saving(device_id, name, self._user, content, *live.home, comment, priority, active)
        return {**await self._save_version(saving), "left_out": kept.left_out}

    @command()
    async def save_many(
        self, device_ids: list[str], name: str, comment: str | None = None
    ) -> dict[str, Any]:
        """Save several devices under one name; one that fails keeps no other from it.

        Returns per device its version, or ``error`` with what was wrong.
        """
        check_configuration_name(name)
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(device_id: str) -> dict[str, Any]:
            async with turn:
                try:
                    async with asyncio.timeout(_SAVE_S):
                        return await self.save(device_id, name, comment)
                except TimeoutError:
                    problem = f"it did not answer within {_SAVE_S:g} s"
                    return {"error": {"code": "call_timeout", "message": problem}}
                except PykaraboError as error:
                    return {"error": error.to_wire()}

        wanted = list(dict.fromkeys(device_ids))
        return dict(zip(wanted, await asyncio.gather(*map(one, wanted)), strict=True))

    @command()
    async def put(
        self,
        device_id: str,
        name: str,
        class_id: str,
        values: dict[str, Any],
        *,
        comment: str | None = None,
        priority: int | None = None,
        active: bool | None = None,
    ) -> dict[str, Any]:
        """Save given values of a class as a new version of a configuration."""
        _check(name, comment, priority)
        check_device_id(device_id)
        schema = await self._looker.class_on_offer(class_id)
        errors: list[BadInputError] = []
        checked = checked_configuration(schema, values, device_id, errors=errors)
        raise_all(errors, device_id)
        kept = without_defaults(schema, checked)
        secret = [key for key in kept if _is_secret(schema, key)]
        if secret:
            raise BadConfigurationError(
                f"{', '.join(secret)} of class '{class_id}' is secret and is not kept",
                device=device_id,
                key=secret[0],
                remedy="leave it out",
            )
        content = Content(kept_schema(schema), kept)
        server_id, apart = await self._looker.home(device_id)
        saving = Saving(
            device_id, name, self._user, content, server_id, apart, comment, priority, active
        )
        return await self._save_version(saving)

    @command()
    async def describe(
        self,
        device_id: str,
        name: str,
        comment: str | None = None,
        priority: int | None = None,
        active: bool | None = None,
    ) -> dict[str, Any]:
        """Change comment, priority or mark of a configuration; its values stay."""
        _check(name, comment, priority)
        return await self._describe(
            device_id, name, Action.DESCRIBED, comment=comment, priority=priority, active=active
        )

    @command(access_level=AccessLevel.EXPERT)
    async def delete(self, device_id: str, name: str) -> dict[str, Any]:
        """Delete a configuration; its history stays, and `undelete` brings it back."""
        return await self._describe(device_id, name, Action.DELETED)

    @command(access_level=AccessLevel.EXPERT)
    async def undelete(self, device_id: str, name: str) -> dict[str, Any]:
        """Bring a deleted configuration back as it was."""
        return await self._describe(device_id, name, Action.RESTORED)

    # -- applying -------------------------------------------------------------------------------

    @command()
    async def restore(
        self,
        device_id: str,
        configuration: str,
        keys: list[str] | None = None,
        without: list[str] | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Write a configuration, or some properties of it, to the running device.

        It is done in one write: all or nothing. Of properties that can only be set at the start
        the result tells under ``at_start`` that they are others.

        Args:
            keys: only these and what is below them.
            without: not these, such as what the class no longer has.
        """
        stored = await self._require(device_id, which(configuration))
        live = await self._looker.device(device_id)
        present = live_configuration(live.schema, live.live, live.plain).values
        fitted = _fit(stored, live.schema, without or ())
        refuse_conflicts(stored, fitted, keys)
        writing = writing_of(device_id, fitted, live.schema, present, keys)
        done = bool(writing.values) and not dry_run
        if done:
            expected = {key: live.values[key] for key in writing.values}
            await ours(self._client().set(device_id, writing.values, expected=expected))
        return _told(stored, fitted, writing, done=done)

    @command()
    async def instantiate(
        self,
        device_id: str,
        configuration: str = "",
        server: str = "",
        without: list[str] | None = None,
    ) -> dict[str, Any]:
        """Start a device with a configuration: by default the active one, where it was saved."""
        stored = await self._require(device_id, await self._chosen(device_id, configuration))
        version = stored.version
        home = server or version.server_id
        if not home:
            raise MissingValueError(
                f"nobody knows on which server '{device_id}' is to be started",
                device=device_id,
                remedy="name one with 'server'",
            )
        client = self._client()
        wire = await call(client, home, "class_schema", version.class_id)
        fitted = _fit(stored, Schema.from_wire(wire), without or ())
        refuse_conflicts(stored, fitted)
        apart = version.own_process and home == version.server_id
        wanted = (version.class_id, device_id, fitted.values, apart)
        started = await call(client, home, "instantiate", *wanted, timeout_s=_START_S)
        return {
            **started,
            "server_id": home,
            "configuration": version.title,
            "drift": _drifts(fitted.drifts),
            "left_out": list(fitted.left_out),
        }

    # -- finding --------------------------------------------------------------------------------

    async def _require(self, device_id: str, wanted: Which) -> Stored:
        """Return a version; raises `InvalidNameError` with near matches."""
        stored = await self._storage.find(device_id, wanted)
        if stored is None:
            raise await self._unknown(device_id, str(wanted))
        if not stored.version.is_there:
            raise InvalidNameError(
                f"configuration '{stored.version.name}' of '{device_id}' was deleted by "
                f"{stored.version.user}",
                device=device_id,
                remedy=f"bring it back with 'undelete', or name an older version: "
                f"{stored.version.name}@{stored.version.number - 1}",
            )
        return stored

    async def _unknown(self, device_id: str, name: str) -> InvalidNameError:
        names = [version.name for version in await self._storage.current(device_id)]
        near = did_you_mean(name, names)
        return InvalidNameError(
            f"'{device_id}' has no configuration '{name}'",
            device=device_id,
            remedy=near or f"it has {', '.join(names) or 'none'}",
        )

    async def _chosen(self, device_id: str, configuration: str) -> Which:
        if configuration:
            return which(configuration)
        for version in await self._storage.current(device_id):
            if version.active:
                return Which(version.name)
        raise MissingValueError(
            f"'{device_id}' has no active configuration",
            device=device_id,
            remedy="name one, or mark one: describe(device_id, name, active=True)",
        )

    async def _side(self, device_id: str, text: str) -> tuple[Schema, Mapping[str, Any]]:
        if text == LIVE:
            live = await self._looker.device(device_id)
            return live.schema, live_configuration(live.schema, live.live, live.plain).values
        stored = await self._require(device_id, which(text))
        return stored.content.schema, stored.content.values

    def _client(self) -> Client:
        """Return a client with the rights of whoever calls."""
        caller = self.caller
        return self.client if caller is None else self._callers.client_for(caller)

    @property
    def _user(self) -> str:
        caller = self.caller
        return self.device_id if caller is None else caller.identity.user

    # -- keeping versions -----------------------------------------------------------------------

    async def _save_version(self, saving: Saving) -> dict[str, Any]:
        version = await self._storage.save(saving, self.clock.time_ns())
        self.saved += 1
        return version.to_plain()

    async def _describe(
        self, device_id: str, name: str, action: Action, **described: Any
    ) -> dict[str, Any]:
        check_configuration_name(name)
        version = await self._storage.describe(
            device_id, name, self._user, self.clock.time_ns(), action=action, **described
        )
        if version is not None:
            return version.to_plain()
        if action is Action.RESTORED and await self._storage.history(device_id, name):
            raise BadConfigurationError(
                f"configuration '{name}' of '{device_id}' was not deleted",
                device=device_id,
                remedy=f"it is there: show it with 'pykarabo config show {device_id} {name}'",
            )
        raise await self._unknown(device_id, name)


def _plain(stored: Stored) -> dict[str, Any]:
    return {**stored.version.to_plain(), "values": dict(stored.content.values)}


def _fit(stored: Stored, today: Schema, without: Collection[str] = ()) -> Fitted:
    return fit(
        stored.content.schema,
        stored.content.values,
        today,
        without=without,
        device=stored.version.device_id,
    )


def _drifts(drifts: Iterable[Drift]) -> list[dict[str, Any]]:
    return [drift.to_plain() for drift in drifts]


def _told(stored: Stored, fitted: Fitted, writing: Writing, *, done: bool) -> dict[str, Any]:
    return {
        "configuration": stored.version.title,
        "written": done,
        "values": dict(writing.values),
        "before": dict(writing.before),
        "at_start": list(writing.at_start),
        "left_out": list(fitted.left_out),
        "drift": _drifts(fitted.drifts),
    }


def _is_secret(schema: Schema, key: str) -> bool:
    info = class_property(schema, key)
    return info is not None and info.secret


def _check(name: str, comment: str | None, priority: int | None) -> None:
    check_configuration_name(name)
    if comment is not None:
        check_comment(comment)
    if priority is not None:
        check_priority(priority)
