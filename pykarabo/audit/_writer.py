"""A thread that writes the audit log of a server process.

Whoever has something to tell puts it into a queue and goes on. The thread makes lines of what has
come, writes them and brings them to the disk. As long as the disk refuses, entries wait in memory;
beyond a bound they are counted, and a line says in their place how many are missing.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ._checking import ENDED, FAILED, FULL, NOT_ENDED, STARTED, TOUCHED
from ._file import AuditFile
from ._folder import Ending, file_of, last_ending
from ._lines import FORMAT, Link, make_line
from ._repeats import Repeats

GATHER_S: Final = 0.2
"""What comes within this time goes to the disk together."""
LEAST_GATHER_S: Final = 0.02
MANY: Final = 1_000
"""When so much waits, it goes sooner: it would only take memory. But not at once, for what is under
way and ends in this time has one line and not two."""
AGAIN_S: Final = 1.0
"""A disk that refused is asked again after so long."""
LOOK_S: Final = 10.0
"""A file that somebody removes or changes is missed so soon, if nothing is to be written."""
FEW: Final = 200
TURN_S: Final = 0.002
"""Of few entries the event loop waits for one line at a time. When many come, it waits for so long:
a busy loop gives the interpreter back after 5 ms only, and 200 lines/s would be all."""
MAX_WAITING: Final = 50_000
"""Weight of the entries that wait; one weighs some 256 bytes, so this is about 12 MiB."""
MAX_FILE_BYTES: Final = 16 * 2**20
CLOSE_S: Final = 5.0
"""A disk that takes longer must not keep a process from its end."""


class Entry(ABC):
    """What the audit log is told: an attempt to do something. Derive from it.

    Attributes:
        weight: about how much memory it takes, in units of some 256 bytes.
        is_over: whether it is known how it ended; set by `AuditWriter.end`.
        begun: number of the line that tells that it is under way; set by the writer.
        counted: the weight that the queue counts for it, 0 when it does not wait there.
        is_seen: whether the writer has looked at it before.
    """

    __slots__ = ("begun", "counted", "is_over", "is_seen", "weight")

    def __init__(self) -> None:
        self.weight = 1
        self.is_over = False
        self.begun: int | None = None
        self.counted = 0
        self.is_seen = False

    @property
    def refusal(self) -> Hashable | None:
        """What it is like, if it is a refusal of which many may come; see `Repeats`."""
        return None

    @abstractmethod
    def fields(self) -> dict[str, Any]:
        """Return kind, ``t`` (ns since 1970) and what else to tell, from the writer's thread."""


class _Gap:
    """Stands in the queue for entries for which there was no room."""

    counted = 0

    def __init__(self, now_ns: int) -> None:
        self.lost = 0
        self.since_ns = self.until_ns = now_ns


class AuditWriter:
    """Writes the files of one server process.

    Args:
        folder: of all servers' files.
        time_ns: the UTC clock, in ns since 1970.

    Attributes:
        head: the latest line that is on the disk; None before the first.
        problem: why lines wait, in words; None when they do not.
        incident: the latest thing that somebody else, or a failing disk, did to the files.
        lost: how many entries there was no room for.
    """

    def __init__(
        self,
        folder: Path,
        server_id: str,
        *,
        time_ns: Callable[[], int] = time.time_ns,
        max_waiting: int = MAX_WAITING,
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        self.head: Link | None = None
        self.problem: str | None = None
        self.incident: str | None = None
        self.lost = 0
        self._folder = folder
        self._server_id = server_id
        self._facts: dict[str, Any] = {}
        self._time_ns = time_ns
        self._max_waiting = max_waiting
        self._max_file_bytes = max_file_bytes
        self._queue: deque[Entry | _Gap] = deque()
        self._waiting = 0
        self._repeats: Repeats[Entry] = Repeats()
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._hurry = threading.Event()
        self._closing = threading.Event()
        self._file: AuditFile | None = None
        self._before: Ending | None = None
        self._is_full = False
        self._why = {"why": STARTED}
        self._made = Link(0, "")
        self._unwritten = bytearray()
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)

    # -- for everybody --------------------------------------------------------------------------

    def start(self, facts: Mapping[str, Any]) -> None:
        """Begin a file, whose first line tells `facts` of domain, server and process."""
        self._facts = dict(facts)
        self._news.set()
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Have a line written soon. One that is not over by then gets another when it is."""
        with self._lock:
            if self._waiting >= self._max_waiting or self._closing.is_set():
                self._lose()
                return
            self._queue.append(entry)
            entry.counted = entry.weight
            self._waiting += entry.counted
            is_much = self._waiting >= MANY
        if not self._news.is_set():
            self._news.set()
        if is_much and not self._hurry.is_set():
            self._hurry.set()

    def end(self, entry: Entry) -> None:
        """Tell that an entry is over, which can say now how it ended."""
        with self._lock:
            entry.is_over = True
            if entry.counted:
                self._waiting += entry.weight - entry.counted
                entry.counted = entry.weight
        if entry.begun is not None:
            self.put(entry)

    def close(self, timeout_s: float = CLOSE_S) -> int:
        """Write what waits and a last line; returns how many entries could not be written."""
        self._closing.set()
        self._news.set()
        self._hurry.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        with self._lock:
            waiting = sum(not isinstance(entry, _Gap) for entry in self._queue)
        return self.lost + waiting + self._unwritten.count(b"\n")

    def _lose(self) -> None:
        now_ns = self._time_ns()
        last = self._queue[-1] if self._queue else None
        if not isinstance(last, _Gap):
            last = _Gap(now_ns)
            self._queue.append(last)
        last.lost += 1
        last.until_ns = now_ns
        self.lost += 1

    # -- in the thread --------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self._turn():
                pass
        except BaseException as error:
            self.problem = f"the audit log of '{self._server_id}' has failed: {error!r}"
            raise
        finally:
            if self._file is not None:
                self._file.close()

    def _turn(self) -> bool:
        """Write what has come, once; returns whether that was the last time."""
        due_ns = self._repeats.due_ns
        self._news.wait(LOOK_S if due_ns is None else max(0, due_ns - self._time_ns()) / 1e9)
        self._news.clear()
        is_last = self._closing.is_set()
        try:
            self._write(is_last=is_last)
        except OSError as error:
            self.problem = (
                f"the audit log of '{self._server_id}' in {self._folder} cannot be written: "
                f"{error.strerror or error}; calls go on, their lines wait in memory"
            )
            self._news.set()
            self._closing.wait(AGAIN_S)
        else:
            self.problem = None
            self._gather()
        return is_last

    def _gather(self) -> None:
        """Wait until there is something to write together."""
        self._hurry.clear()
        self._closing.wait(LEAST_GATHER_S)
        if self._waiting < MANY and not self._closing.is_set():
            self._hurry.wait(GATHER_S - LEAST_GATHER_S)

    def _write(self, *, is_last: bool) -> None:
        """Write what waits; raises `OSError`, after which it is called again."""
        self._open()
        self._flush()
        if self._is_full:
            self._leave(FULL)
        self._look_after()
        self._open()
        self._make_lines(is_last=is_last)
        if is_last:
            self._add({"kind": "end", **self._moment(), "why": "stop"})
        self._flush()
        if self._file is not None and self._file.size >= self._max_file_bytes and not is_last:
            self._add({"kind": "end", **self._moment(), "why": FULL})
            self._is_full = True
            self._news.set()  # another file is begun soon
            self._flush()

    def _open(self) -> None:
        """Begin a file if there is none, with what is known of the one before."""
        if self._file is not None:
            return
        if self._before is None:
            self._before = last_ending(self._folder, self._server_id)
            self._made = self._before.link
        number = self._before.number + 1
        try:
            self._file = AuditFile(file_of(self._folder, self._server_id, number))
        except FileExistsError:  # another process of this id was sooner
            self._before = None
            raise
        self._add(
            {
                "kind": "begin", **self._moment(), "format": FORMAT, **self._facts,
                **self._why, "after": self._before.told(),
            }
        )  # fmt: skip

    def _look_after(self) -> None:
        """Leave a file that somebody else has changed as it is, and go on in another."""
        if self._file is None:
            return
        done = self._file.interference()
        if done is not None:
            self.incident = f"{self._file.path} {done}, and not by this server"
            self._leave(TOUCHED, f"the file before {done}")

    def _leave(self, why: str, reason: str = "") -> None:
        if self._file is not None:
            number = 1 if self._before is None else self._before.number + 1
            ending = ENDED if why == FULL else NOT_ENDED
            self._before = Ending(self._made, self._file.path.name, number, ending)
            self._file.close()
        self._file, self._is_full = None, False
        self._why = {"why": why, "reason": reason} if reason else {"why": why}

    def _take(self, *, is_last: bool) -> list[Entry | _Gap]:
        """Take what waits out of the queue; what is under way may end until the next time."""
        taken: list[Entry | _Gap] = []
        left: deque[Entry | _Gap] = deque()
        with self._lock:
            for entry in self._queue:
                if isinstance(entry, _Gap) or entry.is_over or entry.is_seen or is_last:
                    self._waiting -= entry.counted
                    entry.counted = 0
                    taken.append(entry)
                else:
                    entry.is_seen = True
                    left.append(entry)
            self._queue = left
        if left:
            self._news.set()
        return taken

    def _make_lines(self, *, is_last: bool) -> None:
        self._tell_repeats(is_last=False)
        taken = self._take(is_last=is_last)
        turn_s = 0.0 if len(taken) <= FEW else TURN_S
        until = time.monotonic()
        for entry in taken:
            if isinstance(entry, _Gap):
                self._add(
                    {
                        "kind": "gap", **self._moment(entry.until_ns), "lost": entry.lost,
                        "since": entry.since_ns,
                    }
                )  # fmt: skip
            else:
                self._add_entry(entry)
            if time.monotonic() >= until:
                time.sleep(0)  # the event loop must not wait for a whole batch
                until = time.monotonic() + turn_s
        if is_last:
            self._tell_repeats(is_last=True)

    def _tell_repeats(self, *, is_last: bool) -> None:
        """Tell how many refusals had no line of their own."""
        for entry, times, since_ns in self._repeats.ended(self._time_ns(), is_last=is_last):
            self._add_fields({**entry.fields(), "times": times, "since": since_ns})

    def _add_entry(self, entry: Entry) -> None:
        kind = entry.refusal
        if kind is not None and not self._repeats.is_told(kind, entry, self._time_ns()):
            return
        with self._lock:
            fields = entry.fields()
            if not entry.is_over:
                entry.begun = self._made.number + 1
        self._add_fields(fields)

    def _add_fields(self, fields: dict[str, Any]) -> None:
        kind, time_ns = fields.pop("kind"), fields.pop("t")
        self._add({"kind": kind, **self._moment(time_ns), **fields})

    def _moment(self, time_ns: int | None = None) -> dict[str, Any]:
        """Return a moment as a line tells it, by default the present."""
        now_ns = self._time_ns() if time_ns is None else time_ns
        whole = datetime.fromtimestamp(now_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return {"time": f"{whole}.{now_ns % 10**9 // 1000:06}Z", "t": now_ns}

    def _add(self, fields: Mapping[str, Any]) -> None:
        line, self._made = make_line(self._made, fields)
        self._unwritten += line

    def _flush(self) -> None:
        """Bring the lines that were made to the disk; raises `OSError`."""
        if self._file is None or not self._unwritten:
            return
        while self._unwritten:
            written = self._file.write(bytes(self._unwritten))
            del self._unwritten[:written]
        try:
            self._file.sync()
        except OSError as error:
            self.incident = (
                f"{self._file.path} could not be brought to the disk: {error.strerror}; its end "
                "may be missing after a failure of the host"
            )
            self._leave(
                FAILED, f"the file before could not be brought to the disk: {error.strerror}"
            )
            raise
        self.head = self._made
