"""Bring the demonstration facility up, scan a motor while a run is recorded, look at the result.

Called by ``scripts/demo``; see its ``--help``.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pykarabo.client import DeviceProxy, connect, disconnect_all, stop_watching, wait_until
from pykarabo.data import State
from pykarabo.errors import PykaraboError
from pykarabo.transport import data_directory, run_directory

POSITIONS: Final = 20
STEP_MM: Final = 0.5
_HERE: Final = Path(__file__).resolve().parent
_PYKARABO: Final = Path(sys.executable).with_name("pykarabo")


def main() -> int:
    """Run the demonstration; returns the exit status."""
    options = _options()
    os.environ["PYKARABO_DOMAIN"] = options.domain
    data = (options.data or data_directory()).expanduser().resolve()
    os.environ["FRAMES"] = str(options.frames.expanduser().resolve()) if options.frames else ""
    bridge = os.environ.setdefault("BRIDGE", f"ipc://{run_directory(create=True)}/bridge")
    _say(f"facility '{options.domain}', data below {data}")
    with _facility(data):
        _scan()
        if options.check:
            return 0
        _say("The facility stays up until Ctrl-C. In a second terminal:\n")
        print(f"    source {Path(sys.prefix) / 'bin' / 'activate'}")
        print(f"    export PYKARABO_DOMAIN={options.domain}\n")
        print("    pykarabo status")
        print("    pykarabo watch DEMO/MOTOR/1.actual_position")
        print(f"    pykarabo bridge glimpse {bridge}\n", flush=True)
        _until_interrupted()
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description="A small facility on this machine, with something to see."
    )
    parser.add_argument("--check", action="store_true", help="shut down after the scan")
    parser.add_argument("--frames", type=Path, help="directory of TIFF or HDF5 frames to play")
    parser.add_argument("--data", type=Path, help="where everything is written")
    parser.add_argument("--domain", default="demo", help="name of the facility (default: demo)")
    return parser.parse_args()


def _say(text: str) -> None:
    print(f"* {text}", flush=True)


@contextmanager
def _facility(data: Path) -> Generator[None, None, None]:
    """Start the facility, and stop it whatever happens."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    config = str(_HERE / "demo_facility.yaml")
    try:
        _pykarabo("up", "--config", config, "--data", str(data))
        yield
    finally:
        stop_watching()
        disconnect_all()
        _say("shutting down")
        _pykarabo("down")


def _pykarabo(*arguments: str) -> None:
    done = subprocess.run(
        [_PYKARABO, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    for line in done.stdout.splitlines():
        _say(line)
    if done.returncode:
        raise SystemExit(f"pykarabo {arguments[0]} ended with {done.returncode}")


def _scan() -> None:
    """Move the motor over some positions while a run is recorded, and say what was seen."""
    motor, camera, recorder = (
        connect(name) for name in ("DEMO/MOTOR/1", "DEMO/CAMERA/1", "DEMO/RUN/1")
    )
    clock = connect("TIMING/CLOCK/1")
    wait_until(lambda: camera.frames_acquired > 0, timeout_s=10)
    monitor = connect("HOST/MONITOR/1")
    _say(f"this host: {monitor.cpu_count} processors, {monitor.cpu_load:.0f} % busy")
    _say(f"camera: {camera.status}, {camera.frame_width} x {camera.frame_height} pixels")
    run = recorder.call("start_run", timeout_s=30.0, sample="CeO2", run_type="scan")
    _say(f"run {run['run']} is being recorded in {run['directory']}")
    begin = time.monotonic()
    try:
        for point in range(POSITIONS):
            motor.move(point * STEP_MM)
            wait_until(lambda: motor.state == State.ON, timeout_s=30)
            _until_recorded(motor, camera, clock)
            if point % 5 == 0 or point == POSITIONS - 1:
                _say(f"point {point + 1} of {POSITIONS}: motor at {motor.actual_position:.3f} mm")
    finally:
        done = recorder.call("stop_run", timeout_s=60.0)
    elapsed = time.monotonic() - begin
    _say(f"{POSITIONS} positions in {elapsed:.1f} s, {done['trains']} trains recorded")
    _look(Path(run["directory"]), done)


def _until_recorded(motor: DeviceProxy, camera: DeviceProxy, clock: DeviceProxy) -> None:
    """Wait until a whole train with a frame has passed at the motor's present position."""
    arrived = motor.read("actual_position")["actual_position"].timestamp.train_id
    wait_until(
        lambda: clock.train_id > arrived + 1 and camera.last_train_id > arrived, timeout_s=30
    )


def _look(directory: Path, done: dict[str, Any]) -> None:
    """Open the run as a scientist would."""
    import h5py

    frames = 0
    positions: set[float] = set()
    for path in sorted(directory.glob("*.h5")):
        with h5py.File(path) as file:
            content: Any = file
            frames += content["INSTRUMENT/DEMO/CAMERA/1:output/data/image/pixels"].shape[0]
            positions |= set(content["CONTROL/DEMO/MOTOR/1/actual_position/value"][()].round(6))
    points = {round(point * STEP_MM, 6) for point in range(POSITIONS)}
    reached = len(points & positions)
    _say(f"in {directory}: {frames} frames, motor at {reached} of {POSITIONS} positions")
    if points - positions or not frames or not done["trains"]:
        raise SystemExit("the run does not hold the whole scan")


def _until_interrupted() -> None:
    with_signal = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: with_signal.set())
    with_signal.wait()
    print()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PykaraboError as error:
        sys.exit(f"error: {error}")
