"""The pipeline outputs of one server process, on a socket of their own."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from pykarabo.data import OutputInfo, PropertyInfo, Timestamp, arrays_in, decode, encode
from pykarabo.errors import (
    LimitExceededError,
    MalformedMessageError,
    PykaraboError,
    UnknownPropertyError,
    VersionMismatchError,
    did_you_mean,
)
from pykarabo.transport import Clock, Delivery, RouterPort, Transport, is_plain
from pykarabo.wire import (
    Attach,
    Consumer,
    Frame,
    Header,
    Kind,
    PipelineOutput,
    pack,
    parse_attach,
    unpack,
)

from ._rights import Readers, all_readers

LOOK_AGAIN_S: Final = 0.2
"""A writer that is held looks so often whether the input that holds it still exists."""


class OutputChannel:
    """A device's output of bulk data; write to it with `write`.

    Attributes:
        info: what the items hold; values are checked against it.
    """

    def __init__(self, host: "PipelineHost", pipe: PipelineOutput, info: OutputInfo) -> None:
        self.info = info
        self._host = host
        self._pipe = pipe
        self._properties: dict[str, PropertyInfo] = {item.key: item for item in info.properties}
        self._writing = asyncio.Lock()
        self._credit = asyncio.Event()

    @property
    def written(self) -> int:
        """How many items were written."""
        return self._pipe.sequence

    @property
    def dropped(self) -> int:
        """How many items were not sent to inputs that had no credit, over all inputs."""
        return self._pipe.dropped

    @property
    def consumers(self) -> tuple[Consumer, ...]:
        """The attached inputs."""
        return tuple(self._pipe.consumers)

    async def write(
        self, data: Mapping[str, Any], *, timestamp: Timestamp, source: str | None = None
    ) -> None:
        """Send one item; waits while an input with policy ``wait`` has no credit.

        Arrays are handed over without a copy and become read-only: an array that changed while
        it is still being sent would arrive wrong.

        Args:
            data: values by dotted key, as the output's item class declares them.
            timestamp: when the data was taken; its train id matches it with other sources.
            source: the data's name where it differs from ``DEVICE:output``.

        Raises:
            UnknownPropertyError, WrongTypeError, WrongShapeError, ...: the item does not fit;
                nothing was sent.
            LimitExceededError: the item is too large; nothing was sent.
        """
        plain = {key: self._checked(key, value) for key, value in data.items()}
        async with self._writing:
            await self._until_credit()
            name = source or f"{self._pipe.device_id}:{self._pipe.name}"
            peers, frames = self._pipe.item(plain, timestamp, name)
            for peer in peers:
                self._send(peer, frames)

    def _checked(self, key: str, value: Any) -> Any:
        info = self._properties.get(key)
        if info is None:
            raise UnknownPropertyError(
                f"output '{self._pipe.name}' of '{self._pipe.device_id}' has no item '{key}'",
                device=self._pipe.device_id,
                key=key,
                remedy=did_you_mean(key, self._properties) or "declare it in the item class",
            )
        checked = info.validate(value, device=self._pipe.device_id)
        for array in arrays_in(checked):
            array.flags.writeable = False
        return checked

    async def _until_credit(self) -> None:
        while blocking := self._pipe.blocking():
            self._credit.clear()
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._credit.wait()
            except TimeoutError:
                self._detach_the_dead(blocking)

    def _detach_the_dead(self, peers: list[bytes]) -> None:
        for peer in peers:
            if self._host.send(peer, self._pipe.probe()) is Delivery.GONE:
                self.detach(peer)
        for peer in self._pipe.silent(self._host.now_ns()):
            self.detach(peer)

    def _send(self, peer: bytes, frames: list[Frame]) -> None:
        if self._host.send(peer, frames) is not Delivery.SENT:
            self.detach(peer)

    async def end_of_stream(self) -> None:
        """Tell every input that no more items come for now."""
        async with self._writing:
            peers, frames = self._pipe.end_of_stream()
            for peer in peers:
                self._send(peer, frames)

    def farewell(self) -> list[Frame]:
        """Return what tells an input that the output is gone."""
        return self._pipe.farewell()

    def attach(self, peer: bytes, attach: Attach, now_ns: int) -> list[Frame]:
        """Take an input; returns what to answer it."""
        return self._pipe.attach(peer, attach, now_ns)

    def credited(self, peer: bytes, amount: int, now_ns: int) -> None:
        """Take an input's credits."""
        self._pipe.credit(peer, amount, now_ns)
        self._credit.set()

    def detach(self, peer: bytes) -> None:
        """Forget an input."""
        self._pipe.detach(peer)
        self._host.forget(peer)
        self._credit.set()


class PipelineHost:
    """Listens for pipeline inputs and passes them to the outputs that they name.

    Args:
        readers: refuses who may not read an output.
    """

    def __init__(
        self, transport: Transport, clock: Clock, *, readers: Readers = all_readers
    ) -> None:
        self._clock = clock
        self._readers = readers
        self._outputs: dict[tuple[str, str], OutputChannel] = {}
        self._peers: dict[bytes, OutputChannel] = {}
        self._router: RouterPort = transport.bind_router("data", self._received, bulk=True)
        self._checksum = is_plain(self._router.endpoint)
        self.malformed = 0

    @property
    def endpoint(self) -> str:
        """Where inputs connect to."""
        return self._router.endpoint

    def now_ns(self) -> int:
        """Return the monotonic clock."""
        return self._clock.monotonic_ns()

    def open(
        self, device_id: str, info: OutputInfo, *, instance: bytes, epoch: int
    ) -> OutputChannel:
        """Make the output of a device reachable."""
        pipe = PipelineOutput(
            device_id,
            info.name,
            instance=instance,
            epoch=epoch,
            description=info.to_wire(),
            checksum=self._checksum,
        )
        channel = OutputChannel(self, pipe, info)
        self._outputs[device_id, info.name] = channel
        return channel

    async def close_device(self, device_id: str) -> None:
        """End the outputs of a device; their inputs are told that the stream has ended."""
        for key in [key for key in self._outputs if key[0] == device_id]:
            channel = self._outputs.pop(key)
            await channel.end_of_stream()
            for consumer in channel.consumers:
                self.send(consumer.peer, channel.farewell())
                channel.detach(consumer.peer)

    def send(self, peer: bytes, frames: list[Frame]) -> Delivery:
        """Send to one input."""
        return self._router.send(peer, frames)

    def forget(self, peer: bytes) -> None:
        """Forget which output an input was attached to."""
        self._peers.pop(peer, None)

    def _received(self, peer: bytes, frames: list[Frame]) -> None:
        try:
            header = unpack(frames)
            if header.kind == Kind.ATTACH:
                self._attach(peer, header, parse_attach(decode(frames[1:])))
                return
        except (MalformedMessageError, LimitExceededError, VersionMismatchError) as error:
            self.malformed += 1
            self._refuse(peer, error)
            return
        channel = self._peers.get(peer)
        if channel is None:
            return
        if header.kind == Kind.CREDIT:
            channel.credited(peer, header.sequence, self.now_ns())
        elif header.kind == Kind.DETACH:
            channel.detach(peer)

    def _attach(self, peer: bytes, header: Header, attach: Attach) -> None:
        channel = self._outputs.get((attach.device, attach.output))
        try:
            self._readers(self._router.sender, f"{attach.device}:{attach.output}")
            if channel is None:
                raise UnknownPropertyError(
                    f"there is no output '{attach.device}:{attach.output}' here",
                    device=attach.device,
                    key=attach.output,
                    remedy=f"see 'pykarabo show {attach.device}'",
                )
            answer = channel.attach(peer, attach, self.now_ns())
        except PykaraboError as error:
            self._refuse(peer, error)
            return
        del header
        self._peers[peer] = channel
        self._router.identify()
        self._router.send(peer, answer)

    def _refuse(self, peer: bytes, error: PykaraboError) -> None:
        frames = pack(Header(Kind.ERROR), encode(error.to_wire()), checksum=self._checksum)
        self._router.send(peer, frames)

    def close(self) -> None:
        """Stop listening."""
        self._router.close()
