"""Lines of the audit log: a JSON object each, with a hash of itself and that of the line before.

The hash is BLAKE2b-256 of the line's bytes up to its own hash::

    {"n":17, …, "prev":"HASH OF LINE 16","hash":"HASH"}
    └──────────── what is hashed ──────┘

Nothing here reads or writes files.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

FORMAT: Final = 1
"""Number of the format, in the first line of each file."""
_DIGEST_BYTES: Final = 32
_ENCODER: Final = json.JSONEncoder(
    separators=(",", ":"), allow_nan=False, default=lambda held: held.told()
)
_END: Final = re.compile(rb'(?s)(?P<body>\{.*),"hash":"(?P<hash>[0-9a-f]{64})"\}')


class Link(NamedTuple):
    """What the next line hangs on: the number of the latest line and its hash."""

    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> "Link":
        """Rebuild a link from its text; raises `ValueError`."""
        number, _, digest = text.partition(":")
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(f"{text!r} is not NUMBER:HASH with a hash of 64 hex digits")
        return cls(int(number), digest)


BEGIN: Final = Link(0, "0" * 2 * _DIGEST_BYTES)
"""What the very first line hangs on."""


class Line(NamedTuple):
    """A line that fits its own hash.

    Attributes:
        prev: the hash that it gives for the line before.
    """

    link: Link
    prev: str
    fields: dict[str, Any]

    @property
    def kind(self) -> str:
        """What it tells: ``begin`` and ``end`` of a file, ``set``, ``call``, ``gap``."""
        return str(self.fields.get("kind", ""))


def make_line(after: Link, fields: Mapping[str, Any]) -> tuple[bytes, Link]:
    """Return the line that comes after another one, with its newline, and what it is."""
    number = after.number + 1
    text = _ENCODER.encode({"n": number, **fields, "prev": after.digest})
    body = text[:-1].encode("ascii")
    digest = _digest(body)
    return b'%b,"hash":"%b"}\n' % (body, digest.encode()), Link(number, digest)


def parse_line(line: bytes) -> Line | None:
    """Return a line's content, with or without its newline; None if it does not fit its hash."""
    match = _END.fullmatch(line.removesuffix(b"\n"))
    if match is None or _digest(match["body"]) != match["hash"].decode():
        return None
    try:
        fields = json.loads(match["body"] + b"}")
    except (ValueError, RecursionError):
        return None
    number, prev = fields.get("n"), fields.get("prev")
    if type(number) is not int or not isinstance(prev, str):
        return None
    return Line(Link(number, match["hash"].decode()), prev, fields)


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).hexdigest()
