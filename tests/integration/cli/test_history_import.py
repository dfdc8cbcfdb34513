"""`history-import`: values from elsewhere are in the archive, once, with their own times."""

import contextlib
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pykarabo import State
from pykarabo.client import BlockingClient, connect, wait_until
from pykarabo.client._history_files import text_of
from pykarabo.data import Float64, same
from pykarabo.device import Device, serve
from pykarabo.errors import (
    BadInputError,
    DatabaseUnavailableError,
    UnknownDeviceError,
    UnknownPropertyError,
)
from pykarabo_services.archiver.main import Archiver
from pykarabo_services.archiver.reader import HistoryReader
from pykarabo_services.cli import _importing
from pykarabo_services.cli._importing import ImportFile, Target
from tests.integration.cli.conftest import Run

GAUGE = "OLD/GAUGE/1.pressure"
TABLE = """time,value,quality,train_id
2020-01-01T00:00:00.000000001Z,1.5,valid,7
2020-01-01T00:00:01Z,nan,invalid,8
2020-01-01T00:00:02Z,,warn,
2020-01-01T00:00:02Z,3,alarm,
"""


class Gauge(Device):
    """Has a pressure."""

    pressure = Float64()


@pytest.fixture
def archive(short_runtime: Path) -> Iterator[None]:
    """Serve an archiver and a reader."""
    assert short_runtime.exists()
    devices = {"ARCHIVER/1": Archiver, "ARCHIVE/READER/1": HistoryReader, "T/GAUGE/1": Gauge}
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
    for outcome in ("stored", "of which 0 are stored, 4 were there already"):
        done = pykarabo("history-import", str(table), "--into", GAUGE, "--type", "float64")
        assert (done.code, done.out) == (0, f"{GAUGE}: 4 values (float64) {outcome}\n")
    more = tmp_path / "more.csv"
    more.write_text(
        "device,property,time_ns,value\n"
        "OLD/GAUGE/1,mode,1577836800000000000,fast\n"
        "OLD/GAUGE/1,counts,1577836800000000000,12\n"
        "OLD/GAUGE/1,mode,1577836801000000000,slow\n"
    )
    assert pykarabo("history-import", str(more), "--json").json == {
        "OLD/GAUGE/1.mode": {"type": "string", "values": 2, "new": 2, "known": 0, "different": 0},
        "OLD/GAUGE/1.counts": {"type": "int64", "values": 1, "new": 1, "known": 0, "different": 0},
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


@pytest.mark.usefixtures("archive")
def test_own_export_adds_nothing_and_a_corrected_value_is_told(
    pykarabo: Run, tmp_path: Path
) -> None:
    gauge = connect("T/GAUGE/1")
    for value in (1.5, 2.5):
        gauge.pressure = value
    with BlockingClient() as client:
        found: Any = []
        while len(found) < 3:
            with contextlib.suppress(
                UnknownDeviceError, UnknownPropertyError, DatabaseUnavailableError
            ):
                found = client.history("T/GAUGE/1", "pressure", since="-1h")
        written = tmp_path / "exported.csv"
        found.to_csv(written)
        own = ("history-import", str(written), "--into", "T/GAUGE/1.pressure", "--json")
        [told] = pykarabo(*own).json.values()
        assert (told["new"], told["known"], told["different"]) == (0, 3, 0)
        written.write_text(written.read_text().replace(",1.5,", ",1.25,"))
        done = pykarabo(*own[:-1])
        assert "0 are stored, 2 were there already, 1 have another value there" in done.out
        again = client.history("T/GAUGE/1", "pressure", since="-1h")
        assert again.values.tolist() == [0.0, 1.5, 2.5]
        pykarabo("history-import", str(written), "--into", "COPY/GAUGE/1.pressure")
        while len(again) < 3 or again.device_id == "T/GAUGE/1":
            with contextlib.suppress(UnknownDeviceError, UnknownPropertyError):
                again = client.history("COPY/GAUGE/1", "pressure", since="-1h")
    assert again["seq"].tolist() == found["seq"].tolist()
    assert again["epoch"].tolist() == found["epoch"].tolist()


@pytest.mark.usefixtures("archive")
def test_more_values_of_one_moment_than_fit_into_a_call_are_all_stored(
    pykarabo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_importing, "IMPORT_ROWS", 50)
    table = tmp_path / "equal.csv"
    table.write_text(
        "time,value\n" + "".join(f"2020-01-01T00:00:00Z,{number}\n" for number in range(120))
    )
    for new in (120, 0):
        [told] = pykarabo("history-import", str(table), "--into", GAUGE, "--json").json.values()
        assert (told["new"], told["known"], told["different"]) == (new, 120 - new, 0)
    with BlockingClient() as client:
        assert stored(client, "OLD/GAUGE/1", "pressure", 120).values.tolist() == [*range(120)]


@pytest.mark.usefixtures("archive")
def test_values_of_every_kind_come_back_from_an_export(pykarabo: Run, tmp_path: Path) -> None:
    values = {
        "bytes": b"\0\xff",
        "complex128": 1 + 2j,
        "table": {"x": np.array([1.5, 2.5]), "name": ["a", "b"]},
        "vector_float64": np.array([0.5, np.nan]),
        "vector_string": ["a", "b,c"],
        "uint64": 2**64 - 1,
        "vector_complex128": np.array([1 + 2j, -1j]),
    }
    for kind, value in values.items():
        table = tmp_path / f"{kind}.csv"
        with table.open("w", newline="") as file:
            rows = [("time", "value"), ("2020-01-01T00:00:00Z", text_of(value))]
            csv.writer(file).writerows(rows)
        into = ("--into", f"OLD/KINDS/1.{kind}", "--type", kind)
        done = pykarabo("history-import", str(table), *into)
        assert done.code == 0, done.err
    with BlockingClient() as client:
        for kind, value in values.items():
            found = stored(client, "OLD/KINDS/1", kind, 1).rows()[0].value
            assert same(found, value), kind


@pytest.mark.usefixtures("archive")
def test_archiver_itself_refuses_what_it_cannot_store() -> None:
    at = {"time_ns": [1]}
    cases: list[tuple[tuple[Any, ...], str]] = [
        (("OLD/1", "x", "int8", at | {"value": [300]}), "cannot be 300: int8 holds"),
        (("OLD/1", "x" * 600, "int8", at | {"value": [3]}), "is no key of a property"),
        (("OLD/1", "a b", "int8", at | {"value": [3]}), "is no key of a property"),
        (("OLD 1", "x", "int8", at | {"value": [3]}), "is no device id"),
        (("OLD/1", "x", "int9", at | {"value": [3]}), "there is no type 'int9'"),
        (("OLD/1", "x", "int8", {"value": [3]}), "the columns lack time_ns"),
        (("OLD/1", "x", "int8", at | {"value": [3], "sec": [1]}), "the columns have sec"),
        (("OLD/1", "x", "int8", at | {"value": [3, 4]}), "the columns have 1 and 2 rows"),
        (("OLD/1", "x", "int8", at | {"value": [3], "quality": [9]}), "quality cannot be 9"),
        (("OLD/1", "x", "int8", at | {"value": [3], "train_id": [-1]}), "train_id cannot be -1"),
        (("OLD/1", "x", "int8", {"time_ns": [2**63], "value": [3]}), "row 0: time_ns cannot be"),
        (("OLD/1", "x", "int8", {"time_ns": [1.5], "value": [3]}), "row 0: time_ns cannot be 1.5"),
        (("OLD/1", "x", "int8", at | {"value": [3], "seq": [1]}), "the columns lack epoch"),
    ]
    with BlockingClient() as client:
        device = client.device("ARCHIVER/1")
        for arguments, words in cases:
            with pytest.raises(BadInputError, match=words) as caught:
                device.call("import_samples", *arguments)
            assert caught.value.remedy


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("time,value\nsoon,1\n", "line 2: 'soon' names no moment"),
        ("time,value\n2020-01-01T00:00Z,x\n", "line 2: could not convert string to float: 'x'"),
        ("time_ns,value\n1,1\n,2\n", "line 3: it has no time"),
        ("time,value\n9999-01-01T00:00:00Z,1\n", "line 2: time_ns cannot be 253370764800"),
        ("time_ns,value\n" + "9" * 5000 + ",1\n", "line 2: Exceeds the limit"),
        (f"time,value,train_id\n1970-01-02,1,{10**23}\n", f"line 2: train_id cannot be {10**23}"),
        ("time,value,epoch,seq\n1970-01-02,1,,\n", "line 2: it has no epoch and seq"),
        ("time,value,seq\n", "has no column epoch"),
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


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("int8", "300", "cannot be 300: int8 holds -128 to 127"),
        ("uint64", "-1", "cannot be -1"),
        ("vector_float64", '{""a"":1}', "give a value of type vector_float64"),
        ("vector_int8", '"[300]"', "give a value of type vector_int8"),
        ("bytes", "abc", "is no JSON: Expecting value"),
        ("bytes", '{""a"":1}', "give a value of type bytes"),
        ("table", "[1]", "give a map of columns"),
        ("state", "FLYING", "give a value of type state"),
        ("vector_string", '"[""\\ud800""]"', "holds a surrogate, which is no character"),
    ],
)
def test_value_of_another_type_is_refused(
    pykarabo: Run, tmp_path: Path, kind: str, value: str, words: str
) -> None:
    table = tmp_path / "bad.csv"
    quoted = value if value.startswith('"') or '"' not in value else f'"{value}"'
    table.write_text(f"time,value\n1970-01-01T00:00:00Z,{quoted}\n")
    done = pykarabo("history-import", str(table), "--into", GAUGE, "--type", kind, "--check")
    assert done.code == 3, done.out
    assert f"{table}, line 2: " in done.err
    assert words in done.err


def test_key_that_the_tables_cannot_hold_is_refused(
    pykarabo: Run, short_runtime: Path, tmp_path: Path
) -> None:
    assert short_runtime.exists()
    table = tmp_path / "bad.csv"
    table.write_text(f"device_id,key,time,value\nOLD/1,{'k' * 600},1970-01-01,1\n")
    done = pykarabo("history-import", str(table), "--check")
    assert done.code == 3
    assert "line 2: 'kkk" in done.err


def test_mark_of_byte_order_empty_lines_and_long_vectors_are_read(
    pykarabo: Run, short_runtime: Path, tmp_path: Path
) -> None:
    assert short_runtime.exists()
    table = tmp_path / "long.csv"
    vector = json.dumps([0.125] * 100_000)
    table.write_text(f'\ufefftime,value\n\n1970-01-01T00:00:00Z,"{vector}"\n\n')
    into = ("--into", GAUGE, "--type", "vector_float64", "--check")
    done = pykarabo("history-import", str(table), *into)
    assert (done.code, done.out) == (0, f"{GAUGE}: 1 values (vector_float64) can be stored\n")


def test_file_without_rows_is_told(pykarabo: Run, short_runtime: Path, tmp_path: Path) -> None:
    assert short_runtime.exists()
    table = tmp_path / "none.csv"
    table.write_text("time,value\n")
    assert pykarabo("history-import", str(table), "--into", GAUGE, "--check").out == (
        f"{table} has no rows\n"
    )


def test_type_is_what_all_values_can_be(tmp_path: Path) -> None:
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
                    ("u", "1"),
                    ("u", "18446744073709551615"),
                    ("n", "-1"),
                    ("n", "18446744073709551615"),
                    ("s", "1"),
                    ("s", "x"),
                ]
            )
        )
    )
    content = ImportFile(table)
    assert content.check()[Target("A", "i")] == 2
    kinds = {target.key: kind.value for target, kind in content.types.items()}
    assert kinds == {
        "i": "int64",
        "f": "float64",
        "b": "bool",
        "u": "uint64",
        "n": "string",
        "s": "string",
    }
