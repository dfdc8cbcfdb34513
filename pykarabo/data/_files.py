"""Values in files, in the form that the file's ending names."""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from pykarabo.errors import (
    InvalidNameError,
    LimitExceededError,
    MalformedMessageError,
    VersionMismatchError,
)

from ._container import read_binary, write_binary
from ._forms import FILE_LIMITS
from ._hdf5 import read_hdf5, write_hdf5
from ._json import read_json, write_json
from ._limits import Limits
from ._sync import sync_path
from ._xml import read_xml, write_xml


class _Form(NamedTuple):
    write: Callable[[Any, BinaryIO, Limits], None]
    read: Callable[[BinaryIO, Limits], Any]


FORMS: Final = {
    ".json": _Form(write_json, read_json),
    ".xml": _Form(write_xml, read_xml),
    ".h5": _Form(write_hdf5, read_hdf5),
    ".bin": _Form(write_binary, read_binary),
}


def save(value: Any, path: str | os.PathLike[str], limits: Limits = FILE_LIMITS) -> None:
    """Write a Hash, a Schema or any other value into a file: .json, .xml, .h5 or .bin.

    The file appears complete or not at all: what was there stays until all is on the disk.

    Raises:
        InvalidNameError: the ending names no form.
        WrongTypeError: it holds something that cannot be stored; the error names its path.
        LimitExceededError: it is larger or deeper than `limits` allow.
        OSError: the file cannot be written.
    """
    target = Path(path).resolve()
    form = _form_of(target)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("x+b") as file:
            _keep_mode(target, file)
            form.write(value, file, limits)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_path(target.parent)


def load(path: str | os.PathLike[str], limits: Limits = FILE_LIMITS) -> Any:
    """Return the value of a file that `save` wrote; arrays are read-only.

    Raises:
        InvalidNameError: the ending names no form.
        MalformedMessageError: the file is none of ours or damaged; the error says where.
        LimitExceededError: it is larger or deeper than `limits` allow.
        VersionMismatchError: a later version wrote it.
        OSError: there is no such file, or it cannot be read.
    """
    place = Path(path)
    form = _form_of(place)
    try:
        with place.open("rb") as file:
            return form.read(file, limits)
    except (MalformedMessageError, LimitExceededError, VersionMismatchError) as error:
        raise type(error)(f"'{place}': {error.message}", remedy=error.remedy) from None


def _form_of(path: Path) -> _Form:
    form = FORMS.get(path.suffix.lower())
    if form is None:
        raise InvalidNameError(
            f"the ending of '{path.name}' names no form of values",
            key=path.name,
            remedy=f"use {', '.join(FORMS)}",
        )
    return form


def _keep_mode(target: Path, file: BinaryIO) -> None:
    """Give a file that replaces another the same permissions."""
    with contextlib.suppress(FileNotFoundError):
        os.fchmod(file.fileno(), target.stat().st_mode & 0o7777)
