"""An OpenID Connect provider that speaks HTTP and signs real tokens: the device flow (RFC 8628)."""

import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

HOST: Final = "127.0.0.1"
CLIENT: Final = "pykarabo"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_BITS: Final = 2048


class OidcServer:
    """Knows one user, who logs in when the test says so.

    Attributes:
        claims: what its tokens say besides what they must.
        key: signs them; its public half is what it tells of itself.
        frozen: it takes requests, and answers none.
    """

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, _BITS)
        self.signs_with: Any = self.key
        self.algorithm = "RS256"
        self.claims: dict[str, Any] = {"preferred_username": "Ada", "groups": ["staff"]}
        self.frozen = False
        self._thawed = threading.Event()
        self._waiting: list[threading.Thread] = []
        self._approved: dict[str, str] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*server.get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                self._answer(*server.post(self.path, form))

            def _answer(self, status: int, content: Any) -> None:
                if server.frozen:
                    server.wait_thawed()
                    return
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
                """Write nothing."""

        self._http = ThreadingHTTPServer((HOST, 0), Handler)
        self.issuer = f"http://{HOST}:{self._http.server_address[1]}/realm"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    def wait_thawed(self) -> None:
        """Wait as a server does that hangs."""
        self._waiting.append(threading.current_thread())
        self._thawed.wait(60)

    def freeze(self) -> None:
        """Take requests, and answer none."""
        self._thawed.clear()
        self.frozen = True

    def thaw(self) -> None:
        """Answer again; what came meanwhile has no answer."""
        self.frozen = False
        self._thawed.set()
        for thread in self._waiting:
            thread.join()
        self._waiting.clear()

    def get(self, path: str) -> tuple[int, Any]:
        """Answer what it says of itself."""
        if path == "/realm/.well-known/openid-configuration":
            return 200, {
                "issuer": self.issuer,
                "device_authorization_endpoint": f"{self.issuer}/device",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
            }
        if path == "/realm/keys":
            public = json.loads(RSAAlgorithm.to_jwk(self.key.public_key()))
            return 200, {"keys": [{**public, "kid": "1", "use": "sig", "alg": "RS256"}]}
        return 404, {"error": "not_found"}

    def post(self, path: str, form: dict[str, str]) -> tuple[int, Any]:
        """Begin a login, or tell how it goes."""
        if form.get("client_id") != CLIENT:
            return 401, {"error": "invalid_client"}
        if path == "/realm/device":
            code = secrets.token_hex(8)
            self._approved[code] = "authorization_pending"
            return 200, {
                "device_code": code,
                "user_code": "WDJB-MJHT",
                "verification_uri": f"{self.issuer}/go",
                "expires_in": 60,
                "interval": 0.05,
            }
        if path != "/realm/token" or form.get("grant_type") != _GRANT:
            return 400, {"error": "unsupported_grant_type"}
        state = self._approved.get(form.get("device_code", ""), "expired_token")
        return (200, {"id_token": self._token()}) if not state else (400, {"error": state})

    def _token(self) -> str:
        now = int(time.time())
        told = {"iss": self.issuer, "aud": CLIENT, "sub": "1", "iat": now, "exp": now + 60}
        return jwt.encode(
            told | self.claims, self.signs_with, algorithm=self.algorithm, headers={"kid": "1"}
        )

    def decide(self, error: str = "") -> None:
        """Let everybody in who has begun, or tell him why not."""
        self._approved = dict.fromkeys(self._approved, error)

    def close(self) -> None:
        """End it."""
        self.thaw()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
