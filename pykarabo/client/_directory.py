"""Finding things: which replica of the directory is asked, and what holds when none answers.

Nothing here touches the network. A plan yields queries and is sent the answer, or the error, of
each; the asynchronous and the blocking client carry out the same plans.

Replicas are equal. The first one that answers counts; what it does not know, or cannot know yet
because it was restarted, is asked of the others. When no replica answers, the topology that this
user's clients have seen last tells where a device was; the device's own server decides whether it
still is there, because every call names the instance that it is meant for.
"""

import fnmatch
import os
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from pykarabo.errors import (
    HelloRequiredError,
    NotConnectedError,
    OutcomeUnknownError,
    PykaraboError,
    UnknownDeviceError,
    WrongInstanceError,
)
from pykarabo.transport import joined_site, run_directory
from pykarabo.wire import Target

from ._records import DIRECTORY_ID, PAGE, DeviceRecord
from ._topology_cache import CACHED, TopologyCache, cache_file

DIRECTORY_VARIABLE: Final = "PYKARABO_DIRECTORY"
DIRECTORY_STEM: Final = "directory"
ONLY_TIMEOUT_S: Final = 5.0
"""A directory without other replicas is waited for like any device."""
REPLICA_TIMEOUT_S: Final = 1.0
"""Of several replicas, one that needs longer, connecting to it included, is taken for dead and the
next one is asked: a server that was restarted is to be found within 3 s though one is cut off."""
AVOID_S: Final = 5.0
"""A replica that did not answer is asked for confirmation only after so long."""
LOCATE: Final = ""
"""The query that asks for no command but only for the replica itself."""
_UNREACHABLE: Final = (
    NotConnectedError,
    OutcomeUnknownError,
    WrongInstanceError,
    HelloRequiredError,
)
_RANKS: Final = {"online": 0, "busy": 0, "suspect": 1, "gone": 2, CACHED: 3}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Query:
    """What one replica is to be asked."""

    endpoint: str
    command: str = LOCATE
    args: tuple[Any, ...] = ()


Plan: TypeAlias = Generator[Query, Any, _T]


def directory_endpoints(domain: str | None = None) -> tuple[str, ...]:
    """Return where the replicas of the domain's directory answer calls.

    They are those of ``$PYKARABO_DIRECTORY`` (``tcp://host:port``, several separated by commas) if
    that is set, else those of the site that the domain belongs to, else the Unix socket of this
    host's own directory.
    """
    named = os.environ.get(DIRECTORY_VARIABLE, "")
    endpoints = dict.fromkeys(name.strip() for name in named.split(",") if name.strip())
    if not endpoints and (site := joined_site(domain)) is not None:
        return site.grants.directories
    return tuple(endpoints) or (f"ipc://{run_directory(domain)}/{DIRECTORY_STEM}.rpc",)


def replica_target(endpoint: str, found: Sequence[Any]) -> Target:
    """Return whom calls to a replica are meant for; raises `NotConnectedError`.

    Args:
        found: what the server there answers to the question for `DIRECTORY_ID`.
    """
    target = _located(found)
    if target is None:
        raise NotConnectedError(
            f"what answers at {endpoint} is no directory", remedy=f"correct {DIRECTORY_VARIABLE}"
        )
    return target


def _located(found: Sequence[Any]) -> Target | None:
    """Return the present life of a device from its server's answer; None if it is not there."""
    return Target(bytes(found[0][0]), found[0][1]) if found and found[0] is not None else None


def too_slow(endpoint: str) -> NotConnectedError:
    """Return the error for a replica that has used up its time before it was asked."""
    return NotConnectedError(
        f"the directory at {endpoint} cannot be reached in time",
        remedy="'pykarabo doctor' shows what is there",
    )


def present_target(record: DeviceRecord, found: Sequence[Any]) -> Target:
    """Return whom calls to a device are meant for.

    Args:
        record: what was known of it last.
        found: what its server answers to the question for it: it knows better.
    """
    return _located(found) or Target(bytes.fromhex(record.instance), record.epoch)


def replica_record(endpoint: str, target: Target) -> DeviceRecord:
    """Return the record of a replica; replicas are not looked up but configured."""
    return DeviceRecord(
        DIRECTORY_ID, "Directory", "", target.instance.hex(), target.epoch, rpc=endpoint
    )


class DirectoryAccess:
    """What a client asks of the directory's replicas, and in which order.

    Args:
        endpoints: of the replicas.
        cache: what holds when none answers.
    """

    def __init__(self, endpoints: Iterable[str], cache: TopologyCache) -> None:
        self.endpoints = tuple(endpoints)
        self.cache = cache
        self._order = list(self.endpoints)
        self._failed: dict[str, float] = {}

    @property
    def timeout_s(self) -> float:
        """How long a replica may take to answer."""
        return REPLICA_TIMEOUT_S if len(self.endpoints) > 1 else ONLY_TIMEOUT_S

    def locate(self) -> Plan[DeviceRecord]:
        """Find a replica that answers."""
        record: DeviceRecord = yield from self._first(LOCATE)
        return record

    def command(self, name: str, *args: Any) -> Plan[Any]:
        """Run a command at the first replica that answers; what has a better plan follows that."""
        if name == "topology":
            return (yield from self.topology(*args))
        if name == "resolve":
            record = yield from self.resolve(*args)
            return record.to_wire()
        return (yield from self._first(name, *args))

    def _first(self, command: str, *args: Any) -> Plan[Any]:
        failures: list[PykaraboError] = []
        for endpoint in list(self._order):
            answer = yield Query(endpoint, command, args)
            if not self._is_unreachable(endpoint, answer, failures):
                return _result(answer)
        raise self._none_answers(failures)

    def _is_unreachable(self, endpoint: str, answer: Any, failures: list[PykaraboError]) -> bool:
        """Note whether a replica answers; one that does not is asked last from now on."""
        if not isinstance(answer, _UNREACHABLE):
            self._failed.pop(endpoint, None)
            return False
        failures.append(answer)
        self._failed[endpoint] = time.monotonic()
        self._order.remove(endpoint)
        self._order.append(endpoint)
        return True

    def _none_answers(self, failures: list[PykaraboError]) -> PykaraboError:
        if len(failures) == 1:
            return failures[0]
        return NotConnectedError(
            f"no replica of the directory answers at {', '.join(self.endpoints)}",
            remedy="look at 'pykarabo doctor' and start what is missing",
        )

    def _others(self) -> Generator[str, None, None]:
        """Go through the replicas; those that failed just now only if nobody has answered."""
        answered = False
        for endpoint in list(self._order):
            failed_at = self._failed.get(endpoint, -AVOID_S)
            if not answered or time.monotonic() - failed_at >= AVOID_S:
                yield endpoint
                answered = answered or endpoint not in self._failed

    # -- one device -----------------------------------------------------------------------------

    def resolve(self, device_id: str) -> Plan[DeviceRecord]:
        """Find a device.

        Raises:
            UnknownDeviceError: no replica knows it; near matches are named.
            NotConnectedError: no replica answers, and nobody has seen it before.
        """
        failures: list[PykaraboError] = []
        unknown: UnknownDeviceError | None = None
        known: DeviceRecord | None = None
        for endpoint in self._others():
            answer = yield Query(endpoint, "resolve", (device_id,))
            if self._is_unreachable(endpoint, answer, failures):
                continue
            if isinstance(answer, UnknownDeviceError):
                unknown = _less_sure(unknown, answer)
                continue
            known = better(known, DeviceRecord.from_wire(_result(answer)))
            if known.status != "gone":
                break
        return self._found(device_id, known, unknown, failures)

    def _found(
        self,
        device_id: str,
        known: DeviceRecord | None,
        unknown: UnknownDeviceError | None,
        failures: list[PykaraboError],
    ) -> DeviceRecord:
        if known is not None:
            self.cache.learn(known)
            return known
        if unknown is not None and unknown.details.get("complete", True):
            self.cache.forget(device_id)
            raise unknown
        remembered = self.cache.device(device_id)
        if remembered is None:
            raise unknown or self._none_answers(failures)
        return remembered

    # -- all of them ----------------------------------------------------------------------------

    def topology(self, pattern: str = "*") -> Plan[dict[str, Any]]:
        """Ask for devices, servers and their status.

        Returns:
            The maps that a replica's command ``topology`` returns, merged; ``complete`` tells
            whether a replica answered that knows everything, ``answered`` whether any did.

        Raises:
            NotConnectedError: no replica answers, and nobody has asked before.
        """
        failures: list[PykaraboError] = []
        merged = _Merged()
        for endpoint in self._others():
            found = yield from self._pages(endpoint, pattern)
            if self._is_unreachable(endpoint, found, failures):
                continue
            merged.add(_result(found))
            if merged.complete:
                break
        if merged.complete:
            self.cache.replace(pattern, merged.devices, merged.servers.values())
        elif not merged.answered and not self.cache.knows_any():
            raise self._none_answers(failures)
        else:
            self._complete(merged, pattern)
        return merged.to_wire()

    def _pages(self, endpoint: str, pattern: str) -> Plan[Any]:
        """Ask a replica for all pages of its topology; returns an error as it is."""
        found = yield Query(endpoint, "topology", (pattern,))
        page = found
        while not isinstance(page, PykaraboError) and len(page["devices"]) >= PAGE:
            after = page["devices"][-1]["device_id"]
            page = yield Query(endpoint, "topology", (pattern, after))
            if isinstance(page, PykaraboError):
                return page
            found["devices"] += page["devices"]
        return found

    def _complete(self, merged: "_Merged", pattern: str) -> None:
        """Add what was seen last, so that nothing seems gone only because nobody tells of it."""
        for record in self.cache.devices():
            if fnmatch.fnmatchcase(record.device_id, pattern):
                merged.devices.setdefault(record.device_id, record)
        known = {server["server_id"] for server in merged.servers.values()}
        for server in self.cache.servers():
            if server["server_id"] not in known:
                merged.servers[server["instance"]] = server
                merged.statuses[server["server_id"]] = CACHED


def access_to(domain: str, directory: str | None) -> DirectoryAccess:
    """Return the access to a domain's replicas, or to one directory, of which nothing is kept."""
    if directory is not None:
        return DirectoryAccess([directory], TopologyCache())
    endpoints = directory_endpoints(domain)
    return DirectoryAccess(endpoints, TopologyCache(cache_file(domain, endpoints)))


class _Merged:
    """The answers of several replicas as one."""

    def __init__(self) -> None:
        self.version = 0
        self.answered = self.complete = False
        self.devices: dict[str, DeviceRecord] = {}
        self.servers: dict[str, dict[str, Any]] = {}
        self.statuses: dict[str, str] = {}

    def add(self, found: dict[str, Any]) -> None:
        self.answered = True
        self.complete = self.complete or found["complete"]
        self.version = max(self.version, found["version"])
        for wire in found["devices"]:
            record = DeviceRecord.from_wire(wire)
            known = self.devices.get(record.device_id)
            self.devices[record.device_id] = better(known, record)
        for server in found["servers"]:
            self.servers[server["instance"]] = server
        for server_id, status in found["statuses"].items():
            known_status = self.statuses.get(server_id, CACHED)
            self.statuses[server_id] = min(status, known_status, key=_rank)

    def to_wire(self) -> dict[str, Any]:
        servers = sorted(self.servers.values(), key=lambda server: str(server["server_id"]))
        return {
            "version": self.version,
            "answered": self.answered,
            "complete": self.complete,
            "devices": [self.devices[device_id].to_wire() for device_id in sorted(self.devices)],
            "servers": servers,
            "statuses": self.statuses,
        }


def better(known: DeviceRecord | None, other: DeviceRecord) -> DeviceRecord:
    """Return which of two replicas' records of a device counts.

    Of one instance it is the later version; of two, the one that is alive, then the older grant.
    """
    if known is None:
        return other
    if known.instance == other.instance:
        return max(known, other, key=lambda record: (record.version, -_rank(record.status)))
    return min(known, other, key=lambda record: (_rank(record.status), record.fence, record.epoch))


def _rank(status: str) -> int:
    return _RANKS.get(status, len(_RANKS))


def _less_sure(known: UnknownDeviceError | None, other: UnknownDeviceError) -> UnknownDeviceError:
    """Return the answer of the replica that knows everything, if one of the two does."""
    return known if known is not None and known.details.get("complete", True) else other


def _result(answer: Any) -> Any:
    if isinstance(answer, PykaraboError):
        raise answer
    return answer
