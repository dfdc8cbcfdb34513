"""`history-import`: values from elsewhere are in the archive, once, with their own times."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pykarabo import State
from pykarabo.client import BlockingClient, connect, wait_until
from pykarabo.device import serve
from pykarabo.errors import (
    DatabaseUnavailableError,
    UnknownDeviceError,
    UnknownPropertyError,
)
from pykarabo_services.archiver.main import Archiver
from pykarabo_services.archiver.reader import HistoryReader
from tests.integration.cli.conftest import Run

GAUGE = "OLD/GAUGE/1.pressure"
TABLE = """time,value,quality,train_id
2020-01-01T00:00:00.000000001Z,1.5,valid,7
2020-01-01T00:00:01Z,nan,invalid,8
2020-01-01T00:00:02Z,,warn,
2020-01-01T00:00:02Z,3,alarm,
"""


@pytest.fixture
def archive(short_runtime: Path) -> Iterator[None]:
    """Serve an archiver and a reader."""
    assert short_runtime.exists()
    devices = {"ARCHIVER/1": Archiver, "ARCHIVE/READER/1": HistoryReader}
    with serve(devices, server_id="T/SERVER"):
        reader = connect("ARCHIVE/READER/1")
        wait_until(lambda: reader.state == State.ON, timeout_s=30)
        yield


def stored(client: BlockingClient, device_id: str, key: str, count: int) -> Any:
    """Return a history when it has so many samples."""
    found: Any = []
    while len(found) < count:
        with contextlib.suppress(
            UnknownDeviceError, UnknownPropertyError, DatabaseUnavailableError
        ):
            found = client.history(device_id, key, since="2019-01-01", until="2021-01-01")
    return found


@pytest.mark.usefixtures("archive")
def test_file_is_stored_once_however_often_it_is_imported(pykarabo: Run, tmp_path: Path) -> None:
    table = tmp_path / "old.csv"
    table.write_text(TABLE)
    for _ in range(2):
        done = pykarabo("history-import", str(table), "--into", GAUGE, "--type", "float64")
        assert (done.code, done.out) == (0, f"{GAUGE}: 4 values (float64) stored\n")
    more = tmp_path / "more.csv"
    more.write_text(
        "device,property,time_ns,value\n"
        "OLD/GAUGE/1,mode,1577836800000000000,fast\n"
        "OLD/GAUGE/1,counts,1577836800000000000,12\n"
        "OLD/GAUGE/1,mode,1577836801000000000,slow\n"
    )
    assert pykarabo("history-import", str(more), "--json").json == {
        "OLD/GAUGE/1.mode": 2,
        "OLD/GAUGE/1.counts": 1,
    }
    with BlockingClient() as client:
        stored(client, "OLD/GAUGE/1", "counts", 1)
        modes = stored(client, "OLD/GAUGE/1", "mode", 2)
        found = stored(client, "OLD/GAUGE/1", "pressure", 4)
    assert found.time_ns[0] % 10**9 == 1
    assert found.train_ids.tolist() == [7, 8, 0, 0]
    assert found.qualities.tolist() == ["valid", "invalid", "warn", "alarm"]
    assert [str(value) for value in found.values] == ["1.5", "nan", "None", "3.0"]
    assert modes.values.tolist() == ["fast", "slow"]
    written = tmp_path / "again.csv"
    found.to_csv(written)
    assert pykarabo("history-import", str(written), "--into", "NEW/G.x", "--check").code == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("time,value\nsoon,1\n", "line 2: 'soon' names no moment"),
        ("time,value\n2020-01-01T00:00Z,x\n", "line 2: could not convert string to float: 'x'"),
        ("time,value\n2020-01-01T00:00Z\n", "line 2: it has 1 cells, the first line has 2"),
        ("time,value,quality\n2020-01-01T00:00:00Z,1,good\n", "'good' is not a valid Quality"),
        ("when,value\n", "has no column time"),
        ("time,value,colour\n", "has other columns"),
        ("", "has no column value, time"),
    ],
)
def test_bad_line_is_named_and_nothing_is_stored(
    pykarabo: Run, short_runtime: Path, tmp_path: Path, content: str, words: str
) -> None:
    assert short_runtime.exists()
    table = tmp_path / "bad.csv"
    table.write_text(content)
    done = pykarabo("history-import", str(table), "--into", GAUGE, "--type", "float64", "--check")
    assert done.code == 3
    assert words in done.err
    assert str(table) in done.err


def test_type_is_what_all_values_can_be(tmp_path: Path) -> None:
    from pykarabo_services.cli._importing import ImportFile, Target

    table = tmp_path / "mixed.csv"
    table.write_text(
        "device_id,key,time_ns,value\n"
        + "".join(
            f"A,{key},{place},{value}\n"
            for place, (key, value) in enumerate(
                [
                    ("i", "1"),
                    ("i", "-2"),
                    ("f", "1"),
                    ("f", "2.5"),
                    ("b", "true"),
                    ("s", "1"),
                    ("s", "x"),
                ]
            )
        )
    )
    content = ImportFile(table)
    assert content.check()[Target("A", "i")] == 2
    kinds = {target.key: kind.value for target, kind in content.types.items()}
    assert kinds == {"i": "int64", "f": "float64", "b": "bool", "s": "string"}
