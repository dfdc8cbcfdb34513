"""Kinds, uuids and names of items, and how large they may be."""

import re
import uuid as uuids
from collections.abc import Collection
from enum import StrEnum
from typing import Final

from pykarabo.client import check_device_id
from pykarabo.errors import InvalidNameError, WrongTypeError

MAX_NAME: Final = 128
MAX_FOLDER: Final = 256
MAX_DESCRIPTION: Final = 4_096
MAX_TEXT: Final = 4 * 2**20
"""Bytes of a scene, macro or configuration; two of them fit into one message."""
MAX_ITEMS: Final = 10_000
"""Of one project or one message: a facility of thousands of devices is made of many projects."""
MAX_SAVE: Final = 50_000
"""Items of one save: several projects, which are imported all or none."""
MAX_ATTRIBUTES: Final = 8 * 2**20
"""Bytes of all names and descriptions of a project, so that the list of its items can be read."""

_NAME: Final = re.compile(r"[^\x00-\x1f\x7f/\\.\s][^\x00-\x1f\x7f/\\]*")
_CONTROL: Final = re.compile(r"[\ud800-\udfff\x00]")


class Kind(StrEnum):
    """What an item is."""

    PROJECT = "project"
    SUBPROJECT = "subproject"
    SCENE = "scene"
    MACRO = "macro"
    SERVER = "server"
    DEVICE = "device"
    CONFIGURATION = "configuration"


def new_uuid() -> str:
    """Return the uuid of a new item."""
    return str(uuids.uuid4())


def check_uuid(value: object) -> str:
    """Return `value` if it is a uuid as we write it.

    Raises:
        WrongTypeError: it is none.
    """
    try:
        if isinstance(value, str) and str(uuids.UUID(value)) == value:
            return value
    except ValueError:
        pass
    raise WrongTypeError(
        f"{str(value)[:64]!r} is no uuid", remedy="write 36 lower-case digits and '-'"
    )


def check_name(name: str, kind: Kind) -> str:
    """Return a name that an item may have.

    Names of scenes and macros become names of files where a project is exported.

    Raises:
        InvalidNameError: it is too long, or has characters that names of files cannot have.
    """
    if kind in (Kind.SERVER, Kind.DEVICE):
        return check_device_id(name)
    if len(name) <= MAX_NAME and _NAME.fullmatch(name) and name == name.rstrip():
        encode(name, "the name")
        return name
    raise InvalidNameError(
        f"'{name[:MAX_NAME]}' is no name for a {kind}",
        remedy=f"use up to {MAX_NAME} characters, without '/', '\\' and a '.' at the beginning",
    )


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name that is not taken: this one, or the first with a number behind it."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name[: MAX_NAME - 8].rstrip()} {number}"
    return free


def check_folder(folder: str) -> str:
    """Return a folder's path that a project may lie in; empty for the top.

    Raises:
        InvalidNameError: a part of it is no name.
    """
    if folder and len(folder) > MAX_FOLDER:
        raise InvalidNameError(
            f"a folder's path of {len(folder)} characters", remedy=f"use up to {MAX_FOLDER}"
        )
    for part in folder.split("/") if folder else ():
        check_name(part, Kind.PROJECT)
    return folder


def encode(text: str, what: str) -> bytes:
    """Return a text as it is stored.

    Raises:
        WrongTypeError: it holds what no database and no file can.
    """
    if _CONTROL.search(text):
        raise WrongTypeError(
            f"{what} holds a NUL or half of a character", remedy="remove it: it is no text"
        )
    return text.encode()
