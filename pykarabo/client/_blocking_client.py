"""The blocking client of a domain: calls go out in the caller's thread, without an event loop."""

import atexit
import os
import secrets
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import zmq

from pykarabo.data import AccessLevel, PropertyValue, Schema, from_rows
from pykarabo.errors import ConnectionLostError, ExpiredError, NotConnectedError, PykaraboError
from pykarabo.transport import (
    BlockingLink,
    DomainKeys,
    Socket,
    deadline,
    domain_name,
    make_context,
    time_left_s,
)
from pykarabo.wire import (
    Call,
    ClientSession,
    Get,
    GetSchema,
    Locate,
    Request,
    Set,
    Target,
    Welcome,
)

from ._administration import Administration
from ._attempts import CERTAINLY_NOT_RUN, Attempts
from ._batches import ROUNDS, Batch, elsewhere, reads, writes
from ._blocking_proxy import DeviceProxy
from ._cancelling import stop_if_cancelled
from ._directory import (
    LOCATE,
    Plan,
    Query,
    access_to,
    present_target,
    replica_record,
    replica_target,
    too_slow,
)
from ._identity import CALL_TIMEOUT_S, CONNECT_TIMEOUT_S, asked_role, line_to, own_identity
from ._login import Login, login_of_user
from ._recalling import Recalling
from ._records import DIRECTORY_ID, DeviceRecord, ServerRecord, check_device_id
from ._topology_cache import CACHED

if TYPE_CHECKING:
    from ._group import DeviceGroup
    from ._lock import Hold
    from ._mode import DomainMode

_T = TypeVar("_T")


class BlockingClient(Administration, Recalling):
    """A client of one domain; use it as a context manager. Threads may share it.

    Args:
        domain: the domain; default is that of the environment.
        directory: endpoint of the directory; default are the replicas of the domain.
        role: the highest role to ask for, or its name; see `asked_role`.
        login: tells the token of whoever uses it; default is that of the user's login.
    """

    def __init__(
        self,
        domain: str | None = None,
        *,
        directory: str | None = None,
        role: AccessLevel | str | None = None,
        login: Login | None = None,
    ) -> None:
        self.domain = domain_name(domain)
        self.access = access_to(self.domain, directory)
        self.role = asked_role(role)
        self._login = login or login_of_user(self.domain)
        self.place = (self.domain, directory, self.role)
        self._context: zmq.Context[Socket] = make_context()
        self._keys = DomainKeys(self.domain)
        self._identity = own_identity()
        self._token = secrets.token_bytes(16)
        self._lock = threading.Lock()
        self._links: dict[str, BlockingLink] = {}
        self._records: dict[str, DeviceRecord] = {}
        self._reachable: dict[str, tuple[BlockingLink, Target]] = {}
        self._replicas: dict[str, tuple[BlockingLink, Target]] = {}
        self.holds: dict[str, Hold] = {}

    def __enter__(self) -> "BlockingClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every link."""
        self.access.cache.save()
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
            record = self._carry_out(self.access.locate())
        else:
            check_device_id(device_id)
            record = self._carry_out(self.access.resolve(device_id))
        self._records[device_id] = record
        return record

    def _carry_out(self, plan: Plan[_T]) -> _T:
        answer: Any = None
        while True:
            try:
                query = plan.send(answer)
            except StopIteration as done:
                return cast(_T, done.value)
            try:
                answer = self._ask(query)
            except PykaraboError as error:
                answer = error

    def _ask(self, query: Query) -> Any:
        timeout_s = _left_s(self.access.timeout_s)
        try:
            with deadline(time.monotonic_ns() + int(timeout_s * 1e9)):
                return self._ask_twice(query, timeout_s)
        except ExpiredError:
            raise too_slow(query.endpoint) from None

    def _ask_twice(self, query: Query, timeout_s: float) -> Any:
        """Ask a replica, and once more if it was restarted."""
        try:
            return self._ask_once(query, timeout_s)
        except CERTAINLY_NOT_RUN:
            if self._replicas.pop(query.endpoint, None) is None:
                raise
            return self._ask_once(query, timeout_s)

    def _ask_once(self, query: Query, timeout_s: float) -> Any:
        link, target = self._replica(query.endpoint, timeout_s)
        if query.command == LOCATE:
            return replica_record(query.endpoint, target)
        call = Call(DIRECTORY_ID, query.command, list(query.args))
        return link.call(call, target, timeout_s=_left_s(timeout_s))[0]

    def _replica(self, endpoint: str, timeout_s: float) -> tuple[BlockingLink, Target]:
        known = self._replicas.get(endpoint)
        if known is not None and not known[0].closed:
            return known
        peer = f"the directory of domain '{self.domain}'"
        link = self._link(endpoint, peer, timeout_s=timeout_s)
        found, _sequence = link.call(Locate([DIRECTORY_ID]), Target(), timeout_s=_left_s(timeout_s))
        self._replicas[endpoint] = (link, replica_target(endpoint, found))
        return self._replicas[endpoint]

    def directory(self, command: str, *args: Any) -> Any:
        """Run a command of the directory."""
        return self._carry_out(self.access.command(command, *args))

    def domain_mode(self) -> "DomainMode":
        """Return whether only administrators may change anything in the domain.

        Raises:
            NotConnectedError: no directory answers.
        """
        from ._mode import MODE_COMMAND, DomainMode

        return DomainMode.from_wire(self.directory(MODE_COMMAND))

    def replica(self, endpoint: str) -> DeviceRecord:
        """Return the record of the directory's replica at an endpoint.

        Raises:
            NotConnectedError: none answers there.
        """
        record: DeviceRecord = self._ask(Query(endpoint))
        return record

    def locate(self, endpoint: str, device_ids: list[str]) -> list[Any]:
        """Ask whoever answers at an endpoint which of some devices it hosts.

        Returns:
            Per id its instance and epoch, or None.

        Raises:
            NotConnectedError: nobody answers there.
        """
        link = self._link(endpoint, f"what listens at {endpoint}")
        found, _sequence = link.call(
            Locate(device_ids), Target(), timeout_s=_left_s(CALL_TIMEOUT_S)
        )
        return list(found)

    def topology(self, pattern: str = "*") -> list[DeviceRecord]:
        """Return the devices whose id matches the shell pattern, by id."""
        found = self.directory("topology", pattern)
        return [DeviceRecord.from_wire(record) for record in found["devices"]]

    def servers(self) -> list[ServerRecord]:
        """Return the device servers, by id."""
        found = self.directory("topology", "*")
        return [ServerRecord.from_wire(record) for record in found["servers"]]

    # -- calling --------------------------------------------------------------------------------

    def _link(self, rpc: str, peer: str, *, timeout_s: float = CONNECT_TIMEOUT_S) -> BlockingLink:
        with self._lock:
            link = self._links.get(rpc)
            if link is None or link.closed:
                if link is not None:
                    link.close()
                session = ClientSession(
                    secrets.token_bytes(8),
                    self._identity,
                    line=line_to(self._token, rpc),
                    role=self.role,
                    login=self._login(),
                    peer=peer,
                )
                link = BlockingLink(
                    self._context,
                    rpc,
                    session,
                    self._keys,
                    login=self._login,
                    timeout_s=_left_s(timeout_s),
                )
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
        found: list[Any] = []
        if record.status == CACHED:  # it may have been restarted since
            timeout_s = _left_s(CONNECT_TIMEOUT_S)
            found, _sequence = link.call(Locate([device_id]), Target(), timeout_s=timeout_s)
        reachable = (link, present_target(record, found))
        self._reachable[device_id] = reachable
        return reachable

    def role_at(self, device_id: str = DIRECTORY_ID) -> AccessLevel:
        """Return the role that a device's server gives this client.

        Raises:
            UnknownDeviceError, NotConnectedError: it cannot be reached.
        """
        return AccessLevel(self.welcome_at(device_id).role)

    def welcome_at(self, device_id: str = DIRECTORY_ID) -> Welcome:
        """Return how a device's server has welcomed this client: as whom, and until when.

        Raises:
            UnknownDeviceError, NotConnectedError: it cannot be reached.
        """
        welcome = self._reach(device_id)[0].session.welcome
        if welcome is None:
            raise NotConnectedError(
                f"the server of '{device_id}' is not connected", remedy="try again"
            )
        return welcome

    def _forget(self, device_id: str) -> None:
        self._records.pop(device_id, None)
        self._reachable.pop(device_id, None)

    def request(
        self,
        device_id: str,
        request: Request,
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        idempotent: bool = False,
    ) -> Any:
        """Make a call to a device and return its result.

        A call that certainly was not executed because the device has moved or was restarted is
        made once more at its new place, and so is one that only reads. One whose outcome is
        unknown is made again if it has a key (`once`) or is `idempotent`; anything else is
        reported as it is.
        """
        return self._request(device_id, request, timeout_s=timeout_s, idempotent=idempotent)[0]

    def _request(
        self, device_id: str, request: Request, *, timeout_s: float, idempotent: bool = False
    ) -> tuple[Any, int]:
        stop_if_cancelled()
        attempts = Attempts(request, timeout_s, time.monotonic_ns(), idempotent=idempotent)
        while True:
            try:
                with deadline(attempts.deadline_ns):
                    link, target = self._reach(device_id)
                attempts.aim(target)
                return link.call(request, target, timeout_s=attempts.left_s(time.monotonic_ns()))
            except PykaraboError as error:
                pause_s = attempts.failed(error, time.monotonic_ns())
            self._forget(device_id)
            if device_id != DIRECTORY_ID:
                self._forget(DIRECTORY_ID)
            if pause_s:
                time.sleep(pause_s)

    def read(self, device_id: str, keys: list[str] | None = None) -> dict[str, PropertyValue]:
        """Return some properties with time stamp, quality and event number, or all of them."""
        request = Get(device_id, keys)
        try:
            rows, sequence = self._request(device_id, request, timeout_s=CALL_TIMEOUT_S)
        except ConnectionLostError:  # reading twice does no harm
            rows, sequence = self._request(device_id, request, timeout_s=CALL_TIMEOUT_S)
        return from_rows(rows, sequence)

    def set(
        self,
        device_id: str,
        values: Mapping[str, Any],
        *,
        expected: Mapping[str, PropertyValue] | None = None,
        once: str | None = None,
    ) -> None:
        """Write properties, all or none.

        Args:
            expected: properties as `read` returned them; nothing is written when one of them has
                changed since.
            once: a key of your own; however often this write is sent, it is done once.

        Raises:
            ChangedMeanwhileError: one of `expected` has changed; nothing was written.
        """
        known = None if expected is None else {key: item.sequence for key, item in expected.items()}
        self.request(device_id, Set(device_id, dict(values), once, known))

    def read_many(
        self, wanted: Mapping[str, list[str] | None], *, timeout_s: float = CALL_TIMEOUT_S
    ) -> dict[str, dict[str, PropertyValue] | PykaraboError]:
        """Read properties of many devices with one call per server.

        Returns:
            Per device its property values, or the error that it answered.
        """
        return self._batch(reads(wanted), timeout_s)

    def set_many(
        self, wanted: Mapping[str, Mapping[str, Any]], *, timeout_s: float = CALL_TIMEOUT_S
    ) -> dict[str, PykaraboError | None]:
        """Write properties of many devices with one call per server.

        Each device takes all of its values or none; one that refuses keeps no other from it.

        Returns:
            Per device None, or why nothing was written; with an `OutcomeUnknownError` it may have
            been.
        """
        return self._batch(writes(wanted), timeout_s)

    def _batch(self, batch: Batch[_T], timeout_s: float) -> dict[str, _T | PykaraboError]:
        answers: dict[str, _T | PykaraboError] = {}
        devices = list(batch.devices)
        with deadline(time.monotonic_ns() + int(_left_s(timeout_s) * 1e9)):
            for _ in range(ROUNDS):
                found = self._ask_all(batch, devices, timeout_s)
                answers.update(found)
                devices = elsewhere(answers)
                for device_id in devices:
                    self._forget(device_id)
                if not devices:
                    break
        return answers

    def _ask_all(
        self, batch: Batch[_T], devices: list[str], timeout_s: float
    ) -> dict[str, _T | PykaraboError]:
        answers: dict[str, _T | PykaraboError] = {}
        servers: dict[BlockingLink, dict[str, list[Any]]] = {}
        for device_id in devices:
            try:
                link, target = self._reach(device_id)
            except PykaraboError as error:
                answers[device_id] = error
            else:
                servers.setdefault(link, {})[device_id] = batch.part(device_id, target)
        for link, parts in servers.items():
            request = batch.request(list(parts.values()))
            try:
                result, _sequence = link.call(request, Target(), timeout_s=_left_s(timeout_s))
                answers |= batch.answers(parts, result)
            except PykaraboError as error:
                answers |= dict.fromkeys(parts, error)
        return answers

    def schema(self, device_id: str) -> Schema:
        """Ask a device for its schema."""
        return Schema.from_wire(self.request(device_id, GetSchema(device_id)))

    def group(self, *patterns: str) -> "DeviceGroup":
        """Return the devices whose ids match shell patterns such as ``MOTOR/*``.

        Raises:
            UnknownDeviceError: a pattern matches none.
        """
        from ._group import DeviceGroup

        return DeviceGroup(self, patterns)

    def device(self, device_id: str) -> DeviceProxy:
        """Return a proxy of a device.

        Raises:
            UnknownDeviceError, NotConnectedError: it cannot be reached.
        """
        return DeviceProxy(self, device_id)


def _left_s(timeout_s: float) -> float:
    return time_left_s(timeout_s, time.monotonic_ns())


class _Shared:
    """The clients that `connect` uses: one per domain, role and process, closed at exit."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clients: dict[tuple[str, AccessLevel], BlockingClient] = {}
        self.pid = os.getpid()

    def client(self, domain: str | None, role: AccessLevel | str | None) -> BlockingClient:
        kind = domain_name(domain), asked_role(role)
        with self.lock:
            if self.pid != os.getpid():
                self.clients.clear()
                self.pid = os.getpid()
            client = self.clients.get(kind)
            if client is None:
                client = self.clients[kind] = BlockingClient(kind[0], role=kind[1])
            return client

    def close(self) -> None:
        with self.lock:
            clients, self.clients = list(self.clients.values()), {}
        if self.pid == os.getpid():
            for client in clients:
                client.close()


_shared: Final = _Shared()
atexit.register(_shared.close)


def connect(
    device_id: str, *, domain: str | None = None, role: AccessLevel | str | None = None
) -> DeviceProxy:
    """Return a blocking proxy of a device.

    Reading an attribute reads the device, writing one writes it, commands are methods.

    Args:
        role: the highest role to ask for, or its name; default is that of ``$PYKARABO_ROLE``, and
            where that is not set all that you may do.

    Raises:
        UnknownDeviceError: the domain has no such device; near matches are named.
        NotConnectedError: there is no directory, or the device's server is down.
    """
    return shared_client(domain, role).device(device_id)


def shared_client(
    domain: str | None = None, role: AccessLevel | str | None = None
) -> BlockingClient:
    """Return the client that all of a process share who have none of their own."""
    return _shared.client(domain, role)


def disconnect_all() -> None:
    """End every connection that `connect` has made; proxies connect again when they are used."""
    _shared.close()
