"""Whether the lines of an audit log are those that were written. Nothing here reads files."""

import hashlib
from typing import Any, NamedTuple

from ._lines import BEGIN, FORMAT, Line, Link, parse_line

ENDED, NOT_ENDED, TORN = "end", "none", "torn"
"""How a file ended, as the first line of its follower tells."""
STARTED, FULL, TOUCHED, FAILED = "start", "size", "touched", "failed"
"""Why a file was begun: another process, a full one, one that others or the disk have spoilt."""


class Finding(NamedTuple):
    """Something that `ChainCheck` has found.

    Attributes:
        line: number of the line in its file, from 1; 0 for the file as a whole.
        is_wrong: False for what the log itself tells of, such as a process that was killed.
    """

    file: str
    line: int
    text: str
    is_wrong: bool = True

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.text}"


def torn_digest(torn: bytes) -> str:
    """Return the digest by which a file's follower names its torn end."""
    return hashlib.blake2b(torn, digest_size=16).hexdigest()


class ChainCheck:
    """Follows the chain of one server through its files, oldest first.

    Args:
        heads: what the log is known to hold: lines that the server has published.

    Attributes:
        findings: in the order of the files.
        lines: how many lines fit their hashes.
        latest: the latest line of the chain; None before the first.
    """

    def __init__(self, *heads: Link) -> None:
        self.findings: list[Finding] = []
        self.lines = 0
        self.latest: Link | None = None
        self._heads = {head.number: head.digest for head in heads}
        self._first: int | None = None
        self._damaged = 0
        self._name = ""
        self._files = 0
        self._in_file = 0
        self._process = "its process"
        self._end: Line | None = None
        self._torn = b""

    def begin_file(self, name: str) -> None:
        """The next lines are those of this file."""
        self._name, self._in_file = name, 0
        self._files += 1

    def take(self, raw: bytes) -> None:
        """Look at a line, with its newline; without one it is the end of its file."""
        self._in_file += 1
        line = parse_line(raw)
        if line is not None:
            self._take(line)
            return
        self._torn += raw
        if raw.endswith(b"\n"):
            self._damaged += 1
            self._found("was changed or put in: it does not fit its hash")

    def _take(self, line: Line) -> None:
        self.lines += 1
        if self._in_file == 1 or line.kind == "begin":
            self._check_begin(line)
        elif self._end is not None:
            self._found("stands behind the last line of its file")
        if self._follows(line):
            self.latest, self._damaged = line.link, 0
        known = self._heads.pop(line.link.number, line.link.digest)
        if known != line.link.digest:
            self._found(f"is not the line {line.link.number} that the server has published")
        self._end = line if line.kind == "end" else None
        self._torn = b""

    def _follows(self, line: Line) -> bool:
        """Check a line's place; returns False if it belongs somewhere before."""
        latest, number = self.latest, line.link.number
        if latest is None:
            self._first = number
            if number > 1 and not self._damaged:
                text = f"the log begins with line {number}: what was before is not here"
                self._found(text, 0, is_wrong=self._files > 1)  # a file that is empty is a lie
            return True
        if number == latest.number + 1 and line.prev == latest.digest:
            return True
        if number <= latest.number:
            self._found(f"line {number} stands behind line {latest.number}: it was put here")
            return False
        missing = number - latest.number - 1
        if missing > self._damaged:
            first = latest.number + 1
            those = f"line {first} is" if missing == 1 else f"lines {first} to {number - 1} are"
            self._found(f"{those} missing before it")
        elif not missing:
            self._found(f"line {number} does not follow line {latest.number}: one was replaced")
        return True

    def _check_begin(self, line: Line) -> None:
        """Check the first line of a file against the end of the file before."""
        if line.kind != "begin" or self._in_file != 1:
            self._found("a file begins with a line of kind 'begin', and only there")
            return
        if line.fields.get("format") != FORMAT:
            self._found(f"has the format {line.fields.get('format')}; this program knows {FORMAT}")
        self._check_ending(line.fields.get("after") or {}, line.fields.get("why"))
        if (reason := line.fields.get("reason")) is not None:
            self._found(f"says that {reason}", is_wrong=line.fields.get("why") == TOUCHED)
        self._process = f"process {line.fields.get('pid')} on {line.fields.get('host')}"

    def _check_ending(self, after: dict[str, Any], why: object) -> None:
        """Check how the file before has ended against what the next one says of it."""
        if self.latest is None:
            return
        said, digest = after.get("ending"), after.get("digest")
        if self._torn and (said, digest) != (TORN, torn_digest(self._torn)):
            self._found("the file before has another torn end than this line says")
        elif said == TORN and not self._torn:
            self._found("the torn end of the file before, of which this line tells, is missing")
        elif said != ENDED and self._end is None and why == STARTED:
            how = "while it wrote: it was killed" if self._torn else "without a last line: killed"
            text = (
                f"{self._process} ended {how} after line {self.latest.number}, or its host failed"
            )
            self._found(text, 0, is_wrong=False)

    def finish(self, *, is_written: bool) -> None:
        """Judge the end, after the last line.

        Args:
            is_written: whether the process that writes the last file is still there.
        """
        latest = self.latest or BEGIN
        for number, digest in sorted(self._heads.items()):
            if self._first is None or number > latest.number:
                self._found(
                    f"cut: it ends with line {latest.number}, but the server has published line "
                    f"{number} ({digest[:16]}…)", 0,
                )  # fmt: skip
            elif number >= self._first:
                self._found(f"line {number}, which the server has published, is missing", 0)
        if self._name and not is_written:
            self._check_end(latest)

    def _check_end(self, latest: Link) -> None:
        if self._torn or self._end is None:
            torn = f"; {len(self._torn)} bytes of a torn line follow" if self._torn else ""
            self._found(
                f"cut after line {latest.number}, or {self._process} was killed then{torn}: this "
                "file alone cannot tell; compare a head that was kept elsewhere (--head)", 0,
            )  # fmt: skip
        elif self._end.fields.get("why") != "stop":
            self._found("the file that follows it is missing", 0)

    def _found(self, text: str, line: int | None = None, *, is_wrong: bool = True) -> None:
        place = self._in_file if line is None else line
        self.findings.append(Finding(self._name, place, text, is_wrong))
