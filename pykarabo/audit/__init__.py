"""The audit log: who did what, in files in which no line can be changed unseen."""

from ._checking import ChainCheck, Finding
from ._folder import (
    DIRECTORY,
    Ending,
    MalformedNameError,
    check_server,
    file_of,
    files_of,
    last_ending,
    servers_in,
    split_name,
)
from ._lines import BEGIN, FORMAT, Line, Link, make_line, parse_line
from ._values import SECRET, UNKNOWN, entries, shorten, unknown, weight_of
from ._writer import AuditWriter, Entry

__all__ = [
    "BEGIN",
    "DIRECTORY",
    "FORMAT",
    "SECRET",
    "UNKNOWN",
    "AuditWriter",
    "ChainCheck",
    "Ending",
    "Entry",
    "Finding",
    "Line",
    "Link",
    "MalformedNameError",
    "check_server",
    "entries",
    "file_of",
    "files_of",
    "last_ending",
    "make_line",
    "parse_line",
    "servers_in",
    "shorten",
    "split_name",
    "unknown",
    "weight_of",
]
