"""Hosts of a site: each has folders of its own, as another user or another computer would."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.trust import MemberRole
from pykarabo_services.site.joining import join_site, make_site
from pykarabo_services.site.store import SiteStore
from tests.harness.ports import free_ports

HOST: Final = "127.0.0.1"
_END_S: Final = 10.0


class Hosts:
    """Several hosts on this one; the process of the test is one of them at a time."""

    def __init__(self, runtime: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._runtime = runtime
        self._folder = folder
        self._monkeypatch = monkeypatch
        self.running: list[subprocess.Popen[str]] = []
        self.port = free_ports(1, following=3)[0]

    def variables(self, name: str) -> dict[str, str]:
        """Return where a host has its files."""
        runtime = self._runtime / name
        runtime.mkdir(mode=0o700, exist_ok=True)
        kinds = ("CONFIG", "DATA", "STATE", "CACHE")
        found = {f"XDG_{kind}_HOME": str(self._folder / name / kind.lower()) for kind in kinds}
        return found | {"XDG_RUNTIME_DIR": str(runtime)}

    @contextlib.contextmanager
    def being(self, name: str) -> Generator[None, None, None]:
        """Work on another host for a moment."""
        before = {variable: os.environ[variable] for variable in self.variables(name)}
        self.be(name)
        yield
        for variable, value in before.items():
            self._monkeypatch.setenv(variable, value)

    def be(self, name: str) -> None:
        """Work on this host from now on."""
        for variable, value in self.variables(name).items():
            self._monkeypatch.setenv(variable, value)

    def command(self, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command on a host."""
        return subprocess.run(
            [sys.executable, "-m", "pykarabo", *arguments],
            env={**os.environ, **self.variables(name)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def ask(self, name: str, *arguments: str) -> Any:
        """Run a command that must do well; returns what it tells as JSON."""
        done = self.command(name, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, name: str, *arguments: str) -> "subprocess.Popen[str]":
        """Start what serves on a host, and wait until it does."""
        with self.log(name).open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "pykarabo", *arguments, "--json"],
                env={**os.environ, **self.variables(name)},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline(), self.log(name).read_text()
        return process

    def log(self, name: str) -> Path:
        """Return the file with the log of what serves on a host."""
        (self._folder / name).mkdir(exist_ok=True)
        return self._folder / name / "log"

    def invited(self, role: str, *, outputs: tuple[str, ...] = ()) -> str:
        """Invite somebody; returns the code."""
        with self.being("a"), SiteStore().changed() as state:
            return state.invite(MemberRole(role), ttl_s=900, now_s=time.time(), outputs=outputs)

    def join(self, name: str, role: str, *, outputs: tuple[str, ...] = ()) -> None:
        """Have a host join the site."""
        code = self.invited(role, outputs=outputs)
        with self.being("a"):
            service = SiteStore().join_string()
        with self.being(name):
            join_site(None, service, code, name=f"ops@{name}")

    def revoke(self, name: str) -> None:
        """Shut a member out."""
        with self.being("a"), SiteStore().changed() as state:
            state.revoke(name, now_s=time.time())

    def end(self, process: "subprocess.Popen[str]") -> None:
        """End what serves."""
        process.terminate()
        process.wait(_END_S)
        if process.stdout is not None:
            process.stdout.close()
        self.running.remove(process)

    def close(self) -> None:
        """End all that is running."""
        for process in list(self.running):
            self.end(process)


@pytest.fixture
def hosts(short_runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    """Give the test hosts that belong to no site yet."""
    running = Hosts(short_runtime, tmp_path, monkeypatch)
    yield running
    running.close()


@pytest.fixture
def site(hosts: Hosts) -> Hosts:
    """Give the test hosts, of which ``a`` serves a site."""
    with hosts.being("a"):
        make_site(None, HOST, hosts.port)
    hosts.start("a", "site", "serve")
    return hosts
