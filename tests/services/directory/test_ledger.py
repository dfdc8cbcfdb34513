"""What a replica keeps through a restart, and what it refuses to guess."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pykarabo.client import Client, DirectoryAccess, TopologyCache
from pykarabo.device import Device, DeviceClasses, DeviceSettings, Server, _replica
from pykarabo.errors import BadConfigurationError, CallTimeoutError, DiskFullError
from pykarabo.transport import MemoryNetwork, MemoryTransport
from pykarabo_services.directory import ledger, service
from pykarabo_services.directory.ledger import BLOCK, Ledger


class Motor(Device):
    """Does nothing."""


def test_what_is_saved_is_loaded_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger.json"
    saved = Ledger(7, {"a": "ipc://a"})
    ledger.save(Ledger(1), path)
    ledger.save(saved, path)
    assert ledger.load(path) == saved
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_ledger_that_was_never_written_is_empty(tmp_path: Path) -> None:
    assert ledger.load(tmp_path / "none.json") == ledger.load(None) == Ledger()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"fence": "x", "servers": {}}'])
def test_a_broken_ledger_is_refused_with_its_path(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ledger.json"
    path.write_text(content)
    with pytest.raises(BadConfigurationError, match=str(path)):
        ledger.load(path)


@asynccontextmanager
async def _directory(network: MemoryNetwork, path: Path) -> AsyncGenerator[Server]:
    transport = MemoryTransport(network)
    client = Client(transport=transport, directory="memory://")
    server = Server(
        "T/HOST", transport=transport, client=client, classes=DeviceClasses(["Directory"])
    )
    client.access = DirectoryAccess([server.record().rpc], TopologyCache())
    try:
        await server.start(directory=True, ledger_file=str(path))
        yield server
    finally:
        await server.aclose()
        await client.aclose()


@asynccontextmanager
async def _server(network: MemoryNetwork, directory: Server) -> AsyncGenerator[Server]:
    transport = MemoryTransport(network)
    client = Client(transport=transport, directory=directory.record().rpc)
    server = Server(
        "T/SERVER",
        transport=transport,
        client=client,
        classes=DeviceClasses([], more={"Motor": Motor}),
    )
    try:
        await server.start()
        yield server
    finally:
        await server.aclose()
        await client.aclose()


async def _until_started(server: Server, device_id: str) -> None:
    async with asyncio.timeout(10):
        while server.problems:
            await asyncio.sleep(0.01)
    assert server.hosts(device_id)


def test_a_replica_that_cannot_write_grants_nothing_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BLOCK", 0)  # every claim is written
    path = tmp_path / "ledger.json"

    async def scenario() -> None:
        network = MemoryNetwork()
        async with _directory(network, path) as directory, _server(network, directory) as server:
            (replica,) = (one for one in directory.devices if isinstance(one, service.Directory))
            path.with_suffix(".new").mkdir()
            await server.start_devices([DeviceSettings("T/MOTOR", "Motor")])
            problem = server.problems["T/MOTOR"]
            assert isinstance(problem, DiskFullError)
            assert str(path) in str(problem)
            assert str(path) in replica.alarms["ledger/alarm"]["text"]
            assert not server.hosts("T/MOTOR")
            path.with_suffix(".new").rmdir()
            await _until_started(server, "T/MOTOR")
            assert "ledger/alarm" not in replica.alarms

    asyncio.run(scenario())


def test_devices_of_a_replica_that_answers_late_are_started_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BLOCK", 0)  # every claim is written
    path = tmp_path / "ledger.json"

    async def scenario() -> None:
        network = MemoryNetwork()
        async with _directory(network, path) as directory, _server(network, directory) as server:
            monkeypatch.setattr(_replica, "ANSWER_S", 0.2)
            pipe = path.with_suffix(".new")
            os.mkfifo(pipe)  # whoever writes there waits for a reader
            await server.start_devices([DeviceSettings("T/MOTOR", "Motor")])
            assert isinstance(server.problems["T/MOTOR"], CallTimeoutError)
            reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
            pipe.unlink()
            await _until_started(server, "T/MOTOR")
            os.close(reader)

    asyncio.run(scenario())


def test_numbers_are_on_the_disk_before_they_are_given(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"

    async def work() -> int:
        network = MemoryNetwork()
        async with _directory(network, path) as directory, _server(network, directory) as server:
            await server.instantiate("Motor", "T/MOTOR")
            stored = ledger.load(path)
            assert list(stored.servers) == [server.instance.hex()]
            record = await directory.client.resolve("T/MOTOR")
            assert record.fence <= stored.fence
            return stored.fence

    first = asyncio.run(work())
    assert first > BLOCK
    assert ledger.load(path) == Ledger(first, {})
    assert asyncio.run(work()) > first


def test_a_restarted_replica_grants_nothing_while_a_server_may_come_back(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"

    async def work() -> None:
        network = MemoryNetwork()
        transport = MemoryTransport(network)
        awaited = transport.bind_router("rpc", lambda _peer, _frames: None)
        ledger.save(Ledger(BLOCK, {"a" * 32: awaited.endpoint}), path)
        async with _directory(network, path) as directory:
            starting = asyncio.ensure_future(_start(network, directory))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await asyncio.shield(starting)
            awaited.close()  # it is dead, so nobody need wait for it
            async with asyncio.timeout(5.0):
                assert await starting > BLOCK

    async def _start(network: MemoryNetwork, directory: Server) -> int:
        async with _server(network, directory):
            return (await directory.client.resolve("T/SERVER")).fence

    asyncio.run(work())
