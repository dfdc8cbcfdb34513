"""Carrying a plan out on this host, and telling of it."""

import contextlib
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from pykarabo.client import BlockingClient
from pykarabo.errors import ChangedMeanwhileError, NotConnectedError, PykaraboError, RemoteError
from pykarabo.facility import (
    STORE_CLASS,
    Applier,
    Facility,
    FacilityServer,
    Kind,
    Outcome,
    Result,
    Running,
    Step,
    configuration_steps,
    same_steps,
)
from pykarabo.transport import data_directory

from ._app import report
from ._instances import await_end
from ._launching import Launcher
from ._plan_text import plan_json, result_json, result_line
from ._preparing import Prepared, Wish, look_at_store
from ._processes import ask_to_stop, one_at_a_time
from ._text import print_json

_UNSURE: Final = (Outcome.UNKNOWN, Outcome.NOT_UNDONE)
_IN_STORE: Final = (Kind.SAVE, Kind.DELETE)
_END_S: Final = 10.0
"""A server that has left the directory has its sockets to close."""


class _Processes:
    """Starts and stops server processes of this host."""

    def __init__(self, directory: Path, home: Path) -> None:
        self._directory = directory
        self._home = home

    def start_directory(self) -> None:
        """Start the domain's directory where there is none."""
        launcher = self._launcher(Facility({}))
        launcher.start_directory()
        _raise(launcher)

    def start(self, server_id: str, server: FacilityServer, time_source: str | None) -> None:
        """Start a server without devices, and wait until it answers."""
        empty = replace(server, devices={}, own_process=frozenset())
        launcher = self._launcher(Facility({server_id: empty}, time_source))
        launcher.start_all()
        _raise(launcher)

    def stop(self, server_id: str) -> None:
        """Stop a server, and wait until its process has ended."""
        import psutil

        with BlockingClient() as client:
            record = client.resolve(server_id)
            process = None
            if record.host == socket.gethostname() and psutil.pid_exists(record.pid):
                process = psutil.Process(record.pid)
            ask_to_stop(server_id)
            await_end(client, server_id)
        if process is not None:
            with contextlib.suppress(psutil.Error):
                process.wait(_END_S)

    def _launcher(self, facility: Facility) -> Launcher:
        return Launcher(self._directory, self._home, facility)


def _raise(launcher: Launcher) -> None:
    if launcher.problems:
        raise RemoteError(
            launcher.problems[0], remedy="correct what the log names, and apply the file again"
        )


class Work:
    """Carries a plan out and tells of it."""

    def __init__(self, wish: Wish, prepared: Prepared, *, as_json: bool) -> None:
        self._wish = wish
        self._checked = prepared.checked
        self._plan = prepared.plan
        self._running = prepared.running
        self._as_json = as_json

    def do(self) -> int:
        """Do it; returns the exit code."""
        if not self._plan.steps:
            return self._told([], None)
        with one_at_a_time() as directory:
            processes = _Processes(directory, self._wish.home or data_directory())
            processes.start_directory()
            with BlockingClient() as client:
                applier = Applier(client, processes, self._tell, store=self._running.store)
                in_store = [step for step in self._plan.steps if step.kind in _IN_STORE]
                error = applier.carry_out(
                    [step for step in self._plan.steps if step.kind not in _IN_STORE]
                )
                if error is None and in_store:
                    error = self._keep_configurations(client, applier, in_store)
        return self._told([result_json(result) for result in applier.results], error)

    def _keep_configurations(
        self, client: BlockingClient, applier: Applier, planned: list[Step]
    ) -> PykaraboError | None:
        """Bring the store in order, now that it runs; takes all back when that fails.

        Only what was planned is done: nobody was asked about anything else.
        """
        compared = self._plan.compared
        try:
            running = look_at_store(client, Running())
            running.require_answers()
            if running.store is None:
                raise NotConnectedError(
                    "the file names configurations, and no device keeps them",
                    remedy=f"add one device of class {STORE_CLASS} to the file",
                )
            keep = self._wish.keep or not compared
            steps = configuration_steps(self._checked, running, keep=keep)
            if compared and not same_steps(steps, planned):
                raise ChangedMeanwhileError(
                    "named configurations have changed since the plan was made",
                    device=running.store,
                    remedy="make the plan again",
                )
        except PykaraboError as error:
            applier.take_back()
            return error
        applier.store = running.store
        return applier.carry_out(steps)

    def _tell(self, result: Result) -> None:
        if not self._as_json:
            click.echo(result_line(result))

    def _told(self, results: list[Mapping[str, Any]], error: PykaraboError | None) -> int:
        if self._as_json:
            wire = None if error is None else error.to_wire()
            print_json({**plan_json(self._plan), "results": results, "error": wire})
        elif error is None and results:
            click.echo(f"done: {len(results)} steps")
        if error is None:
            return 0
        unsure = [item for item in results if item["outcome"] in _UNSURE]
        if unsure and not self._as_json:
            names = ", ".join(str(item["target"]) for item in unsure)
            click.echo(f"look at these, they may be neither as before nor as wanted: {names}")
        return report(error)
