"""The entry point: ``pykarabo`` and ``python -m pykarabo.cli``."""

from pykarabo.cli._app import run

main = run

if __name__ == "__main__":
    run()
