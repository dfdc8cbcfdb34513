"""What can be believed: signed statements, and the files of the keys that sign them.

Nothing here touches the network, and time is an argument.
"""

from ._private_file import make_private, read_private, replace_private
from ._signing import (
    CLOCK_TOLERANCE_S,
    SigningKey,
    Statement,
    load_signing_key,
    make_signing_key,
    sign,
    verify,
)

__all__ = [
    "CLOCK_TOLERANCE_S",
    "SigningKey",
    "Statement",
    "load_signing_key",
    "make_private",
    "make_signing_key",
    "read_private",
    "replace_private",
    "sign",
    "verify",
]
