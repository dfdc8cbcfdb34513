"""Users of an OpenID Connect provider, who log in with a browser: the device flow (RFC 8628).

The user sees an address and a code, on a terminal without a browser as well. Who he is stands in a
token that the provider signs; signature, issuer, audience and time are checked with PyJWT.
"""

import time
from typing import TYPE_CHECKING, Any, Final

from pykarabo.errors import BadConfigurationError, DeniedError, ProviderUnavailableError
from pykarabo_services.accounts.model import DeviceLogin, Person, RoleMap

if TYPE_CHECKING:
    import httpx

_ANSWER_S: Final = 3.0
_KNOWN_S: Final = 600.0
"""What a provider says of itself, its keys included, is asked anew this often."""
_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_ALGORITHMS: Final = ["RS256", "PS256", "ES256", "EdDSA"]
"""Signatures with a key that only the provider has; with `none` or a shared one anybody could."""
_PENDING: Final = frozenset({"authorization_pending", "slow_down"})
_REFUSED: Final = frozenset({"access_denied", "expired_token", "invalid_grant"})
_LOOPBACK: Final = ("http://127.0.0.1", "http://[::1]", "http://localhost")
_CLOCK_S: Final = 60
_ENDPOINTS: Final = ("device_authorization_endpoint", "token_endpoint", "jwks_uri")


class OidcProvider:
    """Asks an OpenID Connect provider; meets `model.AuthProvider`.

    Args:
        issuer: its address.
        client_id: how it calls this domain.
        client_secret: where it wants one.
        user_claim: what in its token is the user's name.
        groups_claim: what in it lists his groups.

    Raises:
        BadConfigurationError: nobody could tell that it is the provider who answers.
    """

    asks_password = False

    def __init__(
        self,
        *,
        name: str,
        roles: RoleMap,
        issuer: str,
        client_id: str,
        client_secret: str = "",
        scope: str = "openid profile",
        user_claim: str = "preferred_username",
        groups_claim: str = "groups",
    ) -> None:
        _require_safe(issuer)
        self.name = name
        self.roles = roles
        self._issuer = issuer.rstrip("/")
        self._client = {"client_id": client_id}
        if client_secret:
            self._client["client_secret"] = client_secret
        self._scope = scope
        self._user_claim, self._groups_claim = user_claim, groups_claim
        self._known: dict[str, Any] = {}
        self._known_until = 0.0

    async def aclose(self) -> None:
        """Nothing is kept open."""

    async def check(self, user: str, password: str) -> Person | None:
        """Refuse: users log in with a browser."""
        del user, password
        raise BadConfigurationError(
            f"users of '{self.name}' log in with a browser",
            remedy=f"pykarabo login --provider {self.name}",
        )

    async def begin(self) -> DeviceLogin:
        """Ask for an address and a code."""
        async with self._http() as http:
            about = await self._about(http)
            data = {**self._client, "scope": self._scope}
            status, told = await self._post(http, about["device_authorization_endpoint"], data)
        if status != 200:  # noqa: PLR2004 - HTTP: well
            raise self._unavailable(f"it refuses this domain: {told.get('error', status)}")
        try:
            return DeviceLogin(
                str(told["device_code"]),
                str(told.get("verification_uri_complete") or told["verification_uri"]),
                str(told["user_code"]),
                float(told.get("interval", 5)),
                float(told["expires_in"]),
            )
        except (KeyError, TypeError, ValueError):
            raise self._unavailable("it does not say where to log in") from None

    async def finish(self, handle: str) -> Person | None:
        """Return who has logged in, or None as long as nobody has."""
        async with self._http() as http:
            about = await self._about(http)
            data = {**self._client, "grant_type": _GRANT, "device_code": handle}
            status, told = await self._post(http, about["token_endpoint"], data)
        if status == 200:  # noqa: PLR2004 - HTTP: well
            return self._person(told.get("id_token"), about)
        error = str(told.get("error", status))
        if error in _PENDING:
            return None
        if error in _REFUSED:
            raise DeniedError(f"'{self.name}' lets you not in: {error}", remedy="begin anew")
        raise self._unavailable(error)

    def _person(self, id_token: object, about: dict[str, Any]) -> Person:
        import jwt

        try:
            keys = jwt.PyJWKSet.from_dict(about["keys"])
            header = jwt.get_unverified_header(str(id_token))
            key = keys[header["kid"]] if "kid" in header else keys.keys[0]
            claims = jwt.decode(
                str(id_token),
                key,
                algorithms=_ALGORITHMS,
                audience=self._client["client_id"],
                issuer=about["issuer"],
                leeway=_CLOCK_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
            user, groups = claims[self._user_claim], claims.get(self._groups_claim, [])
        except (jwt.PyJWTError, KeyError, IndexError) as error:
            self._known_until = 0.0  # its keys may be new
            raise DeniedError(
                f"what '{self.name}' says of the user cannot be believed: {error}",
                remedy="try again; if it stays so, look at issuer, client_id and user_claim",
            ) from None
        if not isinstance(user, str) or not isinstance(groups, list):
            raise DeniedError(
                f"'{self.name}' does not name the user", remedy="look at user_claim, groups_claim"
            )
        return Person(user, frozenset(map(str, groups)))

    # -- asking ---------------------------------------------------------------------------------

    def _http(self) -> "httpx.AsyncClient":
        import httpx

        return httpx.AsyncClient(timeout=_ANSWER_S, follow_redirects=False)

    async def _about(self, http: "httpx.AsyncClient") -> dict[str, Any]:
        """Return what the provider says of itself, and its keys."""
        if time.monotonic() < self._known_until:
            return self._known
        about = await self._get(http, f"{self._issuer}/.well-known/openid-configuration")
        if str(about.get("issuer", "")).rstrip("/") != self._issuer:
            raise self._unavailable(f"it calls itself {about.get('issuer')!r}")
        for name in _ENDPOINTS:
            if not isinstance(about.get(name), str):
                raise self._unavailable(f"it has no {name}")
            _require_safe(about[name])
        about["keys"] = await self._get(http, about["jwks_uri"])
        self._known, self._known_until = about, time.monotonic() + _KNOWN_S
        return about

    async def _get(self, http: "httpx.AsyncClient", url: str) -> dict[str, Any]:
        import httpx

        try:
            answer = await http.get(url)
            answer.raise_for_status()
            told: Any = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise self._unavailable(_reason(error)) from None
        if not isinstance(told, dict):
            raise self._unavailable("it says nothing of itself")
        return told

    async def _post(
        self, http: "httpx.AsyncClient", url: str, data: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        import httpx

        try:
            answer = await http.post(url, data=data)
            told: Any = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise self._unavailable(_reason(error)) from None
        return answer.status_code, told if isinstance(told, dict) else {}

    def _unavailable(self, reason: str) -> ProviderUnavailableError:
        return ProviderUnavailableError(
            f"'{self.name}' ({self._issuer}) cannot tell: {reason}",
            remedy="try again; users with a password of this domain can log in",
        )


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _require_safe(url: str) -> None:
    """Refuse an address where anybody on the way could answer."""
    if not url.startswith(("https://", *_LOOPBACK)):
        raise BadConfigurationError(
            f"{url} is no address that proves who answers", remedy="use https://"
        )
