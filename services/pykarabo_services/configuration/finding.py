"""Versions as somebody names them, and why there is none."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pykarabo.data import Schema, Timestamp, live_configuration
from pykarabo.errors import (
    InvalidNameError,
    LimitExceededError,
    MissingValueError,
    OutOfRangeError,
    did_you_mean,
)
from pykarabo_services.configuration.looking import Looker
from pykarabo_services.configuration.model import (
    LIVE,
    REPLY_BYTES,
    ConfigurationStorage,
    Stored,
    Version,
    Which,
    which,
)

_MOST_VERSIONS: Final = 1_000
"""In one answer: each may have a comment of 4,000 characters."""


class Finder:
    """Finds versions of configurations, and what devices have now."""

    def __init__(self, storage: ConfigurationStorage, looker: Looker) -> None:
        self._storage = storage
        self._looker = looker

    async def configurations(
        self, device_id: str, names: Sequence[str] | None
    ) -> dict[str, Stored]:
        """Return configurations with their values, by name.

        Args:
            names: which; the first of them are returned, as many as one answer can hold.

        Raises:
            InvalidNameError: there is no such.
            LimitExceededError: no names are given, and one answer cannot hold all.
        """
        wanted = names
        if wanted is None:
            wanted = [version.name for version in await self._storage.current(device_id)]
        found = await self._storage.latest(device_id, wanted, max_bytes=REPLY_BYTES)
        if names is None and len(found) < len(wanted):
            raise LimitExceededError(
                f"the {len(wanted)} configurations of '{device_id}' are too much for one answer",
                device=device_id,
                remedy="ask for them by name, and again for those that are missing: "
                "configurations(device_id, names)",
            )
        return {name: await self._there(device_id, Which(name), found[name]) for name in found}

    async def versions(
        self, device_id: str, name: str, *, before: int, limit: int
    ) -> list[Version]:
        """Return the versions of a configuration, the latest first.

        Raises:
            InvalidNameError: there is no such configuration.
            OutOfRangeError: there are no such versions.
            LimitExceededError: one answer cannot hold them.
        """
        if min(before, limit) < 0:
            raise OutOfRangeError(
                f"there is no version {min(before, limit)} of '{name}'",
                device=device_id,
                remedy="give 'before' and 'limit' from 0 on",
            )
        most = min(limit or _MOST_VERSIONS + 1, _MOST_VERSIONS + 1)
        found = await self._storage.history(device_id, name, before=before, limit=most)
        if not found and not before:
            raise await self.unknown(device_id, Which(name))
        if len(found) > _MOST_VERSIONS:
            raise LimitExceededError(
                f"'{name}' of '{device_id}' has more than {_MOST_VERSIONS} versions",
                device=device_id,
                remedy=f"ask for {_MOST_VERSIONS} at most with 'limit', and for more with 'before'",
            )
        return found

    async def require(self, device_id: str, wanted: Which) -> Stored:
        """Return a version; raises `InvalidNameError` with near matches."""
        stored = await self._storage.find(device_id, wanted)
        return await self._there(device_id, wanted, stored)

    async def _there(self, device_id: str, wanted: Which, stored: Stored | None) -> Stored:
        if stored is None:
            raise await self.unknown(device_id, wanted)
        if not stored.version.is_there:
            raise InvalidNameError(
                f"configuration '{stored.version.name}' of '{device_id}' was deleted by "
                f"{stored.version.user}",
                device=device_id,
                remedy=f"bring it back with 'undelete', or name an older version: "
                f"{stored.version.name}@{stored.version.number - 1}",
            )
        return stored

    async def unknown(self, device_id: str, wanted: Which) -> InvalidNameError:
        """Return the error that names what there is instead of a version."""
        newest = await self._storage.history(device_id, wanted.name, limit=1)
        if newest and wanted != Which(wanted.name):
            (first,) = await self._storage.history(device_id, wanted.name, before=2)
            since = Timestamp.from_ns(first.time_ns).iso()
            remedy = f"it has the versions 1 to {newest[0].number}, the first of {since}"
        else:
            names = [version.name for version in await self._storage.current(device_id)]
            remedy = did_you_mean(wanted.name, names) or f"it has {', '.join(names) or 'none'}"
        return InvalidNameError(
            f"'{device_id}' has no configuration '{wanted}'", device=device_id, remedy=remedy
        )

    async def chosen(self, device_id: str, configuration: str) -> Which:
        """Return what is named, or the active one; raises `MissingValueError`."""
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

    async def side(self, device_id: str, text: str) -> tuple[Schema, Mapping[str, Any]]:
        """Return one side of a comparison: a version, or what the device has now."""
        if text == LIVE:
            live = await self._looker.device(device_id)
            return live.schema, live_configuration(live.schema, live.live, live.plain).values
        stored = await self.require(device_id, which(text))
        return stored.content.schema, stored.content.values

    async def note_on_live(self, device_id: str) -> str:
        """Tell of a configuration whose name has got another meaning since it was saved."""
        for version in await self._storage.current(device_id):
            if version.name == LIVE:
                return (
                    f"'{LIVE}' is what the device has now; the configuration of that name is "
                    f"'{version.title}'"
                )
        return ""

    async def active_instead(self, device_id: str, name: str) -> str:
        """Return what has the mark that a deleted configuration had; empty if it had none."""
        versions = await self._storage.history(device_id, name, limit=2)
        if not versions or versions[0].is_there or not versions[-1].active:
            return ""
        current = await self._storage.current(device_id)
        return next((version.name for version in current if version.active), "")
