"""`doctor`: what was tried, what was found, what helps."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Final

import click
import zmq

import pykarabo
from pykarabo.client import (
    BlockingClient,
    DeviceRecord,
    check_device_id,
)
from pykarabo.errors import (
    BusyError,
    CallTimeoutError,
    NotConnectedError,
    PykaraboError,
    WrongInstanceError,
)
from pykarabo.transport import KEY_REASONS, data_directory, domain_name, run_directory, without_key

from ._app import common
from ._complete import complete_devices
from ._finding import Finding, foreign_checks
from ._network import look_at_process, reach
from ._processes import living_processes, stale_files
from ._text import print_json, since

_LOW_DISK: Final = 2**30
"""A detector fills this within seconds."""
_SLOW_S: Final = 0.5
"""Longer than this an operator waits visibly; a server that is well answers in milliseconds."""
_MANY_FILES: Final = 80.0
"""Per cent; at 100 nobody can connect any more, the doctor neither."""
_LEASES: Final = {
    "busy": "its event loop is late: something blocks it, see the next steps",
    "suspect": "nothing was heard from its server for 6 s: the next steps tell why",
    "gone": "its server has died, or was not heard for 9 s: the next steps tell why",
}


@click.command("doctor")
@click.argument("device_id", metavar="[DEV]", required=False, shell_complete=complete_devices)
@common
def doctor_command(device_id: str | None, *, as_json: bool) -> int:
    """Check the installation and the domain, or every step on the way to the device DEV."""
    findings: list[Finding] = []
    for finding in _way_to(device_id) if device_id else _everything():
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        print_json([asdict(item) for item in findings])
    return 0 if all(finding.good for finding in findings) else 1


def _show(finding: Finding) -> None:
    mark = click.style("ok  ", fg="green") if finding.good else click.style("FAIL", fg="red")
    click.echo(f"{mark} {finding.what}: {finding.result}")
    if finding.remedy:
        click.echo(f"     {finding.remedy}")


def _tried(what: str, attempt: Callable[[], str]) -> Finding:
    """Return what an attempt answers, or why it failed; a slow answer is not good."""
    started = time.monotonic()
    try:
        result = attempt()
    except PykaraboError as error:
        return Finding(what, good=False, result=error.message, remedy=error.remedy or "")
    took_s = time.monotonic() - started
    timed = f"{result} after {took_s * 1e3:.1f} ms"
    if took_s > _SLOW_S:
        return Finding(what, good=False, result=timed, remedy="see whether its host is overloaded")
    return Finding(what, good=True, result=timed)


# -- the whole domain ---------------------------------------------------------------------------


def _everything() -> Iterator[Finding]:
    versions = f"pykarabo {pykarabo.__version__}, Python {sys.version.split()[0]}, libzmq "
    yield Finding("versions", good=True, result=versions + zmq.zmq_version())
    runtime = _runtime_directory()
    yield runtime
    yield _disk()
    yield from foreign_checks()
    if not runtime.good:
        return
    yield _leftovers()
    yield _processes()
    with BlockingClient() as client:
        replicas = _replicas(client)
        yield from replicas
        if any(replica.good for replica in replicas):
            yield from _servers(client)


def _runtime_directory() -> Finding:
    what = f"runtime directory of domain '{domain_name()}'"
    try:
        path = run_directory()
    except PykaraboError as error:
        return Finding(what, good=False, result=error.message, remedy=error.remedy or "")
    state = "only you may enter it" if path.exists() else "does not exist yet"
    return Finding(what, good=True, result=f"{path}: {state}")


def _disk() -> Finding:
    path = data_directory()
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    result = f"{free / 2**30:.1f} GiB free for {data_directory()}"
    if not os.access(path, os.W_OK):
        return Finding("disk", good=False, result=f"{path} cannot be written", remedy="use --data")
    remedy = "" if free > _LOW_DISK else "free some space before runs are recorded"
    return Finding("disk", good=free > _LOW_DISK, result=result, remedy=remedy)


def _leftovers() -> Finding:
    left = stale_files(run_directory())
    if not left:
        return Finding("leftovers", good=True, result="no sockets of ended processes")
    names = ", ".join(path.name for path in left)
    remedy = "the next server that starts removes them, and so does 'pykarabo down'"
    return Finding(
        "leftovers", good=False, result=f"files of ended processes: {names}", remedy=remedy
    )


def _processes() -> Finding:
    pids = sorted(living_processes(run_directory()).values())
    shown = ", ".join(map(str, pids)) or "none"
    return Finding("server processes of this host", good=True, result=shown)


def _replicas(client: BlockingClient) -> list[Finding]:
    """Try every replica of the directory."""
    endpoints = client.access.endpoints
    number = f" {{}} of {len(endpoints)}" if len(endpoints) > 1 else ""
    return [
        _tried(f"directory{number.format(index)}", partial(_reach_replica, client, endpoint))
        for index, endpoint in enumerate(endpoints, 1)
    ]


def _reach_replica(client: BlockingClient, endpoint: str) -> str:
    """Ask a replica; one that does not answer is looked at from beneath."""
    try:
        record = client.replica(endpoint)
    except NotConnectedError as error:
        _require_right_key(error)
        remedy = "start it, and what else is missing: pykarabo up"
        try:
            reach(endpoint)
        except NotConnectedError as reason:
            raise NotConnectedError(
                f"domain '{domain_name()}' has no directory that runs: {reason.message}",
                remedy=f"{remedy}; with a wrong domain: --domain",
            ) from None
        raise NotConnectedError(
            f"{without_key(endpoint)} takes connections but does not answer",
            remedy="the directory hangs or is stopped: pykarabo down, then pykarabo up",
        ) from None
    return f"answers at {without_key(endpoint)}, runs since {since(record.epoch)}"


def _servers(client: BlockingClient) -> Iterator[Finding]:
    statuses = client.directory("topology", "")["statuses"]
    for record in client.servers():
        status = statuses.get(record.server_id, "unknown")
        what = f"server {record.server_id} ({record.host}, process {record.pid})"
        if status != "online":
            yield _lease(f"lease of {what}", status)
        if status != "gone":
            yield _tried(what, partial(_answers, client, record.server_id))


def _lease(what: str, status: str) -> Finding:
    return Finding(what, good=status == "online", result=status, remedy=_LEASES.get(status, ""))


def _answers(client: BlockingClient, server_id: str) -> str:
    values = client.device(server_id).get()
    lag_s = values.get("loop_lag", 0.0)
    if lag_s > _SLOW_S:
        raise NotConnectedError(
            f"answers, but its event loop is {lag_s:.1f} s late",
            device=server_id,
            remedy="code of a device blocks it: see its log, or py-spy dump on its process",
        )
    files = values.get("files_used", 0.0)
    if files > _MANY_FILES:
        raise BusyError(
            f"answers, but {files:.0f} % of the {values['open_file_limit']} files and connections "
            "that it may have are open",
            device=server_id,
            remedy="see who connects (ss -tnp), or allow more (ulimit -n) and restart it",
        )
    return f"answers, its event loop is in time, {values.get('open_files', 0)} files are open"


# -- one device ---------------------------------------------------------------------------------


def _way_to(device_id: str) -> Iterator[Finding]:
    """Try every step on the way to a device; none is tried behind one that cannot be passed."""
    yield (name := _named(device_id))
    yield (runtime := _runtime_directory())
    if not (name.good and runtime.good):
        return
    with BlockingClient() as client:
        replicas = _replicas(client)
        yield from replicas
        if not any(replica.good for replica in replicas):
            return
        try:
            record = DeviceRecord.from_wire(client.directory("resolve", device_id))
        except PykaraboError as error:
            yield Finding("record", good=False, result=error.message, remedy=_find(error))
            return
        yield from _behind_directory(client, record)


def _behind_directory(client: BlockingClient, record: DeviceRecord) -> Iterator[Finding]:
    place = f"{record.class_id} on {record.server_id} ({record.host}, process {record.pid})"
    yield Finding("record", good=True, result=f"{place} at {record.rpc}")
    yield _lease("lease", record.status)
    if (running := _process(record)) is not None:
        yield running
        if not running.good:
            return
    for what, attempt in (
        ("address", partial(reach, record.rpc)),
        ("connection and greeting", partial(_greet, client, record)),
        ("instance", partial(_same_instance, client, record)),
        ("state", partial(_state, client, record)),
        ("event loop", partial(_answers, client, record.server_id)),
    ):
        yield (finding := _tried(what, attempt))
        if not finding.good:
            return


def _named(device_id: str) -> Finding:
    try:
        check_device_id(device_id)
    except PykaraboError as error:
        return Finding("device id", good=False, result=error.message, remedy=error.remedy or "")
    return Finding("device id", good=True, result=f"'{device_id}' can be one")


def _find(error: PykaraboError) -> str:
    """Say where a device that the directory does not know may be."""
    return (
        f"{error.remedy or 'see what there is: pykarabo devices'} "
        "(if the id is right, it was not started yet, or was stopped: pykarabo up)"
    )


def _process(record: DeviceRecord) -> Finding | None:
    try:
        found = look_at_process(record.host, record.pid)
    except PykaraboError as error:
        return Finding("process", good=False, result=error.message, remedy=error.remedy or "")
    return None if found is None else Finding("process", good=True, result=found)


def _greet(client: BlockingClient, record: DeviceRecord) -> str:
    try:
        client.locate(record.rpc, [record.server_id])
    except (NotConnectedError, CallTimeoutError) as error:
        _require_right_key(error)
        raise NotConnectedError(
            f"server {record.server_id} takes connections but does not answer",
            remedy="code of a device blocks its event loop. See what: "
            f"py-spy dump --pid {record.pid} (on {record.host}); then wait, or restart the server",
        ) from None
    return "the server answers"


def _require_right_key(error: PykaraboError) -> None:
    """Tell of keys that differ: nothing else needs to be looked at."""
    reason = error.details.get("reason")
    if reason in KEY_REASONS:
        raise NotConnectedError(f"somebody listens there, but {reason}", remedy=error.remedy)


def _same_instance(client: BlockingClient, record: DeviceRecord) -> str:
    device, server = client.locate(record.rpc, [record.device_id, record.server_id])
    if server is None:
        raise WrongInstanceError(
            f"another server than {record.server_id} has the address {without_key(record.rpc)} now",
            device=record.device_id,
            remedy=f"start {record.server_id} again: pykarabo up",
        )
    if device is None or bytes(device[0]).hex() != record.instance:
        raise WrongInstanceError(
            f"server {record.server_id} "
            + ("has no such device" if device is None else "hosts another life of it"),
            device=record.device_id,
            remedy="try again in some seconds; if it stays so, restart the server",
        )
    return "the server hosts the very device that the directory knows"


def _state(client: BlockingClient, record: DeviceRecord) -> str:
    values = client.device(record.device_id).get("state", "status")
    return f"{values['state']} {values['status']!r}"
