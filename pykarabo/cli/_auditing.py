"""`audit`: read and check the audit log."""

import re
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import click

from pykarabo import audit
from pykarabo.audit import ChainCheck, Line, Link
from pykarabo.client import BlockingClient
from pykarabo.errors import PykaraboError, UnknownDeviceError
from pykarabo.transport import data_directory

from ._app import common
from ._audit_text import line_text
from ._text import print_json

_LOOK_S: Final = 0.2
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_AGE: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[smhd])")


@click.group("audit")
def audit_command() -> None:
    """Show who wrote what and ran which commands, and check that nobody has changed the record.

    The log is that of the servers whose data directory is on this host.
    """


def _since(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int:
    """Return a moment in ns since 1970; 0 for any."""
    if value is None:
        return 0
    if match := _AGE.fullmatch(value):
        return time.time_ns() - int(float(match["number"]) * _UNITS[match["unit"]] * 1e9)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is neither an age such as 90s, 30m, 12h, 7d nor a time such as "
            "2026-03-01T14:00 (UTC)"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e9)


@audit_command.command("show")
@click.option("--device", metavar="PATTERN", help="Of devices whose id matches, such as 'DEMO/*'.")
@click.option("--user", help="What this user did.")
@click.option(
    "--since", "since_ns", metavar="TIME", callback=_since,
    help="Not before: an age (90s, 30m, 12h, 7d) or a time in UTC (2026-03-01T14:00).",
)  # fmt: skip
@click.option("--denied", is_flag=True, help="What was refused.")
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@common
def show_command(
    device: str | None, user: str | None, since_ns: int, *, denied: bool, follow: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Show writes and commands, oldest first: when, who, what, and how it ended.

    A user whom only his own program has named has a question mark. With --follow and --json every
    line is one JSON document.
    """
    reader = _Reader(_folder(), since_ns)
    chosen = _Choice(device, user, since_ns, denied=denied)
    found = [line.fields for line in reader.read() if chosen.takes(line)]
    if as_json and not follow:
        print_json(found)
        return
    while True:
        for fields in found:
            if as_json:
                print_json(fields)
            else:
                click.echo(line_text(fields))
        if not follow:
            return
        time.sleep(_LOOK_S)
        found = [line.fields for line in reader.read() if chosen.takes(line)]


class _Choice:
    """Which lines one wants to see."""

    def __init__(
        self, device: str | None, user: str | None, since_ns: int, *, denied: bool
    ) -> None:
        self._device = device
        self._user = user
        self._since_ns = since_ns
        self._denied = denied

    def takes(self, line: Line) -> bool:
        """Tell whether a line is wanted."""
        fields = line.fields
        if fields.get("t", 0) < self._since_ns:
            return False
        if self._denied and fields.get("outcome") != "refused":
            return False
        is_attempt = line.kind in ("set", "call")
        if self._user is not None and (not is_attempt or fields.get("user") != self._user):
            return False
        return self._device is None or (
            is_attempt and fnmatchcase(str(fields.get("device")), self._device)
        )


class _Reader:
    """Reads what is new in the files below a folder.

    Args:
        since_ns: files that were written last before are left out, in ns since 1970.
    """

    def __init__(self, folder: Path, since_ns: int) -> None:
        self._folder = folder
        self._since_ns = since_ns
        self._offsets: dict[Path, int] = {}

    def read(self) -> list[Line]:
        """Return the new lines, in the order of their times; tell of those that are damaged."""
        found: list[Line] = []
        for path in sorted(self._folder.rglob("*.jsonl")):
            status = path.stat()
            if status.st_mtime_ns >= self._since_ns and status.st_size > self._offsets.get(path, 0):
                found += self._read_file(path)
        return sorted(found, key=lambda line: line.fields.get("t", 0))

    def _read_file(self, path: Path) -> list[Line]:
        found: list[Line] = []
        with path.open("rb") as file:
            file.seek(self._offsets.get(path, 0))
            for raw in file:
                if not raw.endswith(b"\n"):
                    break  # it is being written
                self._offsets[path] = self._offsets.get(path, 0) + len(raw)
                line = audit.parse_line(raw)
                if line is None:
                    click.echo(f"{path}: a line was changed: see 'pykarabo audit verify'", err=True)
                else:
                    found.append(line)
        return found


@audit_command.command("verify")
@click.argument("targets", metavar="[FILE|SERVER]...", nargs=-1)
@click.option(
    "--head", "heads", metavar="NUMBER:HASH", multiple=True,
    help="A line that the log must hold: what the property audit_head of the server was once.",
)  # fmt: skip
@common
def verify_command(targets: tuple[str, ...], heads: tuple[str, ...], *, as_json: bool) -> int:
    """Check that no line was changed, removed, put in or cut off; of all servers by default.

    The end of a file is compared with what its server says, if that runs. Ends with 1 if something
    is wrong.
    """
    try:
        known = [Link.parse(text) for text in heads]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--head") from None
    chains = _chains(targets)
    if known and len(chains) != 1:
        raise click.UsageError("--head is of one server: name it")
    published = _published([server_id for _folder, server_id in chains])
    checks = {
        server_id: _check(folder, server_id, known, published.get(server_id))
        for folder, server_id in chains
    }
    if as_json:
        print_json({"servers": {name: _as_json(check) for name, check in checks.items()}})
    else:
        for name, check in checks.items():
            _print(name, check)
        if not checks:
            click.echo(f"there is no audit log in {_folder()}")
    return int(any(finding.is_wrong for check in checks.values() for finding in check.findings))


def _folder() -> Path:
    return data_directory() / audit.DIRECTORY


def _chains(targets: tuple[str, ...]) -> list[tuple[Path, str]]:
    """Return the folder and the name of each chain that is meant."""
    folder = _folder()
    if not targets:
        return [(folder, server_id) for server_id in audit.servers_in(folder)]
    found: list[tuple[Path, str]] = []
    for target in targets:
        path = Path(target).absolute()
        if path.is_file():
            root = folder if path.is_relative_to(folder) else path.parent
            chain = root, audit.split_name(root, path)[0]
        elif audit.files_of(folder, target):
            chain = folder, target
        else:
            raise UnknownDeviceError(
                f"there is neither a file {target} nor an audit log of a server '{target}'",
                remedy=f"name one of {', '.join(audit.servers_in(folder)) or 'none'}",
            )
        if chain not in found:
            found.append(chain)
    return found


def _published(servers: list[str]) -> dict[str, Link]:
    """Return how far running servers say that their logs have come."""
    try:
        with BlockingClient() as client:
            running = {record.server_id for record in client.servers()}
            answers = client.read_many(
                {server_id: ["audit_head"] for server_id in servers if server_id in running}
            )
    except PykaraboError as error:
        click.echo(f"no server is asked for the end of its log: {error.message}", err=True)
        return {}
    found: dict[str, Link] = {}
    for server_id, values in answers.items():
        if not isinstance(values, PykaraboError) and values["audit_head"].value:
            found[server_id] = Link.parse(values["audit_head"].value)
    return found


def _check(folder: Path, server_id: str, known: list[Link], published: Link | None) -> ChainCheck:
    heads = [*known, published] if published is not None else known
    is_written = published is not None or _is_alive(folder, server_id)
    return audit.check_server(folder, server_id, *heads, is_written=is_written)


def _is_alive(folder: Path, server_id: str) -> bool:
    """Tell whether the process that began the latest file runs on this host."""
    import psutil

    with audit.files_of(folder, server_id)[-1].open("rb") as file:
        first = audit.parse_line(file.readline())
    if first is None or first.fields.get("host") != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(first.fields["pid"]))
        return process.create_time() <= first.fields["t"] / 1e9 and _has_open(process, folder)
    except (psutil.Error, KeyError, ValueError):
        return False


def _has_open(process: Any, folder: Path) -> bool:
    """Tell whether a process writes below a folder; numbers of processes are used again."""
    return any(Path(file.path).is_relative_to(folder) for file in process.open_files())


def _as_json(check: ChainCheck) -> Mapping[str, Any]:
    return {
        "lines": check.lines,
        "latest": None if check.latest is None else str(check.latest),
        "wrong": [str(finding) for finding in check.findings if finding.is_wrong],
        "told": [str(finding) for finding in check.findings if not finding.is_wrong],
    }


def _print(name: str, check: ChainCheck) -> None:
    wrong = sum(finding.is_wrong for finding in check.findings)
    state = f"WRONG in {wrong} places" if wrong else "as it was written"
    click.echo(f"{name}: {check.lines} lines, {state}; latest {check.latest or 'none'}")
    for finding in check.findings:
        click.echo(f"  {'WRONG' if finding.is_wrong else 'note'}  {finding}")
