"""`history` and `past`: what the archive has, on the command line."""

import asyncio
import csv
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pykarabo import State
from pykarabo.client import connect, wait_until
from pykarabo.data import Float64, String, ValueType
from pykarabo.device import Device, serve
from pykarabo.errors import UnknownDeviceError
from pykarabo_services.archiver.model import Sample
from pykarabo_services.archiver.reader import HistoryReader
from pykarabo_services.archiver.store import (
    STORE,
    Batch,
    SeriesKey,
    SeriesNumbers,
    tail_of,
    write,
)
from pykarabo_services.kernel.database import place_of
from tests.integration.cli.conftest import Run
from tests.services.archiver.pump import COUNT, PUMP, START, archive, fill, moment

PRESSURE = f"{PUMP}.pressure"
h5py: Any = import_module("h5py")  # it has no type information


class Valve(Device):
    """A valve with a password."""

    opened = Float64(default=1.5)
    password = String(default="123", secret=True)
    passing = Float64(default=0.5, archive=False)


async def _of_valve() -> None:
    key = SeriesKey("VAC/PUMP/2", "opened", "float64")
    value = tail_of(ValueType.FLOAT64, Sample(moment(1).to_ns(), 0.5))
    async with archive(place_of(STORE.name)) as database:
        await database.write(lambda c: write(c, Batch([(key, value)]), SeriesNumbers()))


def at(seconds: float) -> str:
    return moment(seconds).iso(9)


async def _filled() -> None:
    async with archive(place_of(STORE.name)) as database:
        await database.write(fill)


@pytest.fixture(autouse=True)
def reader(short_runtime: Path) -> Iterator[None]:
    """Serve a reader of the pump's archive."""
    assert short_runtime.exists()
    asyncio.run(_filled())
    with serve({"ARCHIVE/READER/1": HistoryReader}, server_id="T/SERVER"):
        device = connect("ARCHIVE/READER/1")
        wait_until(lambda: device.state == State.ON, timeout_s=20)
        yield


def test_history_shows_samples_and_gaps_in_order(pykarabo: Run) -> None:
    done = pykarabo("history", PRESSURE, "--since", at(98.5), "--until", at(112))
    assert done.code == 0
    assert done.lines[0].endswith("(before)")
    assert done.lines[1].endswith("mbar  train 5000990")
    assert "gap until" in done.lines[2]
    assert done.lines[2].endswith("4 changes lost: the archiver was restarted --")
    assert "(warn)" in done.lines[3]
    assert len(done.lines) == 1 + 13 + 1


def test_history_as_json_is_one_document(pykarabo: Run) -> None:
    found = pykarabo("history", PRESSURE, "--since", at(0), "--until", at(3), "--json").json
    assert found["columns"]["quality"] == ["warn", "valid", "valid"]
    assert found["columns"]["time"] == [at(0), at(1), at(2)]
    assert (found["unit"], found["operator"], found["gaps"]) == ("mbar", "raw", [])


def test_operators_and_buckets_are_for_all(pykarabo: Run) -> None:
    options = ("--operator", "count", "--every", "10min", "--json")
    found = pykarabo("history", PRESSURE, "--since", at(0), "--until", at(COUNT), *options).json
    assert sum(found["columns"]["count"]) == COUNT
    trains = pykarabo("history", PRESSURE, "--trains", "5000010:5000030", "--json").json
    assert trains["columns"]["train_id"] == [5_000_010, 5_000_020, 5_000_030]


def test_files_hold_what_was_asked_for(pykarabo: Run, tmp_path: Path) -> None:
    names = {kind: tmp_path / f"pressure.{kind}" for kind in ("csv", "parquet", "hdf5")}
    files = [part for kind, path in names.items() for part in (f"--{kind}", str(path))]
    done = pykarabo("history", PRESSURE, "--since", at(0), "--until", at(50), *files)
    assert (done.code, done.out) == (0, "")
    with names["csv"].open() as file:
        rows = list(csv.DictReader(file))
    table = pd.read_parquet(names["parquet"])
    with h5py.File(names["hdf5"]) as file:
        values = file["value"][:].tolist()
        assert file["time_ns"][1] == START + 10**9
        assert (file.attrs["unit"], file.attrs["key"]) == ("mbar", "pressure")
    assert rows[1]["time"] == at(1)
    assert [float(row["value"]) for row in rows] == values == table["value"].tolist()
    assert rows[0]["quality"] == "warn"


def test_text_is_a_column_of_text_in_every_file(pykarabo: Run, tmp_path: Path) -> None:
    path = tmp_path / "mode.hdf5"
    pykarabo("history", f"{PUMP}.mode", "--since", at(0), "--until", at(250), "--hdf5", str(path))
    with h5py.File(path) as file:
        assert file["value"].asstr()[:].tolist() == ["mode 0", "mode 1", "mode 2"]
    pykarabo("history", f"{PUMP}.spectrum", "--since", at(0), "--csv", str(path))
    with path.open() as text:
        assert json.loads(list(csv.reader(text))[1][1]) == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_plot_draws_in_the_terminal_and_to_a_file(
    pykarabo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    drawn = pykarabo("history", PRESSURE, "--since", at(0), "--until", at(2500), "--plot")
    assert drawn.lines[0].startswith(f"{PRESSURE} [mbar]: value (optimized)")
    assert max(map(len, drawn.lines)) <= 80
    assert any("⣀" <= sign <= "⣿" for sign in drawn.out)
    picture = tmp_path / "pressure.png"
    options = ("--operator", "statistics", "--plot", str(picture))
    assert pykarabo("history", PRESSURE, "--since", at(0), "--until", at(2500), *options).code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    states = pykarabo("history", f"{PUMP}.mode", "--since", at(0), "--until", at(900), "--plot")
    assert "mode 3" in states.out
    vector = pykarabo("history", f"{PUMP}.spectrum", "--since", at(0), "--plot")
    assert vector.code == 3
    assert "cannot be plotted: its values are no numbers" in vector.err


def test_past_is_a_table_with_ages_and_doubts(pykarabo: Run) -> None:
    table = pykarabo("past", PUMP, at(105))
    assert "gap until" in table.lines[1]
    assert [line.split()[0] for line in table.lines[3:]] == [
        "mode",
        "pressure",
        "spectrum",
        "speed",
    ]
    assert all(line.endswith("uncertain") for line in table.lines[3:])
    (found,) = pykarabo("past", "VAC/*", at(50), "--json").json
    assert found["values"]["speed"]["value"] == 300
    assert (found["uncertain"], found["class_id"]) == ([], "Pump")


def test_moment_before_now_is_no_option(pykarabo: Run) -> None:
    done = pykarabo("past", PUMP, "-1min")
    assert (done.code, done.err) == (0, "")
    assert "it was not there: it was stopped" in done.lines[1]


def test_difference_names_only_what_is_not_the_same(pykarabo: Run) -> None:
    found = pykarabo("past", PUMP, at(50), "--diff", at(55), "--json").json
    assert list(found["differences"]) == ["pressure"]
    missing: dict[str, Any] = pykarabo("past", PUMP, at(2400), "--diff", at(2600), "--json").json
    assert missing["differences"]["speed"]["other"] is None


def test_number_of_samples_is_shown_in_every_form(pykarabo: Run, tmp_path: Path) -> None:
    options = ("--since", at(0), "--until", at(COUNT), "--operator", "ncount")
    assert pykarabo("history", PRESSURE, *options).lines[0].endswith(f"ncount {COUNT}")
    assert pykarabo("history", PRESSURE, *options, "--json").json["columns"]["ncount"] == [COUNT]
    for kind in ("csv", "parquet", "hdf5"):
        path = tmp_path / f"count.{kind}"
        assert pykarabo("history", PRESSURE, *options, f"--{kind}", str(path)).code == 0


def test_difference_to_now_shows_the_devices_that_are_there_and_names_the_others(
    pykarabo: Run,
) -> None:
    with serve({"VAC/PUMP/2": Valve}, server_id="T/OTHER"):
        asyncio.run(_of_valve())
        found = pykarabo("past", "VAC/*", at(50), "--diff", "now", "--json")
        table = pykarabo("past", "VAC/*", at(50), "--diff", "now")
        alone = pykarabo("past", "VAC/PUMP/2", at(50), "--diff", "now", "--json").json
    assert found.code == table.code == UnknownDeviceError.exit_code
    assert found.err.startswith(f"{PUMP}: ")
    assert found.json == [alone]
    assert "opened" in alone["differences"]
    assert not {"password", "passing"} & alone["differences"].keys()
    count = len(alone["differences"])
    assert table.lines[0] == f"VAC/PUMP/2: {count} of {count} properties differ"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("history", PUMP), 3, "names no property - write VAC/PUMP/1.NAME"),
        (("history", f"{PUMP}.presure"), 3, "did you mean 'pressure'"),
        (("history", PRESSURE, "--since", "soon"), 3, "names no moment"),
        (("history", PRESSURE, "--operator", "mea"), 3, "did you mean mean?"),
        (("history", PRESSURE, "--every", "5m", "--points", "3"), 3, "write min"),
        (("history", PRESSURE, "--trains", "a:b"), 3, "write FIRST:LAST"),
        (("history", PRESSURE, "--follow", "--points", "3"), 3, "cannot be used with --points"),
        (("history", PRESSURE, "--every", "5min"), 3, "name an operator too"),
        (("history", PRESSURE, "--until", "9999-12-31"), 3, "give 'until' between these"),
        (("history", PRESSURE, "--since", at(0), "--csv", "/none/a.csv"), 3, "of --csv cannot be"),
        (("history", PRESSURE, "--since", at(0), "--hdf5", "/none/a.h5"), 3, "of --hdf5 cannot be"),
        (("history", PRESSURE, "--since", at(0), "--parquet", "/none/a"), 3, "of --parquet cannot"),
        (("history", PRESSURE, "--since", at(0), "--plot", "/none/a.png"), 3, "of --plot cannot"),
        (
            ("history", PRESSURE, "--since", at(0), "--plot", "a.foo"),
            3,
            "end in .png, .svg or .pdf",
        ),
        (("past", PUMP, "9999-12-31"), 3, "give 'time' between these"),
        (("past", "X*", "now"), 3, "no device that matches 'X*' has a history"),
        (("past", "VAC/PUMP/2", "now"), 3, "did you mean 'VAC/PUMP/1'"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    pykarabo: Run, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = pykarabo(*arguments)
    assert done.code == code
    assert words in done.err
    assert len(done.err.splitlines()) == 1
