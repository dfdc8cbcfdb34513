"""The code with which the first administrator is made; there is no password to begin with.

Whoever turns accounts on sees it once. Only what checks it is kept.
"""

import hashlib
import hmac
import json
import secrets
from pathlib import Path
from typing import Any, Final

from pykarabo.errors import BadConfigurationError, DeniedError
from pykarabo.trust import read_private, replace_private

CODE_S: Final = 24 * 3_600.0
_FILE: Final = "first.code"
_ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without what is easily mistaken for something else."""
_GROUPS: Final = 5
_GROUP: Final = 4


def new_code(folder: Path, now_s: float) -> str:
    """Return a new code, which replaces the one before; raises `BadConfigurationError`."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
    code = "-".join(groups)
    content = {"digest": _digest(code), "expires_s": now_s + CODE_S}
    try:
        replace_private(folder / _FILE, json.dumps(content).encode())
    except OSError as error:
        raise BadConfigurationError(
            f"{folder} cannot be written: {error.strerror}", remedy="make it writable"
        ) from None
    return code


def require_code(folder: Path, code: str, now_s: float) -> None:
    """Raise `DeniedError` unless this is the code, and its time is not over."""
    try:
        stored: Any = json.loads(read_private(folder / _FILE, "the first code"))
        fits = hmac.compare_digest(str(stored["digest"]), _digest(code))
        fits = fits and now_s < float(stored["expires_s"])
    except (OSError, ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise DeniedError(
            "this is not the code, or it was used, or its time is over",
            remedy="where the service runs, 'pykarabo user init' shows a new one",
        )


def forget_code(folder: Path, code: str, now_s: float) -> None:
    """Let a code be used no more; raises `DeniedError` if somebody else was faster."""
    require_code(folder, code, now_s)
    (folder / _FILE).unlink(missing_ok=True)


def _digest(code: str) -> str:
    """Return what checks a code: as it has 100 random bits, a fast hash will do."""
    plain = code.upper().replace("-", "").replace(" ", "")
    return hashlib.sha256(plain.encode()).hexdigest()
