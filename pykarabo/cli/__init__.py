"""The command line: `pykarabo`."""
