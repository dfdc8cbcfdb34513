"""What can be believed: signed statements, and the files of the keys that sign them.

Nothing here touches the network, and time is an argument.
"""

from ._grant import GRANT_LIFE_S, Grant, GrantList, MemberRole, Revocation
from ._invitation import JoinString, code_digest, make_code
from ._private_file import make_private, read_private, replace_private
from ._signing import (
    CLOCK_TOLERANCE_S,
    SigningKey,
    Statement,
    load_signing_key,
    make_signing_key,
    sign,
    told_time,
    verify,
)

__all__ = [
    "CLOCK_TOLERANCE_S",
    "GRANT_LIFE_S",
    "Grant",
    "GrantList",
    "JoinString",
    "MemberRole",
    "Revocation",
    "SigningKey",
    "Statement",
    "code_digest",
    "load_signing_key",
    "make_code",
    "make_private",
    "make_signing_key",
    "read_private",
    "replace_private",
    "sign",
    "told_time",
    "verify",
]
