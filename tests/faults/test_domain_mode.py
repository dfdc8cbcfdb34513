"""X1: a domain that only administrators may change, in real processes and through restarts."""

import functools
import time

import pytest

from pykarabo.audit import DIRECTORY
from pykarabo.client import DIRECTORY_VARIABLE, SET_MODE_COMMAND, BlockingClient
from pykarabo.errors import DeniedError, ReadOnlyDomainError
from pykarabo.transport import data_directory
from tests.harness import Cluster, free_ports, record, wait_until

_HOST = "127.0.0.1"


def _is_refused(client: BlockingClient, device_id: str) -> bool:
    """Tell whether an operator can neither write nor run a command."""
    device = client.device(device_id)
    try:
        device.set(rate=0.0)
    except ReadOnlyDomainError:
        with pytest.raises(ReadOnlyDomainError, match="maintenance of the vacuum"):
            device.call("execute", "never")
        return True
    return False


def _is_read_only(client: BlockingClient) -> bool:
    return client.domain_mode().read_only


def _audit() -> str:
    files = (path for path in (data_directory() / DIRECTORY).rglob("*") if path.is_file())
    return "".join(path.read_text() for path in files)


def test_X1_within_a_second_nobody_below_an_administrator_changes_anything(
    cluster: Cluster,
) -> None:
    cluster.start_directory()
    cluster.start("S/1", "D/1")
    cluster.start("S/2", "D/2")
    with BlockingClient(role="operator") as operator, BlockingClient() as administrator:
        assert not _is_refused(operator, "D/1")
        with pytest.raises(DeniedError, match="administrator"):
            operator.directory(SET_MODE_COMMAND, True, "for fun")
        begun = time.monotonic()
        administrator.directory(SET_MODE_COMMAND, True, "maintenance of the vacuum")
        for device_id in ("D/1", "D/2"):
            wait_until(functools.partial(_is_refused, operator, device_id), "the refusal")
        took_s = time.monotonic() - begun
        with pytest.raises(ReadOnlyDomainError, match=r"is read-only since .* by .*: maint"):
            operator.device("S/1").call("shutdown_device", "D/1")
        assert operator.device("D/1").get("rate") == {"rate": 0.0}
        assert operator.domain_mode().read_only
        administrator.device("D/1").set(rate=0.0)  # an administrator goes on
        administrator.directory(SET_MODE_COMMAND, False)
        wait_until(lambda: not _is_refused(operator, "D/1"), "the end of it")
    record("X1 (read-only domain)", "within 1 s", f"{took_s:.2f} s for two servers")
    assert took_s < 1.0
    assert cluster.executions("D/1") == {}
    wait_until(lambda: "maintenance of the vacuum" in _audit(), "the line of the audit log")


def test_X1_a_read_only_domain_stays_so_for_later_servers_and_through_restarts(
    cluster: Cluster,
) -> None:
    directory = cluster.start_directory()
    with BlockingClient() as administrator:
        administrator.directory(SET_MODE_COMMAND, True, "maintenance of the vacuum")
    cluster.start("S/1", "D/1")
    with BlockingClient(role="operator") as operator:
        assert _is_refused(operator, "D/1")  # from its first moment on
    directory.kill()
    directory = cluster.restart(directory)
    cluster.start("S/2", "D/2")
    with BlockingClient(role="operator") as operator:
        assert _is_refused(operator, "D/1")
        assert _is_refused(operator, "D/2")


def test_X1_a_replica_that_was_away_is_reminded(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = free_ports(2)
    cluster.directory = ",".join(f"tcp://{_HOST}:{port}" for port in ports)
    replicas = [
        cluster.start_replica(number, port, host=_HOST, advertise=_HOST)
        for number, port in enumerate(ports)
    ]
    cluster.start("S/1", "D/1")
    replicas[1].kill()
    with BlockingClient(directory=f"tcp://{_HOST}:{ports[0]}") as administrator:
        administrator.directory(SET_MODE_COMMAND, True, "maintenance of the vacuum")
    cluster.restart(replicas[1])
    cluster.start("S/2", "D/2")
    for port in ports:
        with BlockingClient(directory=f"tcp://{_HOST}:{port}") as client:
            wait_until(functools.partial(_is_read_only, client), "the reminder")
    monkeypatch.setenv(DIRECTORY_VARIABLE, cluster.directory)
    with BlockingClient(role="operator") as operator:
        assert _is_refused(operator, "D/2")
