"""The file of those who know users besides us: ``providers.yaml`` in the folder of the accounts.

::

    - name: facility            # what 'pykarabo login --provider' calls it
      kind: ldap
      url: ldaps://ldap.example.org
      user: "uid={user},ou=people,dc=example,dc=org"
      groups: "ou=groups,dc=example,dc=org"
      roles: {operators: operator, staff: user}
      may_become: {operators: expert}
    - name: sso
      kind: oidc
      issuer: https://sso.example.org/realms/facility
      client_id: pykarabo
      roles: {beamline-staff: operator}
    - name: host
      kind: pam
      service: login
      roles: {wheel: administrator}
      everybody: user
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pykarabo.data import AccessLevel
from pykarabo.errors import BadConfigurationError, BadInputError, did_you_mean
from pykarabo.trust import read_private
from pykarabo_services.accounts.model import LOCAL, AuthProvider, RoleMap, role_named

PROVIDERS_FILE: Final = "providers.yaml"
_COMMON: Final = frozenset({"name", "kind", "roles", "may_become", "everybody"})


def read_providers(path: Path) -> Sequence[AuthProvider]:
    """Return the providers of a file, in its order; none where there is no file.

    Raises:
        BadConfigurationError: it cannot be read, or means nothing.
    """
    if not path.exists():
        return ()
    import yaml

    try:
        # It may hold the secret of a client.
        content: Any = yaml.safe_load(read_private(path, "the file of the providers"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadConfigurationError(
            f"{path} cannot be read: {error}", remedy="correct it"
        ) from None
    if not isinstance(content, list):
        raise _wrong(path, 0, "this is no list of providers")
    found = [_provider(path, number, item) for number, item in enumerate(content, 1)]
    names = [provider.name for provider in found]
    if len({LOCAL, *names}) <= len(names):
        raise _wrong(path, 0, f"names must differ, also from '{LOCAL}'")
    return found


def _provider(path: Path, number: int, item: Any) -> AuthProvider:
    if not isinstance(item, dict) or not all(isinstance(key, str) for key in item):
        raise _wrong(path, number, "this is no map")
    kind, name = str(item.get("kind")), item.get("name")
    if not isinstance(name, str) or not name:
        raise _wrong(path, number, "it has no name")
    if kind not in _KINDS:
        raise _wrong(path, number, f"'{kind}' is none of the kinds {', '.join(_KINDS)}")
    make, needed, optional = _KINDS[kind]
    given = {key: value for key, value in item.items() if key not in _COMMON}
    for key in given:
        if key not in needed | optional:
            known = needed | optional | _COMMON
            hint = did_you_mean(key, known) or f"it may have {', '.join(sorted(known))}"
            raise _wrong(path, number, f"'{key}' means nothing here; {hint}")
    missing = sorted(needed - given.keys())
    if missing:
        raise _wrong(path, number, f"'{missing[0]}' is missing")
    try:
        return make(name=name, roles=_roles(item), **given)
    except (BadInputError, TypeError, ValueError) as error:
        raise _wrong(path, number, str(error)) from None


def _roles(item: Mapping[str, Any]) -> RoleMap:
    everybody = item.get("everybody")
    roles, may_become = _levels(item, "roles"), _levels(item, "may_become")
    if not roles and everybody is None:
        raise ValueError("neither 'roles' nor 'everybody' gives anybody a role")
    return RoleMap(roles, may_become, None if everybody is None else role_named(str(everybody)))


def _levels(item: Mapping[str, Any], key: str) -> dict[str, AccessLevel]:
    content = item.get(key) or {}
    if not isinstance(content, dict):
        raise ValueError(f"'{key}' is no map of groups to roles")
    return {str(group): role_named(str(role)) for group, role in content.items()}


def _wrong(path: Path, number: int, problem: str) -> BadConfigurationError:
    place = f"provider {number}" if number else "its list"
    return BadConfigurationError(
        f"{path}, {place}: {problem}", remedy="'docs/how-to/manage-users.md' shows one of each kind"
    )


def _ldap(**settings: Any) -> AuthProvider:
    from pykarabo_services.accounts.ldap import LdapProvider

    return LdapProvider(**settings)


def _oidc(**settings: Any) -> AuthProvider:
    from pykarabo_services.accounts.oidc import OidcProvider

    return OidcProvider(**settings)


def _pam(**settings: Any) -> AuthProvider:
    from pykarabo_services.accounts.pam import PamProvider

    return PamProvider(**settings)


_KINDS: Final[Mapping[str, tuple[Callable[..., AuthProvider], frozenset[str], frozenset[str]]]] = {
    "ldap": (
        _ldap,
        frozenset({"url", "user", "groups"}),
        frozenset({"group_filter", "group_name", "ca_file", "start_tls", "plain"}),
    ),
    "oidc": (
        _oidc,
        frozenset({"issuer", "client_id"}),
        frozenset({"client_secret", "scope", "user_claim", "groups_claim"}),
    ),
    "pam": (_pam, frozenset({"service"}), frozenset()),
}
