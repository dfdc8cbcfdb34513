"""What clients can ask about what devices were: both kinds alike."""

from typing import TYPE_CHECKING, Unpack, cast

if TYPE_CHECKING:
    from ._blocking_client import BlockingClient
    from ._changes import OnGap
    from ._client import Client
    from ._history import HistoryOptions, Moment
    from ._history_types import History, Past
    from ._steps import AsyncCaller, Caller
    from ._tail import AsyncTail, Tail


class Recalling:
    """Asks what devices were; the part of `BlockingClient` that `Client` has as well."""

    def history(
        self: "Caller", device_id: str, key: str, **options: "Unpack[HistoryOptions]"
    ) -> "History":
        """Return what a property was, out of the domain's archive.

        The result has numpy arrays, and can be made a pandas table or a file::

            client.history("VAC/PUMP/1", "pressure", since="-2h", points=1000).to_pandas()

        Args:
            options: see `HistoryOptions`; one beginning is needed: `since`, `trains` or `run`.

        Raises:
            UnknownDeviceError, UnknownPropertyError: nothing of it is archived.
            BadInputError: a moment, operator or option that is none.
        """
        from ._history import HistoryRequest, now_ns, reading_history
        from ._steps import carry_out

        request = HistoryRequest(device_id=device_id, key=key, **options)
        return carry_out(self, reading_history(request, now_ns()))

    def past(
        self: "Caller", device_id: str, time: "Moment", *, reader: str | None = None
    ) -> "Past":
        """Return what a device was at a moment: schema, values, and how sure that is.

        Args:
            reader: the device to ask; by default any that has the history.

        Raises:
            UnknownDeviceError: nothing of it is archived.
            WrongTypeError: `time` is no moment.
        """
        from ._history import now_ns, reading_past
        from ._steps import carry_out

        return carry_out(self, reading_past(device_id, time, reader, now_ns()))

    def archived(self: "Caller", pattern: str = "*", *, reader: str | None = None) -> list[str]:
        """Return the devices that match a shell pattern and have a history."""
        from ._history import finding_archived
        from ._steps import carry_out

        return carry_out(self, finding_archived(pattern, reader))

    def tail(
        self: "Caller",
        device_id: str,
        key: str,
        *,
        since: "Moment",
        on_gap: "OnGap | None" = None,
        reader: str | None = None,
    ) -> "Tail":
        """Return what a property was since a moment, and then each change; for a ``with``.

        None is missing and none comes twice::

            with client.tail("MOTOR/1", "position", since="-1min") as tail:
                print(tail.history.values)
                for value in tail:
                    print(value.value, value.timestamp)

        Args:
            on_gap: called where changes were lost; without it that raises `ChangesLostError`.
        """
        from ._history import HistoryRequest
        from ._tail import Tail

        request = HistoryRequest(device_id=device_id, key=key, since=since, reader=reader)
        return Tail(cast("BlockingClient", self), request, on_gap)


class AsyncRecalling:
    """Asks what devices were; the part of `Client` that `BlockingClient` has as well."""

    async def history(
        self: "AsyncCaller", device_id: str, key: str, **options: "Unpack[HistoryOptions]"
    ) -> "History":
        """Return what a property was; see `BlockingClient.history`."""
        from ._history import HistoryRequest, now_ns, reading_history
        from ._steps import acarry_out

        request = HistoryRequest(device_id=device_id, key=key, **options)
        return await acarry_out(self, reading_history(request, now_ns()))

    async def past(
        self: "AsyncCaller", device_id: str, time: "Moment", *, reader: str | None = None
    ) -> "Past":
        """Return what a device was at a moment; see `BlockingClient.past`."""
        from ._history import now_ns, reading_past
        from ._steps import acarry_out

        return await acarry_out(self, reading_past(device_id, time, reader, now_ns()))

    async def archived(
        self: "AsyncCaller", pattern: str = "*", *, reader: str | None = None
    ) -> list[str]:
        """Return the devices that match a shell pattern and have a history."""
        from ._history import finding_archived
        from ._steps import acarry_out

        return await acarry_out(self, finding_archived(pattern, reader))

    def tail(
        self: "AsyncCaller",
        device_id: str,
        key: str,
        *,
        since: "Moment",
        on_gap: "OnGap | None" = None,
        reader: str | None = None,
    ) -> "AsyncTail":
        """Return what a property was, and then each change; for an ``async with``.

        See `BlockingClient.tail`.
        """
        from ._history import HistoryRequest
        from ._tail import AsyncTail

        request = HistoryRequest(device_id=device_id, key=key, since=since, reader=reader)
        return AsyncTail(cast("Client", self), request, on_gap)
