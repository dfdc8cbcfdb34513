"""The blocking client of a domain: calls go out in the caller's thread, without an event loop."""

import atexit
import os
import secrets
import threading
from collections.abc import Mapping
from typing import Any, Final

import zmq

from pykarabo.data import PropertyValue, Schema, from_row
from pykarabo.errors import (
    HelloRequiredError,
    NotConnectedError,
    PykaraboError,
    WrongInstanceError,
)
from pykarabo.transport import BlockingLink, Socket, domain_name, make_context
from pykarabo.wire import (
    Call,
    ClientSession,
    GetSchema,
    Locate,
    ReadMany,
    Request,
    Target,
)

from ._blocking_proxy import DeviceProxy
from ._directory import (
    CALL_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    DIRECTORY_VARIABLE,
    directory_endpoint,
    own_identity,
)
from ._records import DIRECTORY_ID, DeviceRecord, ServerRecord, check_device_id

_SAFE_TO_REPEAT: Final = (NotConnectedError, WrongInstanceError, HelloRequiredError)


class BlockingClient:
    """A client of one domain; use it as a context manager. Threads may share it.

    Args:
        domain: the domain; default is that of the environment.
        directory: endpoint of the directory; default is the domain's own.
    """

    def __init__(self, domain: str | None = None, *, directory: str | None = None) -> None:
        self.domain = domain_name(domain)
        self._directory = directory or directory_endpoint(self.domain)
        self._context: zmq.Context[Socket] = make_context()
        self._identity = own_identity()
        self._lock = threading.Lock()
        self._links: dict[str, BlockingLink] = {}
        self._records: dict[str, DeviceRecord] = {}
        self._reachable: dict[str, tuple[BlockingLink, Target]] = {}

    def __enter__(self) -> "BlockingClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every link."""
        with self._lock:
            for link in self._links.values():
                link.close()
            self._links.clear()
            self._reachable.clear()
        if not self._context.closed:
            self._context.term()

    # -- finding --------------------------------------------------------------------------------

    def resolve(self, device_id: str) -> DeviceRecord:
        """Return where a device is, from memory or from the directory.

        Raises:
            UnknownDeviceError: the directory does not know it; near matches are named.
            NotConnectedError: there is no directory.
        """
        known = self._records.get(device_id)
        if known is not None:
            return known
        if device_id == DIRECTORY_ID:
            record = self._locate_directory()
        else:
            check_device_id(device_id)
            record = DeviceRecord.from_wire(self.directory("resolve", device_id))
        self._records[device_id] = record
        return record

    def _locate_directory(self) -> DeviceRecord:
        link = self._link(self._directory, f"the directory of domain '{self.domain}'")
        found, _sequence = link.call(Locate([DIRECTORY_ID]), Target(), timeout_s=CALL_TIMEOUT_S)
        if not found or found[0] is None:
            raise NotConnectedError(
                f"what answers at {self._directory} is no directory",
                remedy=f"correct {DIRECTORY_VARIABLE}",
            )
        instance, epoch = found[0]
        return DeviceRecord(
            DIRECTORY_ID, "Directory", "", instance.hex(), epoch, rpc=self._directory
        )

    def directory(self, command: str, *args: Any) -> Any:
        """Run a command of the directory."""
        return self.request(DIRECTORY_ID, Call(DIRECTORY_ID, command, list(args)))

    def topology(self, pattern: str = "*") -> list[DeviceRecord]:
        """Return the devices whose id matches the shell pattern, by id."""
        found = self.directory("topology", pattern)
        return [DeviceRecord.from_wire(record) for record in found["devices"]]

    def servers(self) -> list[ServerRecord]:
        """Return the device servers, by id."""
        found = self.directory("topology", "*")
        return [ServerRecord.from_wire(record) for record in found["servers"]]

    # -- calling --------------------------------------------------------------------------------

    def _link(self, rpc: str, peer: str) -> BlockingLink:
        with self._lock:
            link = self._links.get(rpc)
            if link is None or link.closed:
                if link is not None:
                    link.close()
                session = ClientSession(
                    secrets.token_bytes(8),
                    self._identity,
                    peer=peer,
                    checksum=rpc.startswith("tcp"),
                )
                link = BlockingLink(self._context, rpc, session, timeout_s=CONNECT_TIMEOUT_S)
                self._links[rpc] = link
            return link

    def _reach(self, device_id: str) -> tuple[BlockingLink, Target]:
        known = self._reachable.get(device_id)
        if known is not None and not known[0].closed:
            return known
        record = self.resolve(device_id)
        if record.status == "gone":
            self._forget(device_id)
            raise NotConnectedError(
                f"device '{device_id}' is gone with its server '{record.server_id}'",
                device=device_id,
                remedy=f"start the server: pykarabo server start --id {record.server_id}",
            )
        link = self._link(record.rpc, f"server '{record.server_id or DIRECTORY_ID}'")
        reachable = (link, Target(bytes.fromhex(record.instance), record.epoch))
        self._reachable[device_id] = reachable
        return reachable

    def _forget(self, device_id: str) -> None:
        self._records.pop(device_id, None)
        self._reachable.pop(device_id, None)

    def request(
        self, device_id: str, request: Request, *, timeout_s: float = CALL_TIMEOUT_S
    ) -> Any:
        """Make a call to a device and return its result.

        A call that certainly was not executed because the device has moved or was restarted is
        made once more at its new place; anything else is reported as it is.
        """
        try:
            link, target = self._reach(device_id)
            return link.call(request, target, timeout_s=timeout_s)[0]
        except _SAFE_TO_REPEAT:
            self._forget(device_id)
            if device_id != DIRECTORY_ID:
                self._forget(DIRECTORY_ID)
            link, target = self._reach(device_id)
            return link.call(request, target, timeout_s=timeout_s)[0]

    def read_many(
        self, wanted: Mapping[str, list[str] | None], *, timeout_s: float = CALL_TIMEOUT_S
    ) -> dict[str, dict[str, PropertyValue] | PykaraboError]:
        """Read properties of many devices with one call per server.

        Returns:
            Per device its property values, or the error that it answered.
        """
        servers: dict[BlockingLink, list[str]] = {}
        answers: dict[str, dict[str, PropertyValue] | PykaraboError] = {}
        for device_id in wanted:
            try:
                servers.setdefault(self._reach(device_id)[0], []).append(device_id)
            except PykaraboError as error:
                answers[device_id] = error
        for link, devices in servers.items():
            request = ReadMany([[device_id, wanted[device_id]] for device_id in devices])
            try:
                found, _sequence = link.call(request, Target(), timeout_s=timeout_s)
            except PykaraboError as error:
                answers |= dict.fromkeys(devices, error)
                continue
            for device_id, (rows, refusal) in zip(devices, found, strict=True):
                answers[device_id] = (
                    dict(from_row(tuple(row), 0) for row in rows)
                    if refusal is None
                    else PykaraboError.from_wire(refusal)
                )
        return answers

    def schema(self, device_id: str) -> Schema:
        """Ask a device for its schema."""
        return Schema.from_wire(self.request(device_id, GetSchema(device_id)))

    def device(self, device_id: str) -> DeviceProxy:
        """Return a proxy of a device.

        Raises:
            UnknownDeviceError, NotConnectedError: it cannot be reached.
        """
        return DeviceProxy(self, device_id)


class _Shared:
    """The clients that `connect` uses: one per domain and process, closed at exit."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clients: dict[str, BlockingClient] = {}
        self.pid = os.getpid()

    def client(self, domain: str | None) -> BlockingClient:
        name = domain_name(domain)
        with self.lock:
            if self.pid != os.getpid():
                self.clients.clear()
                self.pid = os.getpid()
            client = self.clients.get(name)
            if client is None:
                client = self.clients[name] = BlockingClient(name)
            return client

    def close(self) -> None:
        with self.lock:
            clients, self.clients = list(self.clients.values()), {}
        if self.pid == os.getpid():
            for client in clients:
                client.close()


_shared: Final = _Shared()
atexit.register(_shared.close)


def connect(device_id: str, *, domain: str | None = None) -> DeviceProxy:
    """Return a blocking proxy of a device.

    Reading an attribute reads the device, writing one writes it, commands are methods.

    Raises:
        UnknownDeviceError: the domain has no such device; near matches are named.
        NotConnectedError: there is no directory, or the device's server is down.
    """
    return _shared.client(domain).device(device_id)


def disconnect_all() -> None:
    """End every connection that `connect` has made; proxies connect again when they are used."""
    _shared.close()
