"""``python -m pykarabo``: the command line."""

from pykarabo.cli.__main__ import main

main()
