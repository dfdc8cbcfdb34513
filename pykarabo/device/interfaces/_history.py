"""Devices that know what the properties of others were."""

from typing import Any, ClassVar

from pykarabo.data import AccessLevel
from pykarabo.device import command

from ._interface import Interface


class History(Interface):
    """Answers what properties were: `BlockingClient.history` and `past` ask any device like this.

    Of several, each client asks one, and another one when that does not answer.
    """

    interface_name: ClassVar[str] = "History"

    @command(access_level=AccessLevel.OBSERVER, idempotent=True, audited=False)
    async def history(
        self,
        device_id: str,
        key: str,
        start_ns: int,
        end_ns: int,
        *,
        operator: str = "raw",
        points: int = 0,
        every_ns: int = 0,
        after: list[int] | None = None,
        trains: list[int] | None = None,
    ) -> dict[str, Any]:
        """Return what an operator makes of a property's samples from a moment up to another.

        A page of it: `after` is what the page before gave as ``following``.
        """
        self.not_implemented("history")

    @command(access_level=AccessLevel.OBSERVER, idempotent=True, audited=False)
    async def past(
        self, device_id: str, time_ns: int, *, after: str | None = None
    ) -> dict[str, Any]:
        """Return the schema and the values that a device had at a moment.

        Of the values, a page: `after` is what the page before gave as ``following``.
        """
        self.not_implemented("past")

    @command(access_level=AccessLevel.OBSERVER, idempotent=True, audited=False)
    async def archived(self, pattern: str = "*") -> list[str]:
        """Return the devices that match a shell pattern and have a history."""
        self.not_implemented("archived")

    @command(access_level=AccessLevel.OBSERVER, idempotent=True, audited=False)
    async def span_of_trains(self, device_id: str, key: str, first: int, last: int) -> list[int]:
        """Return when a property's samples of some trains begin, and when they are over."""
        self.not_implemented("span_of_trains")
