"""Which role a client asks for."""

import pytest

from pykarabo.client import ROLE_VARIABLE, asked_role
from pykarabo.data import AccessLevel
from pykarabo.errors import BadConfigurationError


@pytest.mark.parametrize(
    ("given", "in_environment", "expected"),
    [
        (None, None, AccessLevel.ADMINISTRATOR),
        (None, "", AccessLevel.ADMINISTRATOR),
        (None, " operator\n", AccessLevel.OPERATOR),
        ("Expert", "observer", AccessLevel.EXPERT),
        (AccessLevel.OBSERVER, "expert", AccessLevel.OBSERVER),
    ],
)
def test_an_argument_goes_before_the_environment(
    given: AccessLevel | str | None,
    in_environment: str | None,
    expected: AccessLevel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if in_environment is None:
        monkeypatch.delenv(ROLE_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(ROLE_VARIABLE, in_environment)
    assert asked_role(given) is expected


@pytest.mark.parametrize("name", ["boss", "4", "operator,expert", "observers"])
def test_a_name_that_is_no_role_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadConfigurationError, match="observer, user, operator, expert"):
        asked_role(name)
    monkeypatch.setenv(ROLE_VARIABLE, name)
    with pytest.raises(BadConfigurationError, match=r"\$PYKARABO_ROLE"):
        asked_role()
