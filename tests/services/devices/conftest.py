"""The simulated motion controller as a process of its own, as real hardware would be."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import zmq

_SIMULATORS: Final = Path(__file__).parent
_START_S: Final = 30.0
_LOOK_S: Final = 0.02
_ANSWER_MS: Final = 5_000


class Simulator:
    """A process of lewis; `device` reaches behind the protocol.

    Attributes:
        port: the TCP port of the line protocol, the same in every life.
    """

    def __init__(self, name: str, log: Path) -> None:
        self.port = _free_port()
        self._control = f"127.0.0.1:{_free_port()}"
        self._name = name
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Switch it on and wait until it listens."""
        command = [
            *(sys.executable, "-m", "lewis", "--add-path", str(_SIMULATORS), "-k", "simulators"),
            *(self._name, "--cycle-delay", "0.002", "--rpc-host", self._control, "-p"),
            f"stream: {{bind_address: 127.0.0.1, port: {self.port}}}",
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end_s = time.monotonic() + _START_S
        while not self._listens():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < end_s, "the simulator does not listen"
            time.sleep(_LOOK_S)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        except ConnectionRefusedError:
            return False
        return True

    def kill(self) -> None:
        """Pull the plug."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it answer nobody, while its connections stay."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def do(self, method: str, *parameters: Any) -> Any:
        """Call a method of the simulated device."""
        return self._ask(f"device.{method}", *parameters)

    def get(self, attribute: str) -> Any:
        """Read an attribute of the simulated device."""
        return self._ask(f"device.{attribute}:get")

    def set(self, attribute: str, value: Any) -> None:
        """Set an attribute of the simulated device."""
        self._ask(f"device.{attribute}:set", value)

    def _ask(self, method: str, *parameters: Any) -> Any:
        with zmq.Context() as context, context.socket(zmq.REQ) as asking:
            asking.linger = 0
            asking.rcvtimeo = _ANSWER_MS
            asking.connect(f"tcp://{self._control}")
            asking.send_json({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
            answer: Any = asking.recv_json()
        assert "error" not in answer, answer
        return answer.get("result")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Simulator]:
    """Return a simulated motion controller that is switched on."""
    simulator = Simulator("motion", tmp_path / "lewis.log")
    try:
        simulator.start()
        yield simulator
    finally:
        simulator.kill()
