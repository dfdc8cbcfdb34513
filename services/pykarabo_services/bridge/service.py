"""The Karabo bridge as a device: gives matched trains to programs outside the control system."""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import zmq

from pykarabo.data import Choice, Float64, State, String, UInt32, UInt64, VectorString
from pykarabo.device import Device, command
from pykarabo.errors import BadConfigurationError, PykaraboError
from pykarabo.transport import run_directory
from pykarabo_services.bridge._endpoint import BridgeEndpoint, Pattern
from pykarabo_services.bridge.model import BridgeQueue, Protocol, serialize
from pykarabo_services.kernel.feed import Selection, TrainFeed
from pykarabo_services.kernel.losses import LossReason
from pykarabo_services.kernel.trains import MatcherSettings

# Analysis is live: a train leaves soon after it is complete.
POLL_S: Final = 0.02
SETTLE_S: Final = 0.05
SHOW_NS: Final = 1_000_000_000
# How often devices are looked for that came later, and how soon a failed start is tried again.
LOOK_AGAIN_S: Final = 3.0
# The name of a Unix socket must be short: its path has 107 bytes at most.
_NAME_DIGITS: Final = 12


class KaraboBridge(Device):
    """Serves matched trains in the Karabo bridge protocol, to karabo-bridge clients.

    Clients can only read, and only what is selected here. The protocol has no encryption and no
    password: on a TCP endpoint everybody who reaches it can read the data.
    """

    endpoint = String(
        init_only=True,
        description="Where to listen, such as tcp://127.0.0.1:45454; empty for a Unix socket "
        "that only this user can open.",
    )
    pattern = Choice(
        [str(pattern) for pattern in Pattern],
        default=str(Pattern.REP),
        init_only=True,
        description="REP: trains on request; PUB: to all; PUSH: each train to one client.",
    )
    protocol = Choice(
        [str(version) for version in Protocol],
        default=str(Protocol.V2_2),
        description="Version of the protocol.",
    )
    devices = VectorString(
        default=["*"], description="Shell patterns of the devices whose properties are sent."
    )
    outputs = VectorString(
        default=["*"], description="Shell patterns of the outputs (DEVICE:output) that are sent."
    )
    excluded = VectorString(
        default=["DIRECTORY"], description="Shell patterns of what is left out all the same."
    )
    train_clock = String(
        description="The device that announces the trains; empty for the only one there is."
    )
    maximum_delay = Float64(
        default=1.0,
        minimum=0.0,
        unit="s",
        description="How long a train waits for a source that sends nothing.",
    )
    maximum_memory = UInt32(
        default=1024, minimum=16, unit="MiB", description="How much data may wait for its train."
    )

    address = String(read_only=True, description="Where clients connect.")
    last_train = UInt64(read_only=True, description="The newest train that was offered.")
    offered = UInt64(read_only=True, description="Trains that were complete or old enough.")
    served = UInt64(read_only=True, description="Trains that were sent to a client.")
    dropped = UInt64(read_only=True, description="Trains that no client took in time.")
    lost = UInt64(read_only=True, description="Items that missed their train.")
    bad_requests = UInt64(read_only=True, description="Requests that were refused.")
    waiting_clients = UInt32(read_only=True, description="Clients that wait for a train.")
    sources = UInt32(read_only=True, description="Devices and outputs that are sent.")
    problems = VectorString(read_only=True, description="What cannot be sent, and why.")

    _is_bound = False
    _works = False

    async def on_initialize(self) -> None:
        """Bind the socket."""
        self._queue = BridgeQueue()
        place = self.endpoint or self._private_endpoint()
        try:
            self._endpoint = BridgeEndpoint(
                self._queue, pattern=Pattern(self.pattern), endpoint=place
            )
        except zmq.ZMQError as error:
            raise BadConfigurationError(
                f"the bridge cannot listen on {place}: {zmq.strerror(error.errno or 0)}",
                device=self.device_id,
                key="endpoint",
                remedy="choose another port, or leave the endpoint empty",
            ) from None
        self._is_bound = True
        self._lost_before = 0
        self._renew = asyncio.Event()
        self.set_values({"address": self._endpoint.address, "state": State.ON})

    async def on_start(self) -> None:
        """Serve trains until the device is stopped."""
        requests = self.spawn(self._endpoint.serve(), name="requests")
        self._works = True
        try:
            while True:
                await self._follow()
        finally:
            requests.cancel()
            await asyncio.wait((requests,))
            self._endpoint.close()

    async def on_stop(self) -> None:
        """Close the socket, unless `on_start` does."""
        if self._is_bound and not self._works:
            self._endpoint.close()

    async def _follow(self) -> None:
        """Serve the sources that there are now."""
        feed = self._new_feed()
        self._renew.clear()
        try:
            await feed.open()
            self.set_values({"state": State.ACTIVE, "status": f"serves at {self.address}"})
            feed.start_trains()
            await self._serve(feed)
        except PykaraboError as error:
            self.set_values({"state": State.PASSIVE, "status": str(error)})
            await asyncio.sleep(LOOK_AGAIN_S)
        finally:
            await feed.aclose()

    async def after_set(self, values: Mapping[str, Any]) -> None:
        """Follow the sources that are selected now."""
        self._renew.set()

    @command()
    async def refresh(self) -> None:
        """Look for the sources again."""
        self._renew.set()

    def _private_endpoint(self) -> str:
        name = hashlib.sha256(self.device_id.encode()).hexdigest()[:_NAME_DIGITS]
        return f"ipc://{run_directory(self.client.domain, create=True)}/bridge-{name}"

    def _new_feed(self) -> TrainFeed:
        selection = Selection(
            devices=tuple(self.devices),
            outputs=tuple(self.outputs),
            excluded=(*self.excluded, self.device_id),
            train_clock=self.train_clock,
        )
        settings = MatcherSettings(
            maximum_delay_s=self.maximum_delay,
            settle_s=min(SETTLE_S, self.maximum_delay),
            maximum_bytes=self.maximum_memory << 20,
        )
        return TrainFeed(self.client, selection, settings)

    async def _serve(self, feed: TrainFeed) -> None:
        """Offer trains until the selection is changed or devices come."""
        shown_ns = looked_ns = self.clock.monotonic_ns()
        while not self._renew.is_set():
            await asyncio.sleep(POLL_S)
            now_ns = self.clock.monotonic_ns()
            for train in feed.matcher.advance(now_ns):
                await self._endpoint.offer(serialize(train, protocol=Protocol(self.protocol)))
                self.last_train = train.train_id
            if now_ns - shown_ns >= SHOW_NS:
                shown_ns = now_ns
                feed.check()
                self._show(feed)
            if now_ns - looked_ns >= LOOK_AGAIN_S * 1e9:
                looked_ns = now_ns
                if await feed.is_outdated():
                    break
        self._lost_before += _lost(feed)

    def _show(self, feed: TrainFeed) -> None:
        counters = self._queue.counters
        self.set_values(
            {
                "offered": self._endpoint.offered,
                "served": self._endpoint.served,
                "dropped": counters.dropped + self._endpoint.refused,
                "lost": self._lost_before + _lost(feed),
                "bad_requests": counters.bad_requests,
                "waiting_clients": self._queue.waiting_clients,
                "sources": len(feed.devices()) + len(feed.outputs()),
                "problems": feed.problems,
            }
        )


def _lost(feed: TrainFeed) -> int:
    records = feed.matcher.losses()
    return sum(record.count for record in records if record.reason != LossReason.OUTSIDE)
