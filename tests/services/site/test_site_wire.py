"""What goes over the network of a site can be neither changed, repeated, nor read."""

import json
import random
import socket
import time
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.client import BlockingClient
from pykarabo.errors import NotExecutedError, OutcomeUnknownError
from pykarabo.transport import Site, without_key
from tests.harness.ports import free_ports
from tests.harness.proxy import PROXY_HOST, Proxy
from tests.harness.wiretap import Wiretap

from .conftest import HOST, Hosts

MOTOR: Final = "HALL/MOTOR/1"
_FLIPS: Final = 0.1
_WRITES: Final = 60
_GIVES_UP_S: Final = 5.0
"""A listener that gets nonsense hangs up, or does so when no greeting comes."""


def _serve(site: Hosts, tmp_path: Path, *more: str) -> None:
    init = tmp_path / "motor.json"
    init.write_text(json.dumps({MOTOR: {"class": "SimulatedMotor"}}))
    site.start("a", "server", "start", "--id", "HALL/A", "--init", str(init), *more)


def _velocity(client: BlockingClient) -> float:
    return float(client.device(MOTOR).get("velocity")["velocity"])


def test_X5_changed_bits_change_no_value(site: Hosts, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    site.be("a")
    written, wrong, unsure = 0, 0, 0
    values = random.Random(5)
    with Proxy([port]) as proxy, BlockingClient() as client:
        _serve(site, tmp_path, "--rpc-port", str(port), "--advertise", PROXY_HOST)
        _velocity(client)
        proxy.flip(_FLIPS)
        for _ in range(_WRITES):
            value = round(values.uniform(0.5, 9.5), 6)
            try:
                client.device(MOTOR).set(velocity=value)
                wrong += _velocity(client) != value
                written += 1
            except (NotExecutedError, OutcomeUnknownError):
                unsure += 1
        proxy.flip(0.0)
        assert proxy.flipped
    assert not wrong
    assert written + unsure == _WRITES
    assert written
    assert unsure, "no bit was changed where it counts"


def _repeat(port: int, said: bytes) -> None:
    """Say what somebody has said before, and wait until the other side hangs up."""
    with socket.create_connection((HOST, port)) as connection:
        connection.settimeout(_GIVES_UP_S)
        started = time.monotonic()
        try:
            connection.sendall(said)
            while connection.recv(2**16):
                assert time.monotonic() - started < _GIVES_UP_S
        except ConnectionError:
            return


def test_X5_what_was_said_before_is_executed_no_second_time(site: Hosts, tmp_path: Path) -> None:
    _serve(site, tmp_path)
    site.be("a")
    with BlockingClient() as client:
        rpc = client.resolve(MOTOR).rpc
    port = int(without_key(rpc).rpartition(":")[2])
    tap = Wiretap(port)
    try:
        _write_through(f"tcp://{HOST}:{tap.port}#{Site().pair.public.hex()}", rpc)
    finally:
        tap.close()
    recorded = [bytes(said) for said in tap.said if said]
    assert recorded
    assert b"velocity" not in tap.heard
    with BlockingClient() as client:
        assert _velocity(client) == 3.0
        client.device(MOTOR).set(velocity=1.0)
        for said in recorded:
            _repeat(port, said)
        assert _velocity(client) == 1.0


def _write_through(endpoint: str, rpc: str) -> None:
    """Write a value through another endpoint of the same server."""
    from pykarabo.client import DeviceRecord

    class Elsewhere(BlockingClient):
        def resolve(self, device_id: str) -> DeviceRecord:
            record = super().resolve(device_id)
            assert record.rpc == rpc
            return DeviceRecord.from_wire({**record.to_wire(), "rpc": endpoint})

    with Elsewhere() as client:
        client.device(MOTOR).set(velocity=3.0)


@pytest.mark.parametrize("trusted", [False, True])
def test_data_is_encrypted_in_a_site_unless_its_network_is_trusted(
    site: Hosts, tmp_path: Path, *, trusted: bool
) -> None:
    more: list[Any] = ["--trusted-network", "127.0.0.0/8"] if trusted else []
    _serve(site, tmp_path, *more)
    site.be("a")
    with BlockingClient() as client:
        record = client.resolve(MOTOR)
    key = Site().pair.public.hex()
    assert record.rpc.startswith("tcp://")
    assert record.events.endswith(f"#{key}")
    assert record.data.startswith("plain://" if trusted else "tcp://")
    assert record.data.endswith(f"#{key}") != trusted
