"""What a server raises alarms about on its own device: its clock, its door, greedy clients."""

import logging
from typing import TYPE_CHECKING, Final

from pykarabo.transport import Transport

from ._clock_watch import ClockWatch
from ._trains import TimeSource

if TYPE_CHECKING:
    from ._server import Server

_log: Final = logging.getLogger(__name__)


class ServerAlerts:
    """Looks, at each heartbeat, for what somebody must know.

    Args:
        time: whose offset means nothing any more when the clock was set.
    """

    def __init__(
        self, server: "Server", transport: Transport, clock: ClockWatch, time: TimeSource
    ) -> None:
        self._server = server
        self._transport = transport
        self._clock = clock
        self._time = time
        self._door_is_shut = False
        self._refused = 0
        self._cut = 0

    def look(self) -> None:
        """Look whether something has happened since the last time."""
        self.look_at_clock()
        if self._server.hosts(self._server.server_id):
            self._look_at_door()
            self._look_at_clients()

    def look_at_clock(self) -> None:
        """Tell when the host's clock was set: time stamps before and after do not fit together."""
        jump_ns = self._clock.look()
        if not jump_ns:
            return
        self._time.offset.forget()
        text = f"the clock of this host was set by {jump_ns / 1e9:+.3f} s; time stamps go with it"
        _log.warning("%s", text)
        if self._server.hosts(self._server.server_id):
            self._warn("clock", text)

    def _look_at_door(self) -> None:
        """Tell when nobody can connect any more: who is connected is served on."""
        if self._transport.admits or self._door_is_shut:
            return
        self._door_is_shut = True
        text = "nobody can connect to this server any more: restart it when it suits"
        _log.critical("%s", text)
        self._server.own_device.raise_alarm("alarm", text, source="door")

    def _look_at_clients(self) -> None:
        """Tell when clients were turned away because they took too much."""
        connections, streams = self._transport.counts, self._server.streams
        if connections.refused > self._refused:
            self._refused = connections.refused
            text = f"{connections.refused} connections had no room; {connections.last}"
            self._warn("connections", text)
        if streams.subscribers_cut > self._cut:
            self._cut = streams.subscribers_cut
            text = f"{streams.subscribers_cut} connections were ended; {streams.last_cut}"
            self._warn("subscriptions", text)

    def _warn(self, source: str, text: str) -> None:
        """Raise an alarm that stays until somebody has seen it."""
        self._server.own_device.raise_alarm("warn", text, source=source, needs_acknowledge=True)
