"""A PostgreSQL server for the tests: one can stop it, freeze it, and fill its disk.

It runs as a user without privileges, listens on a Unix socket in its own folder, and does not sync
its files unless told to: what the tests do to it does not include power failures.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

USER: Final = "pykarabo"
DATABASE: Final = "pykarabo"
_START_S: Final = 30.0
_END_S: Final = 20.0
_PLACES: Final = Path("/usr/lib/postgresql")


def find_program(name: str) -> Path:
    """Return a program of PostgreSQL, of the newest version that is installed."""
    found = sorted(_PLACES.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1]
    on_path = shutil.which(name)
    assert on_path is not None, f"PostgreSQL's '{name}' is missing: scripts/test installs it"
    return Path(on_path)


class PostgresServer:
    """A server with a database of its own; `close` ends it and removes its files.

    Args:
        durable: sync files, for what is about losing them.
    """

    def __init__(self, *, durable: bool = False) -> None:
        # The path of a Unix socket must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="pkpg-", dir="/tmp"))
        self._data = self.folder / "data"
        self._durable = durable
        self._process: subprocess.Popen[Any] | None = None
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:  # it refuses to run as root
            entry = _unprivileged()
            self._as = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        self._initialize()
        self.start()
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}".encode())

    def _initialize(self) -> None:
        command = [str(find_program("initdb")), "-D", str(self._data), "-U", USER, "--auth=trust"]
        command += ["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **self._as)

    @property
    def url(self) -> str:
        """The URL of its database, for PYKARABO_DATABASE_URL."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Return the URL of one of its databases."""
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def connect(self, database: str = DATABASE) -> "psycopg.Connection[Any]":
        """Return a connection of the administrator, in autocommit."""
        return psycopg.connect(
            host=str(self.folder), user=USER, dbname=database, autocommit=True, connect_timeout=10
        )

    def start(self) -> None:
        """Start it, and wait until it answers; nothing where it runs."""
        if self._process is not None:
            return
        on_or_off = "on" if self._durable else "off"
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": on_or_off,
            "full_page_writes": on_or_off,
            "max_connections": "100",
            "shared_buffers": "64MB",
            "log_min_messages": "fatal",
        }
        command = [str(find_program("postgres")), "-D", str(self._data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            started: subprocess.Popen[Any] = subprocess.Popen(
                command, stderr=log, stdout=log, cwd="/", **self._as
            )
        self._process = started
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        until = time.monotonic() + _START_S
        while True:
            try:
                self.connect("postgres").close()
            except psycopg.OperationalError:
                process = self._process
                ended = process is None or process.poll() is not None
                if ended or time.monotonic() > until:
                    log = (self.folder / "log").read_text("utf-8", "replace")
                    raise AssertionError(f"PostgreSQL does not start: {log}") from None
                time.sleep(0.02)
            else:
                return

    def stop(self, *, immediate: bool = False) -> None:
        """End it and its connections; `immediate` as if it had been killed."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_END_S)
            raise

    def restart(self, *, immediate: bool = True) -> None:
        """End it and start it again, like `pg_ctl restart -m immediate`."""
        self.stop(immediate=immediate)
        self.start()

    def freeze(self) -> None:
        """Stop all of its processes: they neither answer nor end."""
        assert self._process is not None
        parent = psutil.Process(self._process.pid)
        parent.suspend()  # it starts no more
        for child in parent.children(recursive=True):
            child.suspend()

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        parent = psutil.Process(self._process.pid)
        for child in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.resume()

    def set_read_only(self, *, on: bool) -> None:
        """Refuse writes, or take them again; connections that exist are cut, and come again."""
        value = "on" if on else "off"
        with self.connect("postgres") as connection:
            connection.execute(
                f"ALTER DATABASE {DATABASE} SET default_transaction_read_only={value}".encode()
            )
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (DATABASE,),
            )

    def database_on(self, folder: Path, name: str) -> str:
        """Create a database whose tables lie in `folder`; return its URL.

        The folder is a disk of 16 MiB or more, mounted below `self.folder`, where the server's user
        may go.
        """
        where = folder / "tables"
        where.mkdir(mode=0o700)
        if self._as:
            os.chown(where, self._as["user"], self._as["group"])
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE TABLESPACE {name} LOCATION '{where}'".encode())
            connection.execute(f"CREATE DATABASE {name} TABLESPACE {name}".encode())
        return self.url_of(name)

    def drop_database_on(self, name: str) -> None:
        """Remove what `database_on` has made, so that the disk can be unmounted."""
        with self.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            connection.execute(f"DROP TABLESPACE {name}".encode())

    def close(self) -> None:
        """End it and remove its files."""
        if self._process is not None:
            self.thaw()
        self.stop(immediate=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("there is no user 'postgres' or 'nobody' to run PostgreSQL as")
