"""The Karabo bridge protocol, versions 2.2 and 1.0, and its requests: pure, without sockets.

A message of 2.2 is a sequence of (header, body) frames: for every source one map of plain values,
then one frame per array. A message of 1.0 is a single map with everything in it.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

from numpy.typing import NDArray

from pykarabo.data import PropertyValue, Timestamp
from pykarabo_services.bridge._values import FlatData, buffer_of, flatten, pack
from pykarabo_services.kernel.trains import Train

Frame: TypeAlias = bytes | memoryview

REQUEST: Final = b"next"
# Attoseconds are written with all their digits.
_FRACTION_DIGITS: Final = 18
# Trains that wait for a client: enough to ride out a pause of 0.4 s at 10 Hz, and still fresh.
QUEUED_TRAINS: Final = 4
# Requests kept for clients that wait: a client asks once and waits; more is a fault or an attack.
REQUESTS_PER_CLIENT: Final = 4
WAITING_REQUESTS: Final = 1000
# The longest refusal: it quotes the bad request, which may be of any size.
_REFUSAL_BYTES: Final = 100


class Protocol(StrEnum):
    """Versions of the protocol that clients understand."""

    V1_0 = "1.0"
    V2_2 = "2.2"


@dataclass(frozen=True, slots=True, eq=False)
class SourceData:
    """What a message says about one source; `items` is above 1 when only the last one is sent."""

    data: Mapping[str, Any]
    timestamp: Timestamp
    items: int = 1


def sources_of(train: Train) -> dict[str, SourceData]:
    """Return the sources of a train: devices with all their values, outputs with their last item.

    A device's time is that of its newest value.
    """
    sources: dict[str, SourceData] = {}
    for device_id, values in train.controls.items():
        data = {key: value.value for key, value in values.items()}
        sources[device_id] = SourceData(data, _newest(values, train))
    for name, items in train.items.items():
        if items:
            sources[name] = SourceData(items[-1].data, items[-1].timestamp, len(items))
    return sources


def _newest(values: Mapping[str, PropertyValue], train: Train) -> Timestamp:
    stamps = [value.timestamp for value in values.values()]
    newest = max(stamps, key=lambda stamp: (stamp.seconds, stamp.fraction), default=None)
    return newest if newest and newest.seconds else Timestamp.from_ns(train.time_ns)


def metadata_of(
    source: str, timestamp: Timestamp, *, train_id: int, ignored: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the metadata of one source; one message belongs to one train."""
    return {
        "source": source,
        "timestamp": timestamp.to_float(),
        "timestamp.sec": str(timestamp.seconds),
        "timestamp.frac": str(timestamp.fraction).zfill(_FRACTION_DIGITS),
        "timestamp.tid": train_id,
        "ignored_keys": list(ignored),
    }


def serialize(train: Train, *, protocol: Protocol = Protocol.V2_2) -> list[Frame]:
    """Return a train as a message; arrays of 2.2 are the memory they already are in.

    Values that the protocol cannot carry are named in `ignored_keys` of their source.
    """
    flat: dict[str, FlatData] = {}
    metadata: dict[str, dict[str, Any]] = {}
    for name, source in sorted(sources_of(train).items()):
        flat[name] = flatten(source.data)
        metadata[name] = metadata_of(
            name, source.timestamp, train_id=train.train_id, ignored=flat[name].ignored
        )
        if source.items > 1:
            metadata[name]["items"] = source.items
    if protocol is Protocol.V1_0:
        return _serialize_map(flat, metadata)
    return _serialize_frames(flat, metadata)


def _serialize_frames(
    flat: Mapping[str, FlatData], metadata: Mapping[str, dict[str, Any]]
) -> list[Frame]:
    frames: list[Frame] = []
    for name, data in flat.items():
        header = {"source": name, "content": "msgpack", "metadata": metadata[name]}
        frames += [pack(header), pack(data.plain)]
        for key, array in data.arrays.items():
            frames += [
                pack(
                    {
                        "source": name,
                        "content": "array",
                        "path": key,
                        "dtype": str(array.dtype),
                        "shape": array.shape,
                    }
                ),
                buffer_of(array),
            ]
    return frames


def _serialize_map(
    flat: Mapping[str, FlatData], metadata: Mapping[str, dict[str, Any]]
) -> list[Frame]:
    message = {
        name: {
            **data.plain,
            **{key: _packed_array(array) for key, array in data.arrays.items()},
            "metadata": metadata[name],
        }
        for name, data in flat.items()
    }
    return [pack(message)]


def _packed_array(array: NDArray[Any]) -> dict[bytes, Any]:
    """Return an array in the form of msgpack-numpy, with bytes as keys."""
    return {
        b"nd": True,
        b"type": array.dtype.str,
        b"kind": b"",
        b"shape": array.shape,
        b"data": array.tobytes(),
    }


class Reply(NamedTuple):
    """A message for one client: a train, or the refusal of its request."""

    client: bytes
    frames: list[Frame]
    is_train: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeCounters:
    """What a bridge did so far. Trains: offered = served + dropped + waiting."""

    offered: int
    served: int
    dropped: int
    bad_requests: int


class BridgeQueue:
    """Request and reply without a socket: every train goes to one client that asked for it.

    Trains wait for a client, the newest ones are kept; clients wait for a train in the order in
    which they asked. `client` names a peer of the socket and may be empty when there is only one.
    """

    def __init__(
        self, *, maximum_trains: int = QUEUED_TRAINS, maximum_bytes: int = 2 << 30
    ) -> None:
        self._maximum_trains = maximum_trains
        self._maximum_bytes = maximum_bytes
        self._trains: deque[tuple[int, list[Frame]]] = deque()
        self._bytes = 0
        self._clients: deque[bytes] = deque()
        self._asked: Counter[bytes] = Counter()
        self._offered = 0
        self._served = 0
        self._dropped = 0
        self._bad_requests = 0

    @property
    def counters(self) -> BridgeCounters:
        """What happened so far."""
        return BridgeCounters(
            offered=self._offered,
            served=self._served,
            dropped=self._dropped,
            bad_requests=self._bad_requests,
        )

    @property
    def waiting_clients(self) -> int:
        """Requests that no train has answered yet."""
        return len(self._clients)

    @property
    def waiting_trains(self) -> int:
        """Trains that no client has asked for yet."""
        return len(self._trains)

    def request(self, message: Sequence[bytes], client: bytes = b"") -> Reply | None:
        """Take a request; the reply, or None when it must wait for the next train."""
        if list(message) != [REQUEST]:
            return self._refuse(client, b"Error: bad request " + b" ".join(message))
        if self._trains:
            nbytes, frames = self._trains.popleft()
            self._bytes -= nbytes
            self._served += 1
            return Reply(client, frames)
        full = len(self._clients) >= WAITING_REQUESTS
        if full or self._asked[client] >= REQUESTS_PER_CLIENT:
            return self._refuse(client, b"Error: too many requests, wait for the reply")
        self._clients.append(client)
        self._asked[client] += 1
        return None

    def offer(self, frames: list[Frame]) -> Reply | None:
        """Take the next train; the reply to the client that waited longest, None without one."""
        self._offered += 1
        if self._clients:
            return self._serve(self._clients[0], frames)
        self._keep(frames, oldest=False)
        return None

    def _serve(self, client: bytes, frames: list[Frame]) -> Reply:
        self._clients.popleft()
        self._forget_one(client)
        self._served += 1
        return Reply(client, frames)

    def _keep(self, frames: list[Frame], *, oldest: bool) -> None:
        entry = (sum(map(_size, frames)), frames)
        if oldest:
            self._trains.appendleft(entry)
        else:
            self._trains.append(entry)
        self._bytes += entry[0]
        while self._is_full():
            self._bytes -= self._trains.popleft()[0]
            self._dropped += 1

    def undeliverable(self, reply: Reply) -> Reply | None:
        """Take back a train whose client is gone, and hand it to the next one."""
        self.forget(reply.client)
        self._served -= 1
        if self._clients:
            return self._serve(self._clients[0], reply.frames)
        self._keep(reply.frames, oldest=True)
        return None

    def forget(self, client: bytes) -> None:
        """Drop the requests of a client that is gone."""
        if self._asked.pop(client, 0):
            self._clients = deque(other for other in self._clients if other != client)

    def _is_full(self) -> bool:
        return len(self._trains) > self._maximum_trains or self._bytes > self._maximum_bytes

    def _forget_one(self, client: bytes) -> None:
        self._asked[client] -= 1
        if not self._asked[client]:
            del self._asked[client]

    def _refuse(self, client: bytes, text: bytes) -> Reply:
        self._bad_requests += 1
        return Reply(client, [text[:_REFUSAL_BYTES]], is_train=False)


def _size(frame: Frame) -> int:
    return frame.nbytes if isinstance(frame, memoryview) else len(frame)
