"""What can be believed: signed statements, and the files of the keys that sign them.

Nothing here touches the network, and time is an argument.
"""

from ._grant import GRANT_LIFE_S, Grant, GrantList, MemberRole, Revocation
from ._invitation import JoinString, code_digest, make_code
from ._issuers import ACCOUNTS_ID, Issuers, load_issuers, make_issuers, serves_accounts
from ._private_file import make_private, read_private, replace_private
from ._revocations import NO_REVOCATIONS, Revocations, read_revocations, sign_revocations
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
from ._token import (
    MAX_DELEGATED_S,
    MAX_TOKEN_S,
    Token,
    peek_token,
    read_token,
    sign_token,
)

__all__ = [
    "ACCOUNTS_ID",
    "CLOCK_TOLERANCE_S",
    "GRANT_LIFE_S",
    "MAX_DELEGATED_S",
    "MAX_TOKEN_S",
    "NO_REVOCATIONS",
    "Grant",
    "GrantList",
    "Issuers",
    "JoinString",
    "MemberRole",
    "Revocation",
    "Revocations",
    "SigningKey",
    "Statement",
    "Token",
    "code_digest",
    "load_issuers",
    "load_signing_key",
    "make_code",
    "make_issuers",
    "make_private",
    "make_signing_key",
    "peek_token",
    "read_private",
    "read_revocations",
    "read_token",
    "replace_private",
    "serves_accounts",
    "sign",
    "sign_revocations",
    "sign_token",
    "told_time",
    "verify",
]
