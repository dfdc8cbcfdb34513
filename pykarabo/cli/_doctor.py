"""`doctor`: what was tried, what was found, what helps."""

import functools
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click
import zmq

import pykarabo
from pykarabo.client import DIRECTORY_ID, BlockingClient, check_device_id, directory_endpoint
from pykarabo.errors import PykaraboError
from pykarabo.transport import data_directory, domain_name, run_directory

from ._app import common
from ._complete import complete_devices
from ._text import print_json

_LOW_DISK = 2**30
_SLOW_S = 0.5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried."""

    what: str
    good: bool
    result: str
    remedy: str = ""


def _tried(what: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(what, good=True, result=attempt())
    except PykaraboError as error:
        return Finding(what, good=False, result=error.message, remedy=error.remedy or "")


@click.command("doctor")
@click.argument("device_id", metavar="[DEV]", required=False, shell_complete=complete_devices)
@common
def doctor_command(device_id: str | None, *, as_json: bool) -> int:
    """Check the installation and the domain, or every step on the way to the device DEV."""
    findings: list[Finding] = []
    with BlockingClient() as client:
        for finding in _device(client, device_id) if device_id else _everything(client):
            findings.append(finding)
            if not as_json:
                mark = (
                    click.style("ok  ", fg="green")
                    if finding.good
                    else click.style("FAIL", fg="red")
                )
                click.echo(f"{mark} {finding.what}: {finding.result}")
                if finding.remedy:
                    click.echo(f"     {finding.remedy}")
    if as_json:
        print_json([
            {"what": item.what, "good": item.good, "result": item.result, "remedy": item.remedy}
            for item in findings
        ])  # fmt: skip
    return 0 if all(finding.good for finding in findings) else 1


def _everything(client: BlockingClient) -> Iterator[Finding]:
    versions = f"pykarabo {pykarabo.__version__}, Python {sys.version.split()[0]}, libzmq "
    yield Finding("versions", good=True, result=versions + zmq.zmq_version())
    yield _tried(f"runtime directory of domain '{domain_name()}'", _runtime_directory)
    yield _disk()
    directory = _tried("directory", lambda: _reach_directory(client))
    yield directory
    if not directory.good:
        return
    found = client.directory("topology", "*")
    for record in client.servers():
        status = found["statuses"].get(record.server_id, "unknown")
        yield _tried(
            f"server {record.server_id} ({record.host}, process {record.pid}, {status})",
            functools.partial(_answers, client, record.server_id),
        )


def _runtime_directory() -> str:
    path = run_directory()
    return f"{path} is yours alone" if path.exists() else f"{path} does not exist yet"


def _disk() -> Finding:
    path = data_directory()
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    remedy = "" if free > _LOW_DISK else "free some space before runs are recorded"
    return Finding("disk", free > _LOW_DISK, f"{free / 2**30:.1f} GiB free below {path}", remedy)


def _reach_directory(client: BlockingClient) -> str:
    started = time.monotonic()
    client.resolve(DIRECTORY_ID)
    return f"answers at {directory_endpoint()} after {(time.monotonic() - started) * 1e3:.1f} ms"


def _answers(client: BlockingClient, device_id: str) -> str:
    client.device(device_id)
    started = time.monotonic()
    client.device(device_id).get("state")
    return f"answers after {(time.monotonic() - started) * 1e3:.1f} ms"


def _device(client: BlockingClient, device_id: str) -> Iterator[Finding]:
    def name() -> str:
        return f"'{check_device_id(device_id)}' can be one"

    def record() -> str:
        found = client.resolve(device_id)
        return (
            f"{found.class_id} on server {found.server_id}, host {found.host}, process "
            f"{found.pid}, at {found.rpc}, status {found.status}"
        )

    def server() -> str:
        found = client.resolve(device_id)
        return _answers(client, found.server_id or DIRECTORY_ID)

    def state() -> str:
        started = time.monotonic()
        values = client.device(device_id).get("state", "status")
        elapsed = time.monotonic() - started
        slow = " (slow: its event loop is busy)" if elapsed > _SLOW_S else ""
        return f"{values['state']} {values['status']!r} after {elapsed * 1e3:.1f} ms{slow}"

    for what, attempt in (
        ("device id", name),
        ("directory", lambda: _reach_directory(client)),
        ("record", record),
        ("server", server),
        ("device", state),
    ):
        finding = _tried(what, attempt)
        yield finding
        if not finding.good:
            return
