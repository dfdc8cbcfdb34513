"""`watch` in processes of their own: what is printed as it happens, and how it ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from typing import IO, Any

import pytest

from pykarabo.client import connect


@contextlib.contextmanager
def _watching(*arguments: str) -> Generator["subprocess.Popen[str]", None, None]:
    command = [sys.executable, "-m", "pykarabo", "watch", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _line(stream: "IO[str] | None") -> str:
    assert stream is not None
    return stream.readline().rstrip("\n")


def test_changes_are_printed_as_they_happen(benches: None) -> None:
    del benches
    bench = connect("T/BENCH/1")
    with _watching("T/BENCH/1.ticks", "T/BENCH/1.hot", "--count", "2") as process:
        assert _line(process.stdout).endswith("Z  T/BENCH/1 live")
        assert _line(process.stdout).endswith("Z  T/BENCH/1.ticks = 0")
        assert _line(process.stdout).endswith("Z  T/BENCH/1.hot = 0 K")
        bench.tick()
        assert _line(process.stdout).endswith("Z  T/BENCH/1.ticks = 1")
        assert _line(process.stdout).endswith("Z  T/BENCH/1.hot = 400 K  (warn)")
        assert process.wait(10) == 0


def test_with_json_every_line_is_an_update(benches: None) -> None:
    del benches
    bench = connect("T/BENCH/1")
    with _watching("T/BENCH/1.ticks", "--json", "--count", "2") as process:
        first = json.loads(_line(process.stdout))
        assert (first["kind"], first["device_id"]) == ("live", "T/BENCH/1")
        bench.tick()
        second = json.loads(_line(process.stdout))
        assert second["kind"] == "change"
        assert second["values"]["ticks"]["value"] == 1
        assert process.wait(10) == 0


def test_the_end_of_a_device_and_its_return_are_lines(benches: None, pykarabo: Any) -> None:
    del benches
    arguments = ("T/BENCH/3.count", "--json")
    start = ("instantiate", "Bench", "T/BENCH/3", "--server", "T/SERVER")
    with _watching(*arguments) as process:
        assert _line(process.stderr).startswith("waiting for 'T/BENCH/3': there is no device")
        assert pykarabo(*start).code == 0
        kinds = [json.loads(_line(process.stdout))["kind"]]
        assert pykarabo("shutdown", "T/BENCH/3").code == 0
        kinds.append(json.loads(_line(process.stdout))["kind"])
        assert pykarabo(*start, "count=5").code == 0
        update: dict[str, Any] = {}
        while update.get("kind") != "live":
            update = json.loads(_line(process.stdout))
            kinds.append(update["kind"])
    assert kinds == ["live", "stale", "gap", "live"]
    assert update["values"]["count"]["value"] == 5


def test_it_ends_after_the_time_asked_for(benches: None, pykarabo: Any) -> None:
    del benches
    done = pykarabo("watch", "T/BENCH/1.count", "--for", "0.3")
    assert done.code == 0
    assert len(done.lines) == 2


@pytest.mark.parametrize("target", ["T/BENCH/1.cuont", "T BENCH"])
def test_what_cannot_be_watched_is_bad_input(benches: None, pykarabo: Any, target: str) -> None:
    del benches
    done = pykarabo("watch", target)
    assert (done.code, done.out) == (3, "")


def test_ctrl_c_ends_it_with_130_and_silently(benches: None) -> None:
    del benches
    with _watching("T/BENCH/1.count") as process:
        _line(process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr is not None
        assert process.stderr.read().strip() == ""


def test_a_reader_that_leaves_ends_it_silently(benches: None) -> None:
    del benches
    bench = connect("T/BENCH/1")
    with _watching("T/BENCH/1.ticks") as process:
        _line(process.stdout)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        while process.poll() is None:
            bench.tick()
        assert process.stderr.read() == ""
    assert os.environ["PYKARABO_DOMAIN"]
