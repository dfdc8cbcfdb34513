"""Devices for tests, served for real: an event loop of their own, sockets, a directory."""

import contextlib
import importlib
import importlib.util
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Final, cast

from pykarabo.client import BlockingClient, DeviceProxy
from pykarabo.device import Device, serve
from pykarabo.errors import BadConfigurationError, PykaraboError, RemoteError

from ._domain import private_domain

_END_S: Final = 15.0
_EXCERPT: Final = 4_000


@contextlib.contextmanager
def served(
    cls: type[Device],
    configuration: Mapping[str, Any] | None = None,
    *,
    device_id: str = "TEST/1",
    process: bool = False,
) -> Generator[DeviceProxy, None, None]:
    """Serve one device for real, in a domain of its own, and return a blocking proxy of it.

    Everything is as in a facility: an event loop of its own, sockets, a directory. Nothing is
    left behind. Within the block ``connect(device_id)`` and the command line find it too.

    Args:
        process: serve it from a process of its own instead of from a thread; its pid is the
            device's property `pid`, for tests that kill it.

    Raises:
        PykaraboError: what starting it raised.
        RemoteError: the process failed, or did not end cleanly at the end of the block.
    """
    with private_domain() as domain:
        serving = _process if process else _thread
        with serving(cls, device_id, configuration or {}), BlockingClient(domain) as client:
            yield client.device(device_id)


@contextlib.contextmanager
def _thread(
    cls: type[Device], device_id: str, configuration: Mapping[str, Any]
) -> Generator[None, None, None]:
    configurations = {device_id: configuration}
    with serve({device_id: cls}, server_id="TEST/SERVER", configurations=configurations):
        yield


@contextlib.contextmanager
def _process(
    cls: type[Device], device_id: str, configuration: Mapping[str, Any]
) -> Generator[None, None, None]:
    order = {
        "path": sys.path,
        "module": cls.__module__,
        "file": _file_of(cls),
        "class": cls.__name__,
        "device": device_id,
        "configuration": dict(configuration),
    }
    # Unbuffered: what it has printed is wanted most when it dies.
    start = "from pykarabo.testing._served_process import main; main()"
    program = [sys.executable, "-u", "-c", start]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
        orders, answers = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        try:
            with answers, orders:
                pickle.dump(order, orders)
                orders.flush()
                _raise_problem(answers.read(), process, log)
                yield
            _require_clean(process.wait(_END_S), log)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(_END_S)


def _file_of(cls: type[Device]) -> str:
    """Return the file that another process finds the class in.

    Raises:
        BadConfigurationError: only this process knows the class.
    """
    module = sys.modules[cls.__module__]
    known = getattr(module, cls.__name__, None) is cls and getattr(module, "__file__", None)
    if not known or cls.__module__ == "__main__":
        raise BadConfigurationError(
            f"another process cannot find the class {cls.__qualname__} of {cls.__module__}",
            remedy="define it at the top of a module other than the script, or omit process=True",
        )
    return str(module.__file__)


def _raise_problem(answer: bytes, process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
    """Raise why the device could not be started, if it could not."""
    if not answer:
        raise _failed(process.wait(_END_S), log)
    problem = pickle.loads(answer)  # noqa: S301 - from a process that we have started
    if problem is not None:
        raise PykaraboError.from_wire(problem)


def _require_clean(status: int, log: IO[bytes]) -> None:
    """Refuse a bad end; that somebody has killed it is the test's own doing."""
    if status not in (0, -signal.SIGKILL):
        raise _failed(status, log)


def _failed(status: int, log: IO[bytes]) -> RemoteError:
    log.seek(0)
    said = log.read()[-_EXCERPT:].decode(errors="replace").strip()
    return RemoteError(
        f"the device server of the test ended with status {status}: {said or 'it said nothing'}",
        remedy="correct the device",
    )


def load_class(module: str, file: str, name: str) -> type[Device]:
    """Return a class of a module that is imported by its name, or else from its file."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).samefile(file):
        loader = SourceFileLoader(module, file)
        found = ModuleType(module)
        found.__file__ = file
        sys.modules[module] = found
        loader.exec_module(found)
    else:
        found = importlib.import_module(module)
    cls: type[Device] = getattr(found, name)
    return cls
