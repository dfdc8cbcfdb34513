"""Where the files of the audit log lie, and how the latest of them ended.

Each life of a server process begins a file, ``SERVER_ID.000001.jsonl``, and so does one that has
become large. Files of former lives are never touched: what is torn in them stays as evidence.
"""

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple

from pykarabo.errors import BadInputError

from ._checking import ENDED, NOT_ENDED, TORN, ChainCheck, torn_digest
from ._lines import BEGIN, Link, parse_line

DIRECTORY: Final = "audit"
"""Below the domain's data directory."""
_NAME: Final = re.compile(r"(?P<server>.+)\.(?P<number>\d{6,})\.jsonl")


class MalformedNameError(BadInputError):
    """A file does not have the name of one of the audit log."""


class Ending(NamedTuple):
    """How the log of a server ends on the disk.

    Attributes:
        link: its latest line.
        file: the name of its latest file.
        number: the number of that file.
        ending: ``end`` after a last line, ``none`` without one, ``torn`` within a line.
        torn: what comes after the latest line.
    """

    link: Link = BEGIN
    file: str = ""
    number: int = 0
    ending: str = ENDED
    torn: bytes = b""

    def told(self) -> dict[str, object]:
        """Return what the next file's first line says of it."""
        said: dict[str, object] = {"file": self.file, "ending": self.ending}
        if self.torn:
            said |= {"bytes": len(self.torn), "digest": torn_digest(self.torn)}
        return said


def file_of(folder: Path, server_id: str, number: int) -> Path:
    """Return the path of a server's file."""
    return folder / f"{server_id}.{number:06}.jsonl"


def split_name(folder: Path, path: Path) -> tuple[str, int]:
    """Return server and number of a file; raises `MalformedNameError`."""
    inside = path.relative_to(folder) if path.is_relative_to(folder) else path
    match = _NAME.fullmatch(inside.as_posix())
    if match is None:
        raise MalformedNameError(
            f"{path} is no file of an audit log", remedy="give one named SERVER.000001.jsonl"
        )
    return match["server"], int(match["number"])


def files_of(folder: Path, server_id: str) -> list[Path]:
    """Return a server's files, oldest first."""
    stem = file_of(folder, server_id, 0)
    name = server_id.rpartition("/")[2]
    found = [path for path in stem.parent.glob(f"{name}.*.jsonl") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: split_name(stem.parent, path)[1])


def servers_in(folder: Path) -> list[str]:
    """Return the servers that have files below a folder."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*.jsonl"))
    return sorted({match["server"] for name in names if (match := _NAME.fullmatch(name))})


def raw_lines(path: Path) -> Iterator[bytes]:
    """Yield a file's lines with their newlines."""
    with path.open("rb") as file:
        yield from file


def last_ending(folder: Path, server_id: str) -> Ending:
    """Return how a server's log ends; raises `OSError`."""
    files = files_of(folder, server_id)
    if not files:
        return Ending()
    latest, number = files[-1].name, split_name(files[-1].parent, files[-1])[1]
    torn = b""
    for path in reversed(files):
        lines = BytesIO(path.read_bytes()).readlines()
        while lines:
            line = parse_line(lines[-1])
            if line is not None:
                ending = ENDED if line.kind == "end" else NOT_ENDED
                return Ending(line.link, latest, number, TORN if torn else ending, torn)
            torn = lines.pop() + torn
    return Ending(BEGIN, latest, number, TORN if torn else NOT_ENDED, torn)


def check_server(
    folder: Path, server_id: str, *heads: Link, is_written: bool = False
) -> ChainCheck:
    """Check all files of a server and return what was found; raises `OSError`.

    Args:
        heads, is_written: see `ChainCheck`.
    """
    check = ChainCheck(*heads)
    for path in files_of(folder, server_id):
        check.begin_file(path.relative_to(folder).as_posix())
        for raw in raw_lines(path):
            check.take(raw)
    check.finish(is_written=is_written)
    return check
