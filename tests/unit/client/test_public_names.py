"""Every public name can be imported, and blocking names have asynchronous twins."""

import pytest

import pykarabo
from pykarabo import client
from pykarabo.client import AsyncDeviceProxy, BlockingClient, Client, DeviceProxy

_TWINS = [
    ("connect", "aconnect"),
    ("wait_until", "await_until"),
    ("wait_while", "await_while"),
    ("wait_new", "await_new"),
    ("find_devices", "afind_devices"),
    ("instantiate", "ainstantiate"),
    ("shutdown", "ashutdown"),
    ("compare", "acompare"),
    ("configuration", "aconfiguration"),
    ("settable", "asettable"),
    ("get_property", "aget_property"),
    ("set_property", "aset_property"),
    ("sleep", "asleep"),
    ("first_completed", "afirst_completed"),
    ("first_exception", "afirst_exception"),
    ("all_completed", "aall_completed"),
]
_PROXY = (
    "bundle",
    "call",
    "changes",
    "get",
    "history",
    "lock",
    "quantity",
    "read",
    "set",
    "updated",
)
_CLIENT = (
    "archived",
    "history",
    "past",
    "tail",
    "classes",
    "device",
    "devices_changed",
    "find_devices",
    "find_servers",
    "group",
    "instantiate",
    "read",
    "read_many",
    "role_at",
    "schema",
    "set",
    "set_many",
    "shutdown",
    "topology",
)


@pytest.mark.parametrize("name", client.__all__)
def test_name_of_the_client_package_exists(name: str) -> None:
    assert getattr(client, name) is not None


@pytest.mark.parametrize("name", pykarabo.__all__)
def test_name_of_the_package_exists(name: str) -> None:
    assert getattr(pykarabo, name) is not None


def test_other_names_do_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'conect'"):
        _ = pykarabo.conect


@pytest.mark.parametrize(("blocking", "asynchronous"), _TWINS)
def test_blocking_function_has_a_twin(blocking: str, asynchronous: str) -> None:
    assert {blocking, asynchronous} <= set(client.__all__)


@pytest.mark.parametrize("name", _PROXY)
def test_both_proxies_have_the_method(name: str) -> None:
    assert callable(getattr(DeviceProxy, name))
    assert callable(getattr(AsyncDeviceProxy, name))


@pytest.mark.parametrize("name", _CLIENT)
def test_both_clients_have_the_method(name: str) -> None:
    assert callable(getattr(BlockingClient, name))
    assert callable(getattr(Client, name))
