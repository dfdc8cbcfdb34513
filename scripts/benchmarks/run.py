"""Run benchmarks and print what they measured: ``run.py NAME|all [--json] [--long]``.

A benchmark is a module ``bench_<name>.py`` beside this one with ``def rows() -> list[Row]``.
"""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.benchmarks._processes import LONG_VARIABLE
from scripts.benchmarks._report import Report, Row, machine_facts

_PREFIX: Final = "bench_"


def benchmark_names(folder: Path) -> list[str]:
    """Return the names of the benchmarks in a folder, sorted."""
    return sorted(path.stem.removeprefix(_PREFIX) for path in folder.glob(f"{_PREFIX}*.py"))


def run_benchmark(name: str) -> Report:
    """Run one benchmark and return what it measured; its own failures are not caught."""
    module = importlib.import_module(f"scripts.benchmarks.{_PREFIX}{name}")
    rows = cast("Callable[[], list[Row]]", module.rows)
    return Report(name=name, machine=machine_facts(), rows=tuple(rows()))


@contextmanager
def output_to_stderr() -> Generator[None]:
    """Send what is written to standard output, also by child processes, to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def main() -> None:
    """Measure what the command line asks for and print it."""
    names = benchmark_names(Path(__file__).parent)
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure pykarabo.")
    parser.add_argument("name", choices=[*names, "all"], help="the benchmark to run, or all")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument("--long", action="store_true", help="measure for a minute where it counts")
    arguments = parser.parse_args()
    if arguments.long:
        os.environ[LONG_VARIABLE] = "1"
    with output_to_stderr():
        chosen = names if arguments.name == "all" else [arguments.name]
        reports = [run_benchmark(name) for name in chosen]
    if not arguments.json:
        print("\n\n".join(report.to_table() for report in reports))
        return
    objects = [report.to_dict() for report in reports]
    print(json.dumps(objects if arguments.name == "all" else objects[0]))


if __name__ == "__main__":
    main()
