"""The demonstration facility on real frames: recorded, read back, and received live."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from pykarabo.client import connect, wait_until
from pykarabo.data import State

ROOT: Final = Path(__file__).resolve().parents[2]
POSITIONS: Final = (0.0, 1.5, 3.0)
RINGS: Final = 6
TOLERANCE_DEG: Final = 0.02


def _pykarabo(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pykarabo", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def facility(
    short_runtime: Path, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Bring the demonstration facility up on the real frames; gives its data directory."""
    monkeypatch.setenv("FRAMES", str(shared_data / "ceo2_pilatus1m"))
    monkeypatch.setenv("BRIDGE", f"ipc://{short_runtime}/bridge")
    data = tmp_path / "facility"
    _pykarabo("up", "--config", str(ROOT / "scripts/demo_facility.yaml"), "--data", str(data))
    yield data
    _pykarabo("down")


def _scan() -> Path:
    motor, camera, clock, recorder = (
        connect(name) for name in ("DEMO/MOTOR/1", "DEMO/CAMERA/1", "TIMING/CLOCK/1", "DEMO/RUN/1")
    )
    wait_until(lambda: camera.frames_acquired > 0, timeout_s=20)
    run = recorder.call("start_run", timeout_s=30.0)
    for position in POSITIONS:
        motor.move(position)
        wait_until(lambda: motor.state == State.ON, timeout_s=20)
        at = motor.read("actual_position")["actual_position"].timestamp.train_id
        wait_until(
            lambda at=at: clock.train_id > at + 1 and camera.last_train_id > at,  # type: ignore[misc]
            timeout_s=20,
        )
    done = recorder.call("stop_run", timeout_s=60.0)
    assert done["trains"] > 0
    return Path(run["directory"])


def test_a_recorded_run_passes_extra_data_and_holds_frames_and_positions(
    facility: Path, shared_data: Path
) -> None:
    run = _scan()
    assert run.is_relative_to(facility)
    _passes_the_validator(run)
    frame = _holds_the_scan(run, shared_data)
    _shows_the_rings(frame, shared_data)


def _passes_the_validator(run: Path) -> None:
    binaries = Path(sys.executable).parent
    validate = subprocess.run(
        [binaries / "extra-data-validate", run], capture_output=True, text=True, check=False
    )
    assert validate.returncode == 0, validate.stdout + validate.stderr
    listing = subprocess.run(
        [binaries / "lsxfel", run], capture_output=True, text=True, check=True
    ).stdout
    assert "DEMO/CAMERA/1:output" in listing
    assert "DEMO/MOTOR/1" in listing


def _holds_the_scan(run: Path, shared_data: Path) -> Any:
    import tifffile
    from extra_data import RunDirectory

    truth = tifffile.imread(shared_data / "ceo2_pilatus1m/CeO2_Pilatus1M.tif")
    with RunDirectory(str(run), parallelize=False) as opened:
        run_data: Any = opened
        positions = run_data["DEMO/MOTOR/1", "actual_position"]
        assert positions.units == "mm"
        seen = positions.ndarray()
        assert all(np.isclose(seen, wanted, atol=1e-9).any() for wanted in POSITIONS)
        frames = run_data["DEMO/CAMERA/1:output", "data.image.pixels"].ndarray()
    assert frames.dtype == truth.dtype
    assert len(frames) > len(POSITIONS)
    assert all(np.array_equal(frame, truth) for frame in frames)
    return frames[0]


def _shows_the_rings(frame: Any, shared_data: Path) -> None:
    import pyFAI
    from pyFAI.calibrant import get_calibrant

    integrator = pyFAI.load(str(shared_data / "ceo2_pilatus1m/CeO2_Pilatus1M.poni"))
    calibrant = get_calibrant("CeO2")
    calibrant.wavelength = integrator.wavelength
    angles, intensity = integrator.integrate1d(
        np.flipud(frame).astype(np.float32), 3000, unit="2th_deg"
    )
    for expected in np.degrees(calibrant.get_2th()[:RINGS]):
        window = np.abs(angles - expected) < 0.15
        background = np.minimum(intensity[window][0], intensity[window][-1])
        weight = np.clip(intensity[window] - background, 0, None)
        top = weight > weight.max() / 2
        centre = np.average(angles[window][top], weights=weight[top])
        assert abs(centre - expected) < TOLERANCE_DEG, (expected, centre)


@pytest.mark.parametrize(("pattern", "socket"), [("REP", "REQ"), ("PUB", "SUB")])
def test_the_karabo_bridge_client_receives_ten_consecutive_trains(
    facility: Path, short_runtime: Path, shared_data: Path, pattern: str, socket: str
) -> None:
    import tifffile
    from karabo_bridge import Client

    del facility
    truth = tifffile.imread(shared_data / "ceo2_pilatus1m/CeO2_Pilatus1M.tif")
    endpoint = f"ipc://{short_runtime}/b{pattern}"
    _pykarabo(
        "instantiate", "KaraboBridge", "TEST/BRIDGE/1", "--server", "DEMO/SERVER/DAQ",
        f"endpoint={endpoint}", f"pattern={pattern}",
    )  # fmt: skip
    trains: list[int] = []
    with Client(endpoint, sock=socket, timeout=20) as connected:
        client: Any = connected
        for _ in range(10):
            data, meta = client.next()
            camera = meta["DEMO/CAMERA/1:output"]
            trains.append(camera["timestamp.tid"])
            assert camera["source"] == "DEMO/CAMERA/1:output"
            assert len(camera["timestamp.frac"]) == 18
            assert camera["timestamp.sec"] == str(int(camera["timestamp"]))
            pixels = data["DEMO/CAMERA/1:output"]["data.image.pixels"]
            assert np.array_equal(pixels, truth)
            assert isinstance(data["DEMO/MOTOR/1"]["actual_position"], float)
    assert trains == list(range(trains[0], trains[0] + 10))
    assert os.environ["PYKARABO_DOMAIN"]
