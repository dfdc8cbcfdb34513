"""Answers of the configuration store that are too large for one message, and what comes instead."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.client import BlockingClient, DeviceProxy, connect
from pykarabo.data import Float64, String
from pykarabo.device import Device, serve
from pykarabo.errors import BadInputError, InvalidNameError, LimitExceededError, OutOfRangeError
from pykarabo.facility import Export, look, with_configurations
from pykarabo_services.configuration import finding
from pykarabo_services.configuration.main import ConfigurationStore
from pykarabo_services.configuration.model import Content, Saving, kept_schema
from pykarabo_services.configuration.store import STORE, Configurations
from pykarabo_services.kernel.database import Database, place_of

KEEPER: Final = "T/STORE/1"
NOTES: Final = "T/NOTES/1"
LONG: Final = 2_800_000


class Notes(Device):
    """Is configured with texts."""

    text = String()
    speed = Float64(default=1.0)


@pytest.fixture
def store(short_runtime: Path) -> Iterator[DeviceProxy]:
    """Serve a store and a device whose configurations are large; gives a proxy of the store."""
    assert short_runtime.exists()
    with serve({KEEPER: ConfigurationStore, NOTES: Notes}, server_id="T/SERVER"):
        yield connect(KEEPER)


def test_large_configurations_of_one_device_are_read_one_after_the_other(
    store: DeviceProxy,
) -> None:
    names = ["a", "b", "c"]
    for name in names:
        store.call("put", NOTES, name, "Notes", {"text": name * LONG})
    assert list(store.call("configurations", NOTES, names)) == ["a"]
    assert list(store.call("configurations", NOTES, names[1:])) == ["b"]
    with pytest.raises(LimitExceededError, match=f"3 configurations of '{NOTES}'") as refused:
        store.call("configurations", NOTES)
    assert "by name" in str(refused.value.remedy)
    with BlockingClient() as client:
        running = with_configurations(look(client), client, KEEPER)
    assert running.configurations is not None
    kept = running.configurations[NOTES]
    assert {name: len(item.values["text"]) for name, item in kept.items()} == dict.fromkeys(
        names, LONG
    )
    assert Export(running).left_out == {}


def test_configurations_that_are_asked_for_by_name_are_there_or_named(store: DeviceProxy) -> None:
    for name in ("a", "gone"):
        store.call("save", NOTES, name)
    store.call("delete", NOTES, "gone")
    assert list(store.call("configurations", NOTES, ["a"])) == ["a"]
    assert list(store.call("configurations", NOTES)) == ["a"]
    for name, problem in (("gone", "was deleted by"), ("none", "has no configuration 'none'")):
        with pytest.raises(InvalidNameError, match=problem) as refused:
            store.call("configurations", NOTES, ["a", name])
        assert refused.value.device == NOTES


def test_what_is_too_large_to_be_told_is_compared_and_written_all_the_same(
    store: DeviceProxy,
) -> None:
    store.call("put", NOTES, "a", "Notes", {"text": "a" * LONG, "speed": 2.0})
    store.call("put", NOTES, "b", "Notes", {"text": "b" * LONG, "speed": 3.0})
    compared = store.call("compare", NOTES, "a", "b")
    assert compared["untold"] == ["text"]
    assert [(item["key"], item["left"]) for item in compared["differences"]] == [
        ("text", None),
        ("speed", 2.0),
    ]
    store.call("restore", NOTES, "a")
    written = store.call("restore", NOTES, "b")
    assert (written["written"], written["untold"]) == (True, ["text"])
    assert (written["values"], written["before"]) == ({"speed": 3.0}, {"speed": 2.0})
    assert connect(NOTES).text == "b" * LONG


def test_a_long_history_is_read_in_parts(
    store: DeviceProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "_MOST_VERSIONS", 3)
    for _ in range(5):
        store.call("save", NOTES, "a")
    with pytest.raises(LimitExceededError, match=f"'a' of '{NOTES}' has more than 3 versions"):
        store.call("versions", NOTES, "a")
    parts = [store.call("versions", NOTES, "a", before, 3) for before in (0, 3, 1)]
    assert [[item["number"] for item in part] for part in parts] == [[5, 4, 3], [2, 1], []]
    for before, limit in ((-1, 0), (0, -1)):
        with pytest.raises(OutOfRangeError, match="no version -1"):
            store.call("versions", NOTES, "a", before, limit)


def test_a_configuration_that_is_called_live_is_told_of(
    short_runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert short_runtime.exists()
    monkeypatch.delenv("PYKARABO_DATABASE_URL", raising=False)

    async def keep() -> None:
        storage = Configurations(Database(STORE, place_of(STORE.name)))
        await storage.open()
        content = Content(kept_schema(Notes.schema()), {"speed": 4.0})
        await storage.save(Saving(NOTES, "live", "ada", content), 1)
        await storage.aclose()

    asyncio.run(keep())
    with serve({KEEPER: ConfigurationStore, NOTES: Notes}, server_id="T/SERVER"):
        store = connect(KEEPER)
        compared = store.call("compare", NOTES, "live@1", "live")
        assert [item["left"] for item in compared["differences"]] == [4.0]
        assert "'live@1'" in compared["note"]
        saving: list[tuple[Any, ...]] = [
            ("save", NOTES, "live"),
            ("put", NOTES, "live", "Notes", {}),
            ("save_many", [NOTES], "live"),
        ]
        for command, *arguments in saving:
            with pytest.raises(InvalidNameError, match="choose another name"):
                store.call(command, *arguments)
        store.call("restore", NOTES, "live")
        assert connect(NOTES).speed == 4.0
        store.call("delete", NOTES, "live")
        assert store.call("compare", NOTES, "live")["note"] == ""


@pytest.mark.parametrize("device_id", ["", "a b", "T/\0", "x" * 10_000, "\x1b[2J"])
def test_what_is_no_device_is_refused_by_each_command(store: DeviceProxy, device_id: str) -> None:
    commands: dict[str, tuple[Any, ...]] = {
        "names": (),
        "configurations": (),
        "versions": ("a",),
        "show": ("a",),
        "compare": ("a",),
        "save": ("a",),
        "put": ("a", "Notes", {}),
        "describe": ("a", "more"),
        "delete": ("a",),
        "undelete": ("a",),
        "restore": ("a",),
        "instantiate": ("a",),
    }
    for command, arguments in commands.items():
        with pytest.raises(BadInputError, match="is no device id"):
            store.call(command, device_id, *arguments)
    with pytest.raises(BadInputError, match="is no device id"):
        store.call("save_many", [NOTES, device_id], "a")
    assert store.call("names", NOTES) == []
