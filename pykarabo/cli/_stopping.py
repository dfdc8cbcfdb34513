"""`down`: stop the servers of the domain on this host."""

import itertools
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pykarabo.client import DIRECTORY_STEM, BlockingClient, ServerRecord
from pykarabo.data import AccessLevel
from pykarabo.device import login_of_host
from pykarabo.errors import NotConnectedError, PykaraboError
from pykarabo.transport import domain_name

from ._app import common
from ._processes import STOP_S, ask_to_stop, clean, living_processes, one_at_a_time
from ._roles import require_role
from ._text import print_json

if TYPE_CHECKING:
    import psutil

END_S: Final = 5.0
"""For what is left to do after the last device, and for a signal to work."""
_LOOK_S: Final = 0.05
_PROGRAMS: Final = (("server", "start"), ("bridge", "serve"))
"""Processes that are nothing but a server. Any other, such as a notebook that serves a device, has
a life of its own and is never ended by force."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of a server, in words, and whether it has ended."""

    how: str
    ended: bool = True


@click.command("down")
@common
def down_command(*, as_json: bool) -> int:
    """Stop every device server of the domain on this host, the directory last.

    A server that does not answer is ended by signals. Servers on other hosts are left alone.
    """
    require_role(AccessLevel.EXPERT, "stopping a facility")
    with one_at_a_time() as directory:
        stopper = _Stopper(directory, None if as_json else click.echo)
        stopper.stop_all()
        clean(directory)
    if as_json:
        servers = {
            name: {"ended": item.ended, "how": item.how} for name, item in stopper.report.items()
        }
        print_json({"domain": domain_name(), "servers": servers})
    elif not stopper.report:
        click.echo(f"nothing is running in domain {domain_name()}")
    return 0 if all(item.ended for item in stopper.report.values()) else 1


class _Stopper:
    """Stops every server whose lock lies in the runtime directory.

    Args:
        tell: takes a line about every server, as soon as there is one.
    """

    def __init__(self, directory: Path, tell: Callable[[str], None] | None) -> None:
        self.report: dict[str, Outcome] = {}
        self._directory = directory
        self._tell = tell
        self._names: dict[str, str] = {}
        self._login = login_of_host()

    def stop_all(self) -> None:
        """Ask all but the directory's server to stop, see that they end, then that one."""
        living = living_processes(self._directory)
        self._learn_names(living)
        homes = {stem: living.pop(stem) for stem in list(living) if stem.startswith(DIRECTORY_STEM)}
        for group in (living, homes):
            processes = {stem: _process(pid) for stem, pid in group.items()}
            asked = {stem: self._ask(stem) for stem in group}
            for stem, process in processes.items():
                name = self._names.get(stem) or _name_of(process) or f"process {group[stem]}"
                self._note(name, self._see_to(stem, process, asked=asked[stem]))

    def _learn_names(self, living: dict[str, int]) -> None:
        try:
            with BlockingClient() as client:
                records = client.servers()
        except NotConnectedError:
            return
        for record in records:
            stem = _stem(record, living)
            if stem is not None:
                self._names[stem] = record.server_id
            elif record.host != socket.gethostname():
                self._note(record.server_id, Outcome(f"is left alone: it runs on {record.host}"))

    def _note(self, name: str, outcome: Outcome) -> None:
        self.report[name] = outcome
        if self._tell is not None:
            self._tell(f"{name}: {outcome.how}")

    def _ask(self, stem: str) -> bool:
        """Ask a server to stop; returns whether it has agreed."""
        if stem not in self._names:
            return False
        try:
            ask_to_stop(self._names[stem], self._login)
        except PykaraboError:
            return False
        return True

    def _see_to(self, stem: str, process: "psutil.Process | None", *, asked: bool) -> Outcome:
        if process is None:
            return Outcome("stopped")
        if asked and self._ended(stem, process, STOP_S):
            going_on = "" if _has_ended(process, END_S) else f"; process {process.pid} goes on"
            return Outcome(f"stopped{going_on}")
        if not _is_only_a_server(process):
            if self._ended(stem, process, END_S):  # that of a single device ends with its server
                return Outcome("stopped")
            how = f"does not stop; end its program, process {process.pid}, yourself"
            return Outcome(how, ended=False)
        why = "it did not answer" if stem in self._names else "no directory knew it"
        for name in (signal.SIGTERM, signal.SIGKILL):
            _send(process, name)
            if _has_ended(process, END_S):
                return Outcome(f"ended by {name.name}, {why}")
        return Outcome(f"still runs as process {process.pid}", ended=False)

    def _ended(self, stem: str, process: "psutil.Process", timeout_s: float) -> bool:
        """Wait until a server has given its lock back or its process is gone."""
        deadline = time.monotonic() + timeout_s
        while stem in living_processes(self._directory) and not _has_ended(process, 0.0):
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_S)
        return True


def _stem(record: ServerRecord, living: dict[str, int]) -> str | None:
    """Return the stem of a server's sockets if it is one of those that live here."""
    if record.rpc.startswith("ipc:"):
        stem = Path(record.rpc).stem
        return stem if stem in living else None
    if record.host != socket.gethostname():
        return None
    return next((stem for stem, pid in living.items() if pid == record.pid), None)


def _process(pid: int) -> "psutil.Process | None":
    """Return a process; the object knows its start, so that no later one is taken for it."""
    import psutil

    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _command_line(process: "psutil.Process") -> list[str]:
    import psutil

    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _is_only_a_server(process: "psutil.Process") -> bool:
    return any(pair in _PROGRAMS for pair in itertools.pairwise(_command_line(process)))


def _name_of(process: "psutil.Process | None") -> str | None:
    """Return the id that a server was started with; the directory may not know it."""
    if process is None or not _is_only_a_server(process):
        return None
    words = itertools.pairwise(_command_line(process))
    return next((value for option, value in words if option == "--id"), None)


def _send(process: "psutil.Process", name: signal.Signals) -> None:
    import psutil

    try:
        process.send_signal(name)
    except psutil.Error:  # it has ended meanwhile, or is somebody else's
        return


def _has_ended(process: "psutil.Process", timeout_s: float) -> bool:
    import psutil

    try:
        process.wait(timeout_s)
    except psutil.TimeoutExpired:
        return not process.is_running() or _is_zombie(process)
    return True


def _is_zombie(process: "psutil.Process") -> bool:
    """Tell whether a process has ended and only its parent has not looked yet."""
    import psutil

    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
