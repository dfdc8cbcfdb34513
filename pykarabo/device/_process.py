"""A device server as a process of its own: sockets, signals, event loop."""

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import secrets
import signal
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final

from pykarabo import audit
from pykarabo.client import (
    DIRECTORY_STEM,
    DIRECTORY_VARIABLE,
    BlockingClient,
    Client,
    DirectoryAccess,
    TopologyCache,
    access_to,
    directory_endpoints,
)
from pykarabo.data import AccessLevel
from pykarabo.errors import BadConfigurationError, NotConnectedError, PykaraboError
from pykarabo.transport import (
    Binding,
    Site,
    SystemClock,
    ZmqTransport,
    data_directory,
    deadline,
    domain_name,
    joined_site,
    run_directory,
)

from ._accounts import Accounts, accounts_of
from ._classes import DeviceClasses
from ._device import Device
from ._loop_watch import Blockage, LoopWatch
from ._members import bridges_by_name, members_only
from ._rights import Rights, all_readers, all_rights
from ._server import Server
from ._starting import DeviceSettings

_log: Final = logging.getLogger(__name__)
_STEM_BYTES: Final = 6
_TELL_NS: Final = 10**9
"""A replica that does not answer for so long does not keep us from telling the others."""
_START_TIMEOUT_S: Final = 30.0
_IN_COMMON: Final = (
    "domain", "host", "advertise", "trusted_networks", "time_source", "allow_offline", "memory_mib"
)  # fmt: skip
"""What the processes of single devices are set up like their server."""
_FILES: Final = 65_536
"""A directory of 300 servers has 1 500 files open; the usual limit is 1 024, for select()."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How a server process is set up.

    Attributes:
        domain: the domain it belongs to.
        devices: what it starts with, in this order.
        classes: names of the classes on offer; None offers all that are installed.
        more_classes: classes besides the installed ones.
        directory: host the domain's directory, or one of its replicas.
        allow_offline: start devices without a majority of the directory's replicas.
        host, advertise, ports: see `Binding`; without a host it listens on Unix sockets, in a
            site at this host's address there.
        trusted_networks: where data needs no encryption, see `Binding`; ``192.0.2.0/24``.
        time_source: device id of the train clock.
        memory_mib: what the process may take; beyond that ZeroMQ cuts off who sends too much, and
            Python raises `MemoryError`. Default is no limit of ours.
        start_options: how a facility file says this; empty for a program with a life of its own.
    """

    server_id: str
    domain: str | None = None
    devices: tuple[DeviceSettings, ...] = ()
    classes: tuple[str, ...] | None = None
    more_classes: Mapping[str, type[Device]] = field(default_factory=dict[str, type[Device]])
    directory: bool = False
    allow_offline: bool = False
    host: str | None = None
    advertise: str | None = None
    ports: Mapping[str, int] = field(default_factory=dict[str, int])
    trusted_networks: tuple[str, ...] = ()
    time_source: str | None = None
    memory_mib: int | None = None
    start_options: Mapping[str, Any] = field(default_factory=dict[str, Any])


def _stem_name(settings: ServerSettings) -> str:
    """Return the first part of the names of the process's files; one per replica of a host."""
    if not settings.directory:
        return secrets.token_hex(_STEM_BYTES)
    if len(directory_endpoints(settings.domain)) == 1:
        return DIRECTORY_STEM
    return f"{DIRECTORY_STEM}-{settings.ports.get('rpc', 0)}"


def _access_of_replica(settings: ServerSettings, rpc: str) -> DirectoryAccess:
    """Return how a server that hosts a replica reaches it and the others.

    Raises:
        BadConfigurationError: nobody would find the replica where it answers.
    """
    endpoints = directory_endpoints(settings.domain)
    if len(endpoints) == 1:
        return access_to(domain_name(settings.domain), rpc)
    if rpc not in endpoints:
        raise BadConfigurationError(
            f"this replica of the directory answers at {rpc}, but {DIRECTORY_VARIABLE} names "
            + ", ".join(endpoints),
            remedy="correct it, or give --host, --advertise and --rpc-port as it says",
        )
    return DirectoryAccess(endpoints, TopologyCache())


@contextlib.contextmanager
def _stem(settings: ServerSettings, directory: Path) -> Generator[str, None, None]:
    """Hold the lock that says that the sockets of this name belong to a living process."""
    name = _stem_name(settings)
    path = directory / f"{name}.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise BadConfigurationError(
                f"domain '{domain_name(settings.domain)}' has a directory already "
                f"(process {lock.read().strip() or 'unknown'})",
                remedy="use 'pykarabo status' to see it, 'pykarabo down' to stop it",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        _sweep(directory, keep=path)
        try:
            yield name
        finally:
            path.unlink(missing_ok=True)


def _sweep(directory: Path, *, keep: Path) -> None:
    """Remove the sockets that killed processes have left behind."""
    for path in directory.glob("*.lock"):
        if path == keep:
            continue
        with contextlib.suppress(OSError), path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name in ("rpc", "events", "data"):
                path.with_suffix(f".{name}").unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def _networks(named: Iterable[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(text) for text in named)
    except ValueError as error:
        raise BadConfigurationError(
            f"a trusted network is not one: {error}", remedy="write it like 192.0.2.0/24"
        ) from None


class _BusyTeller:
    """Tells the directory, from the watching thread, that this process cannot."""

    def __init__(self, client: Client, server: Server) -> None:
        self._own = client
        self._instance = server.instance.hex()
        self._clients: dict[str, BlockingClient] = {}

    def tell(self, blockage: Blockage) -> None:
        """Have every replica of the directory show this server's devices as busy."""
        for endpoint in self._own.access.endpoints:
            if endpoint not in self._clients:
                self._clients[endpoint] = BlockingClient(
                    self._own.domain,
                    directory=endpoint,
                    role=AccessLevel.ADMINISTRATOR,
                    login=self._own.login,
                )
            try:
                with deadline(time.monotonic_ns() + _TELL_NS):
                    self._clients[endpoint].directory("renew", self._instance, [], blockage.seconds)
            except PykaraboError as error:
                _log.warning("the directory at %s does not know of it: %s", endpoint, error)

    def close(self) -> None:
        """End the connections."""
        for client in self._clients.values():
            client.close()


def _rights(site: Site | None, accounts: Accounts | None) -> Rights:
    return members_only(site, accounts) if site is not None else accounts or all_rights


@contextlib.asynccontextmanager
async def running_server(settings: ServerSettings) -> AsyncGenerator[Server, None]:
    """Run a device server in this event loop, with the devices it starts with.

    A device that cannot be started is reported in the log and in the server's status; the
    others start all the same.

    Raises:
        NotConnectedError: the domain has no directory.
        DuplicateDeviceError, BadConfigurationError: the server cannot be.
    """
    directory = run_directory(settings.domain, create=True)
    with _stem(settings, directory) as stem:
        site = joined_site(settings.domain)
        if site is not None:
            await asyncio.to_thread(site.prepare)
        binding = Binding(
            directory,
            stem,
            settings.host or (site.address if site is not None else None),
            settings.advertise,
            dict(settings.ports),
            _networks(settings.trusted_networks),
        )
        clock = SystemClock()
        accounts, login = accounts_of(settings.domain, settings.server_id, clock)
        transport = ZmqTransport(binding, settings.domain)
        # Whatever the one may do who has started it: a server serves its domain.
        client = Client(
            settings.domain, transport=transport, role=AccessLevel.ADMINISTRATOR, login=login
        )
        try:
            server = Server(
                settings.server_id,
                transport=transport,
                client=client,
                classes=DeviceClasses(settings.classes, more=settings.more_classes),
                time_source=settings.time_source,
                allow_offline=settings.allow_offline,
                memory=data_directory(settings.domain) / "memory",
                audit=data_directory(settings.domain) / audit.DIRECTORY,
                apart={name: getattr(settings, name) for name in _IN_COMMON},
                start_options=settings.start_options,
                rights=_rights(site, accounts),
                readers=all_readers if site is None else bridges_by_name(site),
                clock=clock,
            )
            teller = _BusyTeller(client, server)
            watch = LoopWatch(teller.tell)
            server.blockage = lambda: watch.latest
            watch.start()
            try:
                if settings.directory:
                    client.access = _access_of_replica(settings, server.record().rpc)
                ledger = data_directory(settings.domain) / DIRECTORY_STEM / f"{stem}.json"
                await server.start(directory=settings.directory, ledger_file=str(ledger))
                if accounts is not None:
                    accounts.start(client, server.review_rights)
                await server.start_devices(settings.devices)
                yield server
            finally:
                await server.aclose()
                watch.close()
                teller.close()
        finally:
            await client.aclose()
            transport.close()


async def serve_until_stopped(
    settings: ServerSettings, started: Callable[[Server], None] | None = None
) -> None:
    """Run a device server until SIGTERM, SIGINT or its command ``shutdown``."""
    loop = asyncio.get_running_loop()
    async with running_server(settings) as server:
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, server.stopping.set)
        if started is not None:
            started(server)
        await server.stopping.wait()


def run_server(settings: ServerSettings, started: Callable[[Server], None] | None = None) -> None:
    """Run a device server as this process; uses uvloop where it is installed."""
    _allow_many_files()
    if settings.memory_mib is not None:
        _limit_memory(settings.memory_mib)
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve_until_stopped(settings, started))


def _allow_many_files() -> None:
    """Use as many file descriptors as the system allows without asking."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _limit_memory(mib: int) -> None:
    """Bound what this process may take, so that no client can take the host's memory with it.

    The limit is on what is allocated. libzmq answers a refusal by closing the connection that
    needed the memory; a limit on the address space would count libraries and stacks too.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (mib * 2**20, mib * 2**20))


@contextlib.contextmanager
def serve(
    devices: Mapping[str, type[Device]],
    *,
    server_id: str | None = None,
    domain: str | None = None,
    configurations: Mapping[str, Mapping[str, Any]] | None = None,
) -> Generator[None, None, None]:
    """Serve devices from a thread of this program, for scripts and notebooks.

    Where the domain has no directory yet, it is served as well.

    Args:
        devices: per device id its class.
        configurations: per device id what it is configured with.
    """
    started = threading.Event()
    problems: list[BaseException] = []
    stop: list[Callable[[], object]] = []

    async def work() -> None:
        settings = ServerSettings(
            server_id or f"SCRIPT/{os.getpid()}",
            domain=domain,
            devices=tuple(
                DeviceSettings(device_id, cls.__name__, (configurations or {}).get(device_id, {}))
                for device_id, cls in devices.items()
            ),
            more_classes={cls.__name__: cls for cls in devices.values()},
            directory=not await _has_directory(domain),
        )
        async with running_server(settings) as server:
            loop = asyncio.get_running_loop()
            stop.append(lambda: loop.call_soon_threadsafe(server.stopping.set))
            if server.problems:
                raise next(iter(server.problems.values()))
            started.set()
            await server.stopping.wait()

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            problems.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="pykarabo server")
    thread.start()
    started.wait(_START_TIMEOUT_S)
    try:
        if problems:
            raise problems[0]
        yield
    finally:
        for call in stop:
            with contextlib.suppress(RuntimeError):  # its command `shutdown` was sooner
                call()
        thread.join()
    if problems:
        raise problems[0]


async def _has_directory(domain: str | None) -> bool:
    async with Client(domain) as client:
        try:
            await client.resolve("DIRECTORY")
        except NotConnectedError:
            return False
        return True
