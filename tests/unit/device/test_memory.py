"""Set-points that outlive the process: whole files only, durable when a write is answered."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import Configurable, Float64, Node, State, String, VectorFloat64
from pykarabo.device import Device, Event, _memory, command
from pykarabo.device._memory import pack, unpack
from pykarabo.errors import BadConfigurationError, UnknownPropertyError
from pykarabo.testing import MemoryFacility, run_facility


class _Axis(Configurable):
    """An axis."""

    offset = Float64(unit="mm")


class _Source(Device):
    """A supply with set-points."""

    memorised = ("voltage", "name", "table", "axis.offset", "log_level")

    voltage = Float64(unit="V", default=1.0, maximum=100.0)
    name = String()
    table = VectorFloat64()
    axis = Node(_Axis)
    forgotten = Float64(default=1.0)
    done = Event()

    async def on_initialize(self) -> None:
        self.counted = 0

    @command()
    async def count(self) -> None:
        """Count."""
        self.counted += 1


class _Weak(_Source):
    """The next version of the class, with a lower limit."""

    voltage = Float64(unit="V", default=2.0, maximum=10.0)


def _run(
    folder: Path,
    check: Callable[[MemoryFacility, Any], Any],
    *,
    cls: type[Device] = _Source,
    configuration: dict[str, Any] | None = None,
) -> None:
    async def scenario() -> None:
        async with run_facility({"Source": cls}) as facility:
            facility.server._memory = folder
            device = await facility.server.instantiate("Source", "HV/1", configuration)
            await check(facility, device)

    asyncio.run(scenario())


async def _write(_facility: MemoryFacility, device: Any) -> None:
    proxy = await device.client.device("HV/1", follow=False)
    await proxy.set({"voltage": 30.0, "name": "käse", "table": [1.0, 2.0], "axis.offset": "1 cm"})
    await proxy.set({"forgotten": 5.0, "log_level": "DEBUG"})


def test_set_points_come_back_and_a_configuration_goes_before_them(tmp_path: Path) -> None:
    _run(tmp_path, _write)

    async def check(_facility: MemoryFacility, device: Any) -> None:
        assert (device.voltage, device.name, device.axis.offset) == (30.0, "käse", 10.0)
        assert np.array_equal(device.table, [1.0, 2.0])
        assert (device.forgotten, device.log_level, device.status) == (1.0, "DEBUG", "")

    _run(tmp_path, check)

    async def check_configured(_facility: MemoryFacility, device: Any) -> None:
        assert (device.voltage, device.axis.offset, device.name) == (7.0, 3.0, "käse")

    configuration = {"voltage": 7.0, "axis": {"offset": 3.0}}
    _run(tmp_path, check_configured, configuration=configuration)

    async def check_kept(_facility: MemoryFacility, device: Any) -> None:
        assert (device.voltage, device.axis.offset) == (7.0, 3.0)

    _run(tmp_path, check_kept)


def test_a_write_that_was_answered_is_on_the_disk(tmp_path: Path) -> None:
    async def check(_facility: MemoryFacility, device: Any) -> None:
        proxy = await device.client.device("HV/1", follow=False)
        for voltage in (3.0, 4.0, 5.0):
            await proxy.set(voltage=voltage)
            stored = unpack((tmp_path / "HV" / "1.memory").read_bytes())
            assert stored["values"]["voltage"] == voltage

    _run(tmp_path, check)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["1.memory"]


def test_many_changes_are_few_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pykarabo.device._memory as module

    written: list[bytes] = []
    replace = module.replace_file

    def count(path: Path, content: bytes) -> None:
        written.append(content)
        replace(path, content)

    async def check(_facility: MemoryFacility, device: Any) -> None:
        for number in range(100):
            device.voltage = float(number)
        await device._memory.saved()

    monkeypatch.setattr(module, "replace_file", count)
    _run(tmp_path, check)
    assert 1 <= len(written) <= 3
    assert unpack(written[-1])["values"]["voltage"] == 99.0


@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_a_damaged_file_is_put_aside_and_told(tmp_path: Path, content: bytes | None) -> None:
    _run(tmp_path, _write)
    path = tmp_path / "HV" / "1.memory"
    whole = path.read_bytes()
    damaged = whole[:-3] + b"xyz" if content is None else content
    path.write_bytes(damaged)

    async def check(_facility: MemoryFacility, device: Any) -> None:
        assert device.voltage == 1.0
        assert "damaged" in device.status
        assert "defaults" in device.status

    _run(tmp_path, check)
    (aside,) = path.parent.glob("1.damaged-*")
    assert aside.read_bytes() == damaged
    assert unpack(path.read_bytes())["values"]["voltage"] == 1.0


def test_a_value_that_no_longer_fits_is_told_and_the_others_are_kept(tmp_path: Path) -> None:
    _run(tmp_path, _write)

    async def check(_facility: MemoryFacility, device: Any) -> None:
        assert (device.voltage, device.name) == (2.0, "käse")
        assert "HV/1.voltage" in device.status

    _run(tmp_path, check, cls=_Weak)


def test_a_disk_that_cannot_be_written_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_memory, "AGAIN_S", 0.01)

    async def check(_facility: MemoryFacility, device: Any) -> None:
        proxy = await device.client.device("HV/1", follow=False)
        await device._memory.saved()
        (tmp_path / "HV" / "1.new").mkdir()
        await proxy.set(voltage=9.0)
        assert device.voltage == 9.0
        assert "cannot remember its set-points in" in device.alarms["memory-file/warn"]["text"]
        (tmp_path / "HV" / "1.new").rmdir()
        async with asyncio.timeout(10):
            while "memory-file/warn" in device.alarms:
                await asyncio.sleep(0.01)
        written = unpack((tmp_path / "HV" / "1.memory").read_bytes())
        assert written["values"]["voltage"] == 9.0

    _run(tmp_path, check)


def test_connections_made_at_run_time_are_made_again(tmp_path: Path) -> None:
    async def connect(_facility: MemoryFacility, device: Any) -> None:
        proxy = await device.client.device("HV/1", follow=False)
        await proxy.connect_event("HV/1", "done", "count")
        await device._memory.saved()

    async def check(_facility: MemoryFacility, device: Any) -> None:
        async with asyncio.timeout(10):
            while not device.connections.get("HV/1.done -> count", {}).get("live"):
                await asyncio.sleep(0.01)
            device.emit("done")
            while device.counted != 1:
                await asyncio.sleep(0.01)
        proxy = await device.client.device("HV/1", follow=False)
        await proxy.disconnect_event("HV/1", "done", "count")

    async def check_gone(_facility: MemoryFacility, device: Any) -> None:
        assert device._connections.made == []

    _run(tmp_path, connect)
    _run(tmp_path, check)
    _run(tmp_path, check_gone)


def test_a_process_without_a_directory_remembers_nothing(short_runtime: Path) -> None:
    del short_runtime

    async def scenario() -> None:
        async with run_facility({"Source": _Source}) as facility:
            device: Any = await facility.server.instantiate("Source", "HV/1")
            await _write(facility, device)
            assert device.state == State.UNKNOWN

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("state", BadConfigurationError),
        ("axis", BadConfigurationError),
        ("x", UnknownPropertyError),
    ],
)
def test_what_cannot_be_memorised_is_refused_with_the_class(
    key: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match="_Wrong") as caught:
        type("_Wrong", (Device,), {"memorised": (key,), "axis": Node(_Axis)})
    assert f"'{key}'" in str(caught.value) or f".{key}'" in str(caught.value)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=10)
    | st.binary(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
)


@given(st.dictionaries(st.text(max_size=10), _VALUES, max_size=5))
def test_content_comes_out_as_it_went_in(content: dict[str, Any]) -> None:
    assert unpack(pack(content)) == content


@given(st.data())
def test_no_damage_goes_unseen(data: st.DataObject) -> None:
    packed = bytearray(pack({"values": {"voltage": 3.0, "name": "x" * 20}}))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"checksum|begin"):
        unpack(bytes(packed))
