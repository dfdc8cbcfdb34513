"""The process that asks PAM about one password; see `pam`.

It reads a question as JSON, and writes the answer: whether it fits and the user's groups, or what
the problem is.
"""

import grp
import json
import os
import pwd
import sys
from typing import Any, Final

_WRONG: Final = frozenset({6, 7, 8, 10, 11, 12, 13})
"""PAM's errors that say no: denied, wrong, credentials, unknown user, too often, expired."""


def main() -> None:
    """Answer one question."""
    question = json.load(sys.stdin)
    json.dump(_answer(question["service"], question["user"], question["password"]), sys.stdout)


def _answer(service: str, user: str, password: str) -> dict[str, Any]:
    import pamela

    try:
        pamela.authenticate(user, password, service=service)
        pamela.check_account(user, service=service)
    except pamela.PAMError as error:
        if error.errno in _WRONG:
            return {"fits": False, "groups": []}
        return {"problem": str(error)}
    return {"fits": True, "groups": _groups(user)}


def _groups(user: str) -> list[str]:
    try:
        numbers = os.getgrouplist(user, pwd.getpwnam(user).pw_gid)
    except KeyError:  # known to PAM and not to the host
        return []
    return [_name(number) for number in numbers]


def _name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


if __name__ == "__main__":
    main()
