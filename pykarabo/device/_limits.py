"""Telling when clients were turned away because they took too much."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ._server import Server

_CONNECTIONS: Final = "connections"
_SUBSCRIPTIONS: Final = "subscriptions"


class LimitWatch:
    """Raises an alarm on a server whose limits somebody has passed; it is to be acknowledged."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._refused = 0
        self._cut = 0

    def look(self) -> None:
        """Look whether something has happened since the last time."""
        connections, streams = self._server.connections, self._server.streams
        if not self._server.hosts(self._server.server_id):
            return
        if connections.refused > self._refused:
            text = f"{connections.refused} connections had no room; {connections.last}"
            self._refused = connections.refused
            self._raise(_CONNECTIONS, text)
        if streams.subscribers_cut > self._cut:
            text = f"{streams.subscribers_cut} connections were ended; {streams.last_cut}"
            self._cut = streams.subscribers_cut
            self._raise(_SUBSCRIPTIONS, text)

    def _raise(self, source: str, text: str) -> None:
        self._server.own_device.raise_alarm("warn", text, source=source, needs_acknowledge=True)
