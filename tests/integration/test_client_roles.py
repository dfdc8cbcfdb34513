"""Clients and the role that they ask for, with real processes."""

import asyncio
import signal
from typing import Any

import pytest

from pykarabo.client import BlockingClient, Client, aconnect, adisconnect_all, connect, wait_until
from pykarabo.client._event_thread import event_thread
from pykarabo.data import AccessLevel
from pykarabo.errors import BadConfigurationError, DeniedError, NotExecutedError


def test_a_blocking_client_keeps_its_role_through_a_restart(processes: Any) -> None:
    processes.start("S/0", directory=True)
    server = processes.start("S/1", "C/1")
    with BlockingClient(role="observer") as client:
        counter = client.device("C/1")
        for _ in range(2):
            with pytest.raises(DeniedError) as caught:
                counter.count()
            assert isinstance(caught.value, NotExecutedError)
            assert caught.value.details == {"required": "OPERATOR", "have": "OBSERVER"}
            with pytest.raises(DeniedError, match=r"C/1\.target"):
                counter.target = 1.0
            refused = client.set_many({"C/1": {"target": 1.0}})
            assert isinstance(refused["C/1"], DeniedError)
            assert counter.get("value", "target") == {"value": 0, "target": 0.0}
            assert client.role_at("C/1") is AccessLevel.OBSERVER
            if server is not None:
                processes.end(server, signal.SIGKILL)
                processes.start("S/1", "C/1")
                server = None
                client.read("C/1")  # notices that the connection is gone


def test_an_asynchronous_client_keeps_its_role_through_a_restart(processes: Any) -> None:
    processes.start("S/0", directory=True)

    async def scenario() -> None:
        server = processes.start("S/1", "C/1")
        async with Client(role=AccessLevel.OBSERVER) as client:
            for _ in range(2):
                with pytest.raises(DeniedError):
                    await (await client.device("C/1", follow=False)).call("count")
                refused = await client.set_many({"C/1": {"target": 1.0}})
                assert isinstance(refused["C/1"], DeniedError)
                assert await client.role_at("C/1") is AccessLevel.OBSERVER
                if server is not None:
                    processes.end(server, signal.SIGKILL)
                    processes.start("S/1", "C/1")
                    server = None
                    await client.read("C/1")  # notices that the connection is gone

    asyncio.run(scenario())


def test_proxies_of_different_roles_live_side_by_side(processes: Any) -> None:
    processes.start("S/1", "C/1", directory=True)
    looking, working = connect("C/1", role="observer"), connect("C/1", role="operator")
    with pytest.raises(DeniedError):
        looking.count()
    assert working.count() == 1
    wait_until(lambda: looking.value == 1, timeout_s=10)

    async def scenario() -> None:
        try:
            proxy = await aconnect("C/1", role="observer")
            with pytest.raises(DeniedError):
                await proxy.count()
            assert await (await aconnect("C/1", role="operator")).count() == 2
        finally:
            await adisconnect_all()

    asyncio.run(scenario())


def test_what_a_blocking_client_has_read_in_the_background_has_its_role(processes: Any) -> None:
    processes.start("S/1", "C/1", directory=True)
    with BlockingClient(role="user") as client:
        reader = event_thread().client(client.place)
        assert reader.role is AccessLevel.USER


def test_the_environment_gives_the_role_and_an_argument_goes_before_it(
    processes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYKARABO_ROLE", " Observer ")
    processes.start("S/1", "C/1", directory=True)  # a server serves whoever has started it
    with pytest.raises(DeniedError):
        connect("C/1").count()
    assert connect("C/1", role="OPERATOR").count() == 1
    monkeypatch.delenv("PYKARABO_ROLE")
    assert connect("C/1").count() == 2


@pytest.mark.parametrize("made", [BlockingClient, Client])
def test_a_role_that_there_is_not_is_refused_by_name(
    made: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadConfigurationError, match="'boss'"):
        made(role="boss")
    monkeypatch.setenv("PYKARABO_ROLE", "3")
    with pytest.raises(BadConfigurationError, match=r"\$PYKARABO_ROLE is the role '3'"):
        made()
