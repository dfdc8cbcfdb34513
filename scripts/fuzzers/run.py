"""Run fuzzers: ``run.py CORPUS NAME|all [--seconds N]``; each in a process of its own."""

import argparse
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

_FUZZED: Final = ("pykarabo.data", "pykarabo.wire")
_SECONDS: Final = 60
_LONGEST_INPUT: Final = 4_096
_MEMORY_MIB: Final = 1_024
_SLOW_S: Final = 5
"""An input that takes this long is a defect as much as one that crashes."""


def _fuzz(corpus: Path, name: str, seconds: int) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    fuzzer: Any = importlib.import_module("atheris")  # scripts/fuzz installs it
    with fuzzer.instrument_imports(include=["pykarabo", "yaml"]):
        from scripts.fuzzers.targets import SEEDS, TARGETS

        _import_all(*_FUZZED)

    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={max(_LONGEST_INPUT, *(2 * len(seed) for seed in SEEDS[name]))}",
        f"-rss_limit_mb={_MEMORY_MIB}",
        f"-timeout={_SLOW_S}",
        f"-artifact_prefix={corpus}-",
        "-print_final_stats=1",
    ]
    fuzzer.Setup([name, *options, str(corpus)], TARGETS[name])
    fuzzer.Fuzz()


def _import_all(*packages: str) -> None:
    """Import every module: one that came with its first use would not be instrumented."""
    for package in map(importlib.import_module, packages):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def _fuzz_each(corpus: Path, names: list[str], seconds: int) -> int:
    failed = [name for name in names if _run(corpus, name, seconds)]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _run(corpus: Path, name: str, seconds: int) -> int:
    command = [sys.executable, __file__, str(corpus), name, "--seconds", str(seconds), "--here"]
    return subprocess.run(command, check=False).returncode


def main() -> int:
    """Run what the command line names."""
    from scripts.fuzzers.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("name", choices=["all", *TARGETS])
    parser.add_argument("--seconds", type=int, default=_SECONDS)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = list(TARGETS) if options.name == "all" else [options.name]
    return _fuzz_each(options.corpus, names, options.seconds)


if __name__ == "__main__":
    if "--here" in sys.argv:  # nothing of pykarabo may be imported before it is instrumented
        _fuzz(Path(sys.argv[1]) / sys.argv[2], sys.argv[2], int(sys.argv[4]))
    sys.exit(main())
