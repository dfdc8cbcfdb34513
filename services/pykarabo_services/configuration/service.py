"""The configuration store as a device: saves, compares and applies configurations of devices."""

import asyncio
from collections.abc import Collection, Iterable
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
    filled_configuration,
    kept_configuration,
    live_configuration,
    raise_all,
    without_defaults,
)
from pykarabo.device import Device, command
from pykarabo.errors import (
    BadConfigurationError,
    BadInputError,
    MissingValueError,
    NotConnectedError,
    PykaraboError,
)
from pykarabo.facility import check_comment, check_priority
from pykarabo.transport import Caller
from pykarabo_services.configuration.applying import (
    refuse_conflicts,
    refuse_other_class,
    require_known,
    too_large,
    writing_of,
)
from pykarabo_services.configuration.drift import (
    Drift,
    Fitted,
    differences,
    drifts_between,
    fit,
)
from pykarabo_services.configuration.finding import Finder
from pykarabo_services.configuration.looking import LiveDevice, Looker, call, ours
from pykarabo_services.configuration.model import (
    LIVE,
    MAX_USER,
    Action,
    ConfigurationStorage,
    Content,
    Saving,
    Stored,
    Which,
    check_name,
    check_new_name,
    kept_schema,
    which,
)
from pykarabo_services.kernel.acting import CallersClients

_AT_ONCE: Final = 16
"""Devices that are read at the same time: a server takes a hundred calls of one client."""
_LOOK_S: Final = 3.0
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
    _finder: Finder

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
        self._finder = Finder(self._storage, self._looker)
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
    async def names(self, device_id: str, deleted: bool = False) -> list[Any]:
        """Return a device's configurations without their values, the highest priority first.

        Args:
            deleted: those that were deleted, instead.
        """
        check_device_id(device_id)
        found = await self._storage.current(device_id, deleted=deleted)
        return [version.to_plain() for version in found]

    @command(access_level=AccessLevel.OBSERVER)
    async def configurations(
        self, device_id: str, names: list[str] | None = None
    ) -> dict[str, Any]:
        """Return a device's configurations with their values, by name.

        Args:
            names: which; the answer has the first of them, as many as fit. Ask again for those
                that are missing. Without, all of them are returned, or refused together.
        """
        check_device_id(device_id)
        for name in names or ():
            check_name(name)
        found = await self._finder.configurations(device_id, names)
        return {name: _plain(stored) for name, stored in found.items()}

    @command(access_level=AccessLevel.OBSERVER)
    async def versions(
        self, device_id: str, name: str, before: int = 0, limit: int = 0
    ) -> list[Any]:
        """Return every version of a configuration, the latest first.

        Args:
            before: only those with a lower number.
            limit: not more than so many.
        """
        check_device_id(device_id)
        check_name(name)
        found = await self._finder.versions(device_id, name, before=before, limit=limit)
        return [version.to_plain() for version in found]

    @command(access_level=AccessLevel.OBSERVER)
    async def show(self, device_id: str, configuration: str) -> dict[str, Any]:
        """Return a version, NAME or NAME@NUMBER or NAME@TIME, and how the class has changed since.

        The present class is that of the running device, or of a server that offers it.
        """
        check_device_id(device_id)
        stored = await self._finder.require(device_id, which(configuration))
        try:
            today = await self._looker.class_of(stored.version)
        except PykaraboError as error:
            return {**_plain(stored), "drift": [], "today": str(error), "class_today": ""}
        found = {"drift": _drifts(_fit(stored, today).drifts), "today": ""}
        return {**_plain(stored), **found, "class_today": today.class_id}

    @command(access_level=AccessLevel.OBSERVER)
    async def compare(self, device_id: str, left: str, right: str = LIVE) -> dict[str, Any]:
        """Return how two configurations of a device differ; `live` is what it has now.

        Of a property under ``untold`` both sides are too large for the answer.
        """
        check_device_id(device_id)
        sides = [await self._finder.side(device_id, text) for text in (left, right)]
        found = [difference.to_plain() for difference in differences(*sides)]
        untold = too_large({item["key"]: (item["left"], item["right"]) for item in found})
        for item in found:
            if item["key"] in untold:
                item["left"] = item["right"] = None
        return {
            "differences": found,
            "untold": untold,
            "drift": _drifts(fit(*sides[0], sides[1][0]).drifts),
            "classes": [schema.class_id for schema, _values in sides],
            "note": await self._finder.note_on_live(device_id) if LIVE in (left, right) else "",
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
        check_device_id(device_id)
        _check(name, comment, priority)
        live = await self._looker.device(device_id)
        return await self._save_live(live, name, comment, priority, active)

    async def _save_live(
        self,
        live: LiveDevice,
        name: str,
        comment: str | None,
        priority: int | None,
        active: bool | None,
    ) -> dict[str, Any]:
        kept = kept_configuration(live.schema, live.live, live.plain)
        content = Content(kept_schema(live.schema), kept.values)
        device_id = live.record.device_id
        saving = Saving(device_id, name, self._user, content, *live.home, comment, priority, active)
        return {**await self._save_version(saving), "left_out": kept.left_out}

    @command()
    async def save_many(
        self,
        device_ids: list[str],
        name: str,
        comment: str | None = None,
        priority: int | None = None,
        active: bool | None = None,
    ) -> dict[str, Any]:
        """Save several devices under one name; one that fails keeps no other from it.

        Returns per device its version, or ``error`` with what was wrong.
        """
        wanted = [check_device_id(device_id) for device_id in dict.fromkeys(device_ids)]
        _check(name, comment, priority)
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(device_id: str) -> dict[str, Any]:
            async with turn:
                try:
                    live = await self._looked_at_soon(device_id)
                    return await self._save_live(live, name, comment, priority, active)
                except PykaraboError as error:
                    return {"error": error.to_wire()}

        return dict(zip(wanted, await asyncio.gather(*map(one, wanted)), strict=True))

    async def _looked_at_soon(self, device_id: str) -> LiveDevice:
        """Look at a device of a bulk; what is saved then is never given up halfway."""
        try:
            async with asyncio.timeout(_LOOK_S):
                return await self._looker.device(device_id)
        except TimeoutError:
            raise NotConnectedError(
                f"'{device_id}' did not answer within {_LOOK_S:g} s, and was not saved",
                device=device_id,
                remedy="see 'pykarabo doctor', or save it alone: it is given more time",
            ) from None

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
        check_device_id(device_id)
        _check(name, comment, priority)
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
        _check_description(comment, priority)
        if comment is None and priority is None and active is None:
            raise MissingValueError(
                f"nothing of configuration '{name}' of '{device_id}' is to be changed",
                device=device_id,
                remedy="give a comment, a priority or whether it is the active one",
            )
        return await self._describe(
            device_id, name, Action.DESCRIBED, comment=comment, priority=priority, active=active
        )

    @command(access_level=AccessLevel.EXPERT)
    async def delete(self, device_id: str, name: str) -> dict[str, Any]:
        """Delete a configuration; its history stays, and `undelete` brings it back."""
        return await self._describe(device_id, name, Action.DELETED)

    @command(access_level=AccessLevel.EXPERT)
    async def undelete(self, device_id: str, name: str) -> dict[str, Any]:
        """Bring a deleted configuration back as it was.

        Where it was the active one and another one has become it since, ``active_instead`` names
        that, and it stays so.
        """
        check_device_id(device_id)
        instead = await self._finder.active_instead(device_id, check_name(name))
        restored = await self._describe(device_id, name, Action.RESTORED)
        return {**restored, "active_instead": instead}

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
        check_device_id(device_id)
        stored = await self._finder.require(device_id, which(configuration))
        live = await self._looker.device(device_id)
        present = live_configuration(live.schema, live.live, live.plain).values
        if keys is None:
            refuse_other_class(stored, live.schema)
        fitted = _fit(stored, live.schema, without or ())
        refuse_conflicts(stored, fitted, keys)
        writing = writing_of(device_id, fitted, live.schema, present, keys)
        done = bool(writing.values) and not dry_run
        if done:
            expected = {key: live.values[key] for key in writing.values}
            await ours(self._client().set(device_id, writing.values, expected=expected))
        return {
            "configuration": stored.version.title,
            "written": done,
            **writing.told(),
            "at_start": list(writing.at_start),
            "left_out": list(fitted.left_out),
            "drift": _drifts(fitted.drifts),
        }

    @command()
    async def instantiate(
        self,
        device_id: str,
        configuration: str = "",
        server: str = "",
        without: list[str] | None = None,
    ) -> dict[str, Any]:
        """Start a device with a configuration: by default the active one, where it was saved."""
        check_device_id(device_id)
        wanted = await self._finder.chosen(device_id, configuration)
        stored = await self._finder.require(device_id, wanted)
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
        given = (version.class_id, device_id, fitted.values, apart)
        started = await call(client, home, "instantiate", *given, timeout_s=_START_S)
        return {
            **started,
            "server_id": home,
            "configuration": version.title,
            "drift": _drifts(fitted.drifts),
            "left_out": list(fitted.left_out),
        }

    def _client(self) -> Client:
        """Return a client with the rights of whoever calls."""
        caller = self.caller
        return self.client if caller is None else self._callers.client_for(caller)

    @property
    def _user(self) -> str:
        """Who calls, and the device or gateway through which he does."""
        caller = self.caller
        if caller is None:
            return self.device_id
        name, through = caller.identity.user, caller.granted.through
        if caller.name != Caller.of(caller.identity).name:
            through = caller.name
        return (f"{name} through {through}" if through else name)[:MAX_USER]

    # -- keeping versions -----------------------------------------------------------------------

    async def _save_version(self, saving: Saving) -> dict[str, Any]:
        version = await self._storage.save(saving, self.clock.time_ns())
        self.saved += 1
        return version.to_plain()

    async def _describe(
        self, device_id: str, name: str, action: Action, **described: Any
    ) -> dict[str, Any]:
        check_device_id(device_id)
        check_name(name)
        version = await self._storage.describe(
            device_id, name, self._user, self.clock.time_ns(), action=action, **described
        )
        if version is not None:
            return version.to_plain()
        if action is Action.RESTORED and await self._storage.history(device_id, name, limit=1):
            raise BadConfigurationError(
                f"configuration '{name}' of '{device_id}' was not deleted",
                device=device_id,
                remedy=f"it is there: show it with 'pykarabo config show {device_id} {name}'",
            )
        raise await self._finder.unknown(device_id, Which(name))


def _plain(stored: Stored) -> dict[str, Any]:
    return {**stored.version.to_plain(), "values": dict(stored.content.values)}


def _fit(stored: Stored, today: Schema, without: Collection[str] = ()) -> Fitted:
    version, (was, values) = stored.version, (stored.content.schema, stored.content.values)
    if without:
        known = filled_configuration(today, values)
        require_known(version.device_id, without, {**values, **drifts_between(was, today), **known})
    return fit(was, values, today, without=without, device=version.device_id)


def _drifts(drifts: Iterable[Drift]) -> list[dict[str, Any]]:
    return [drift.to_plain() for drift in drifts]


def _is_secret(schema: Schema, key: str) -> bool:
    info = class_property(schema, key)
    return info is not None and info.secret


def _check(name: str, comment: str | None, priority: int | None) -> None:
    check_new_name(name)
    _check_description(comment, priority)


def _check_description(comment: str | None, priority: int | None) -> None:
    if comment is not None:
        check_comment(comment)
    if priority is not None:
        check_priority(priority)
