"""Run directories: numbers, manifests, full disks, and what a killed recorder leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pykarabo.errors import DiskFullError, RunStateError
from pykarabo_services.daq.model import (
    RunManifest,
    RunSettings,
    RunState,
    SpaceLimits,
    next_run_number,
    proposal_directory,
    run_directory_name,
)
from pykarabo_services.daq.store import RunDirectories

# None of them has type information.
extra_data: Any = import_module("extra_data")
validation: Any = import_module("extra_data.validation")
h5py: Any = import_module("h5py")

MOTOR = "SPB/MOTOR/1"
CAMERA = "SPB/CAM/1:daqOutput"
FIRST = 10_000_000_001
STOPPED_NS = 1_790_000_100_000_000_000


def opened(directory: Path | str, **options: Any) -> Any:
    return extra_data.RunDirectory(str(directory), parallelize=False, **options)


def problems(directory: Path) -> list[Any]:
    return list(validation.RunValidator(str(directory)).run_checks())


def test_run_numbers_continue_after_the_highest() -> None:
    assert next_run_number([]) == 1
    assert next_run_number(["r0003", "r0012", "notes", "r01", "r0002.old"]) == 13
    assert run_directory_name(7) == "r0007"
    with pytest.raises(RunStateError, match="10000"):
        run_directory_name(10_000)


def test_every_run_gets_the_next_directory(facility: Any) -> None:
    first = facility.record([facility.train(FIRST)])
    second = facility.record([facility.train(FIRST)])
    assert [first.name, second.name] == ["r0001", "r0002"]


def test_runs_are_listed_with_what_they_hold(facility: Any) -> None:
    facility.record(
        [facility.train(FIRST + n) for n in range(12)], sample="water", trains_per_file=5
    )
    writer = facility.begin()
    first, second = facility.runs.runs()
    assert (first.run, first.state, first.sample) == (1, RunState.CLOSED, "water")
    assert (first.trains, first.first_train, first.last_train) == (12, FIRST, FIRST + 11)
    assert [record.trains for record in first.files] == [5, 5, 2]
    assert first.stopped_ns > first.started_ns > 0
    motor, camera = first.sources
    assert (motor.name, motor.section, motor.entries) == (MOTOR, "CONTROL", 12)
    assert motor.skipped_keys == ("table",)
    assert (camera.name, camera.section, camera.entries, camera.keys) == (
        CAMERA,
        "INSTRUMENT",
        12,
        3,
    )
    assert (second.run, second.state) == (2, RunState.RECORDING)
    facility.finish(writer)


def test_the_manifest_is_plain_json(facility: Any) -> None:
    directory = facility.record([facility.train(FIRST)])
    values = json.loads((directory / "run.json").read_text())
    assert values["state"] == "closed"
    assert values["files"][0]["name"] == "RAW-R0001-DA01-S00000.h5"
    text = (directory / "run.json").read_text()
    assert RunManifest.from_json(text, directory=directory).to_json() == text


@pytest.mark.parametrize("text", ["", "[]", '{"state": "closed"}', '{"state": 3}', "\xff"])
def test_a_broken_manifest_does_not_hide_the_run(facility: Any, text: str) -> None:
    directory = facility.record([facility.train(FIRST)])
    (directory / "run.json").write_text(text, encoding="latin-1")
    (found,) = facility.runs.runs()
    assert (found.run, found.state) == (1, RunState.UNKNOWN)
    assert found.error


def test_a_directory_without_runs_lists_none(tmp_path: Path) -> None:
    assert RunDirectories(tmp_path / "missing").runs() == []


def test_a_run_is_refused_when_too_little_space_is_free(facility: Any) -> None:
    limits = SpaceLimits(start_bytes=1 << 60, stop_bytes=0)
    runs = RunDirectories(facility.directory, limits=limits)
    with pytest.raises(DiskFullError) as caught:
        runs.begin(RunSettings(), controls=[], instruments=[], started_ns=1)
    assert str(facility.directory) in str(caught.value)
    assert caught.value.details["needed_bytes"] == 1 << 60
    assert 0 < caught.value.details["free_bytes"] < 1 << 60
    assert runs.runs() == []


def test_limits_follow_the_size_of_the_disk() -> None:
    small = SpaceLimits.of_disk(100 << 30)
    assert small.start_bytes == round((100 << 30) * 0.05)
    assert small.stop_bytes == round((100 << 30) * 0.02)
    assert SpaceLimits.of_disk(1 << 50).start_bytes == 10 << 30


def test_a_run_is_stopped_before_the_disk_is_full(facility: Any) -> None:
    free = shutil.disk_usage(facility.directory.parent).free
    limits = SpaceLimits(start_bytes=0, stop_bytes=free + (1 << 40))
    facility.runs = RunDirectories(facility.directory, limits=limits)
    writer = facility.begin()
    writer.write(facility.train(FIRST))
    with pytest.raises(DiskFullError):
        writer.flush()
    with pytest.raises(RunStateError, match="aborted"):
        writer.write(facility.train(FIRST + 1))
    manifest = writer.abort("", STOPPED_NS)
    assert manifest.state is RunState.ABORTED
    assert "free" in manifest.error
    (loss,) = manifest.losses
    assert (loss["reason"], loss["trains"]) == ("unwritten", [[FIRST, FIRST]])


@pytest.mark.parametrize("name", ["", "DA", "D1", "DA/01", "DAXX"])
def test_an_aggregator_that_readers_cannot_parse_is_refused(name: str) -> None:
    with pytest.raises(RunStateError, match="DA01"):
        RunSettings(aggregator=name)


def test_trains_must_increase(facility: Any) -> None:
    writer = facility.begin()
    writer.write(facility.train(FIRST))
    with pytest.raises(RunStateError, match="increasing"):
        writer.write(facility.train(FIRST))
    facility.finish(writer)


def test_an_aborted_run_keeps_what_it_has(facility: Any) -> None:
    writer = facility.begin()
    for n in range(4):
        writer.write(facility.train(FIRST + n))
    manifest = writer.abort("beam dump", STOPPED_NS)
    assert (manifest.state, manifest.error, manifest.trains) == (RunState.ABORTED, "beam dump", 4)
    assert problems(Path(manifest.directory)) == []
    with pytest.raises(RunStateError):
        writer.close(STOPPED_NS)


def test_a_run_without_trains_has_no_file(facility: Any) -> None:
    directory = facility.record([])
    assert sorted(path.name for path in directory.iterdir()) == ["run.json"]
    assert facility.runs.runs()[0].state is RunState.CLOSED


def test_open_run_finds_runs_in_a_proposal(
    facility: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = proposal_directory(tmp_path, instrument="SPB", cycle="202601", proposal=900123)
    facility.runs = RunDirectories(directory, limits=SpaceLimits(start_bytes=0, stop_bytes=0))
    facility.record([facility.train(FIRST)])
    monkeypatch.setenv("EXTRA_DATA_DATA_ROOT", str(tmp_path))
    run = extra_data.open_run(900123, 1)
    assert run.train_ids == [FIRST]


def test_readers_see_what_was_flushed_while_the_run_goes_on(facility: Any) -> None:
    writer = facility.begin()
    for n in range(3):
        writer.write(facility.train(FIRST + n))
    writer.flush()
    (part,) = Path(writer.manifest.directory).glob("*.part")
    with h5py.File(part, "r", swmr=True) as file:
        assert file["INDEX/trainId"][:].tolist() == [FIRST, FIRST + 1, FIRST + 2]
        pixels = file[f"INSTRUMENT/{CAMERA}/data/image/pixels"]
        np.testing.assert_array_equal(pixels[2], facility.image(FIRST + 2))
    assert list(Path(writer.manifest.directory).glob("*.h5")) == []
    facility.finish(writer)


CHILD = """
    import os, sys
    from pathlib import Path
    import numpy as np
    from pykarabo.data import OutputInfo, PropertyInfo, PropertyValue, Schema, Timestamp, ValueType
    from pykarabo_services.daq.model import *
    from pykarabo_services.daq.store import RunDirectories
    from pykarabo_services.kernel.trains import Train, TrainItem

    FIRST = 10_000_000_001
    directory = Path(sys.argv[1])
    runs = RunDirectories(directory, limits=SpaceLimits(start_bytes=0, stop_bytes=0))
    schema = Schema(
        class_id="Motor", description="", commands={}, outputs={},
        properties={
            "position": PropertyInfo(key="position", value_type=ValueType("float64")),
            "quiet": PropertyInfo(key="quiet", value_type=ValueType("string")),
        },
    )

    def values(n):
        position = PropertyValue(float(n), Timestamp.from_ns(n * 10**8 + 10**18, FIRST + n))
        return {"position": position, "quiet": QUIET}

    QUIET = PropertyValue("still", Timestamp.from_ns(10**18, 1))
    pixels = PropertyInfo(
        key="data.pixels", value_type=ValueType("array"), dtype="uint16", shape=(64, 128)
    )
    writer = runs.begin(
        RunSettings(trains_per_file=int(sys.argv[2])),
        controls=[ControlSource("M/1", schema, values(0))],
        instruments=[
            InstrumentSource("C/1:out", OutputInfo(name="out", properties=(pixels,)))
        ],
        started_ns=10**18,
    )

    def train(n):
        time_ns = 10**18 + n * 10**8
        item = TrainItem(
            {"data.pixels": np.full((64, 128), n % 65536, np.uint16)},
            Timestamp.from_ns(time_ns, FIRST + n),
        )
        return Train(FIRST + n, time_ns, {"M/1": values(n)}, {"C/1:out": (item,)})
"""


def run_child(
    body: str, directory: Path, *prefix: str, trains_per_file: int = 40
) -> subprocess.CompletedProcess[str]:
    code = textwrap.dedent(CHILD) + textwrap.dedent(body)
    return subprocess.run(
        [*prefix, sys.executable, "-c", code, str(directory), str(trains_per_file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def assert_run_is_whole(directory: Path, trains: int) -> None:
    assert problems(directory) == []
    run = opened(directory)
    assert run.train_ids == [FIRST + n for n in range(trains)]
    assert run["M/1", "position"].ndarray().tolist() == [float(n) for n in range(trains)]
    assert set(run["M/1", "quiet"].ndarray().tolist()) == {b"still"}
    frames = run["C/1:out", "data.pixels"].ndarray()
    assert frames.shape == (trains, 64, 128)
    assert (frames == np.arange(trains, dtype=np.uint16)[:, None, None]).all()


@pytest.mark.parametrize("unflushed", [0, 3])
def test_a_killed_recorder_loses_nothing_that_was_flushed(tmp_path: Path, unflushed: int) -> None:
    body = f"""
        for n in range(57):
            writer.write(train(n))
        writer.flush()
        for n in range(57, 57 + {unflushed}):
            writer.write(train(n))
        os.kill(os.getpid(), {int(signal.SIGKILL)})
    """
    result = run_child(body, tmp_path)
    assert result.returncode == -signal.SIGKILL, result.stderr
    runs = RunDirectories(tmp_path)
    (before,) = runs.runs()
    assert before.state is RunState.RECORDING
    (manifest,) = runs.recover()
    assert manifest.state is RunState.ABORTED
    assert "killed" in manifest.error
    assert (manifest.trains, manifest.last_train) == (57, FIRST + 56)
    assert [record.trains for record in manifest.files] == [40, 17]
    assert_run_is_whole(tmp_path / "r0001", 57)
    assert {path.suffix for path in (tmp_path / "r0001").iterdir()} == {".h5", ".json"}
    assert runs.recover() == []


def test_a_run_that_is_being_written_is_not_recovered(facility: Any) -> None:
    writer = facility.begin()
    writer.write(facility.train(FIRST))
    writer.flush()
    assert RunDirectories(facility.directory).recover() == []
    assert facility.finish(writer).trains == 1


def test_a_full_disk_ends_the_run_with_all_whole_trains(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=40m tmpfs "{disk}" && exec "$@"'
    sandbox = ("unshare", "-rm", "sh", "-c", mount, "sh")
    if subprocess.run([*sandbox, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a user mount a small file system")
    body = f"""
        import json, shutil
        from pykarabo.errors import DiskFullError
        try:
            for n in range(100_000):
                writer.write(train(n))
        except DiskFullError as error:
            message = str(error)
        manifest = writer.abort("", 10**18)
        shutil.copytree(directory / "r0001", "{tmp_path / "kept"}")
        print(json.dumps([n, manifest.trains, manifest.state, message, len(manifest.files)]))
    """
    result = run_child(body, disk, *sandbox, trains_per_file=400)
    assert result.returncode == 0, result.stderr
    offered, trains, state, message, files = json.loads(result.stdout)
    assert state == "aborted"
    assert str(disk) in message
    assert files >= 2
    assert offered - 10 <= trains <= offered
    assert_run_is_whole(tmp_path / "kept", trains)


def test_a_failing_disk_leaves_closed_files_valid_and_the_rest_recoverable(tmp_path: Path) -> None:
    body = """
        from pykarabo.errors import RunStateError
        for n in range(57):
            writer.write(train(n))
        writer.flush()
        (part,) = directory.glob("r0001/*.part")
        (handle,) = [
            int(name) for name in os.listdir("/proc/self/fd")
            if os.path.realpath(f"/proc/self/fd/{name}") == str(part)
        ]
        read_only = os.open(part, os.O_RDONLY)
        os.dup2(read_only, handle)  # every further write fails
        try:
            for n in range(57, 80):
                writer.write(train(n))
        except RunStateError as error:
            print(error)
        print(writer.abort("", 10**18).state)
    """
    result = run_child(body, tmp_path.resolve())
    assert result.returncode == 0, result.stderr
    assert "cannot be written" in result.stdout
    assert result.stdout.endswith("aborted\n")
    runs = RunDirectories(tmp_path)
    assert_run_is_whole_file(tmp_path / "r0001" / "RAW-R0001-DA01-S00000.h5", 40)
    (manifest,) = runs.recover()
    assert manifest.trains >= 57
    assert_run_is_whole(tmp_path / "r0001", manifest.trains)


def assert_run_is_whole_file(path: Path, trains: int) -> None:
    with h5py.File(path) as file:
        assert file["INDEX/trainId"][:].tolist() == [FIRST + n for n in range(trains)]
