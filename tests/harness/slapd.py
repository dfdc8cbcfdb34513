"""A real OpenLDAP server on a port of its own, with users and groups, over TLS and without."""

import contextlib
import datetime
import ipaddress
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .ports import free_ports

HOST: Final = "127.0.0.1"
BASE: Final = "dc=example,dc=org"
USER: Final = f"uid={{user}},ou=people,{BASE}"
GROUPS: Final = f"ou=groups,{BASE}"
PASSWORD: Final = "kept in the directory"
_START_S: Final = 20.0
_END_S: Final = 10.0
_CONFIG: Final = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
TLSCACertificateFile {folder}/server.pem
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
directory {folder}/data
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
"""
_ENTRIES: Final = """
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups
"""


def _user(name: str) -> str:
    return f"""
dn: uid={name},ou=people,{BASE}
objectClass: inetOrgPerson
uid: {name}
cn: {name}
sn: {name}
userPassword: {PASSWORD}
"""


def _group(name: str, member: str) -> str:
    return f"""
dn: cn={name},{GROUPS}
objectClass: groupOfNames
cn: {name}
member: uid={member},ou=people,{BASE}
"""


class Slapd:
    """Runs slapd with `ada` (operators, staff), `bob` (staff) and `eve` (no group).

    Attributes:
        url, safe_url: where it answers, without TLS and with it.
        ca_file: the certificate to trust.
    """

    def __init__(self, folder: Path) -> None:
        program = shutil.which("slapd", path="/usr/sbin:/usr/bin")
        assert program is not None, "slapd is missing: apt-get install slapd (scripts/test does)"
        (folder / "data").mkdir()
        self.ca_file = folder / "server.pem"
        _make_certificate(folder)
        config = folder / "slapd.conf"
        config.write_text(_CONFIG.format(folder=folder))
        entries = _ENTRIES + "".join(map(_user, ("ada", "bob", "eve")))
        entries += _group("operators", "ada") + _group("staff", "ada").rstrip("\n")
        entries += f"\nmember: uid=bob,ou=people,{BASE}\n"
        subprocess.run(
            [str(Path(program).parent / "slapadd"), "-f", str(config)],
            input=entries,
            text=True,
            check=True,
            capture_output=True,
        )
        ports = free_ports(2)
        self.url, self.safe_url = f"ldap://{HOST}:{ports[0]}", f"ldaps://{HOST}:{ports[1]}"
        self._process = subprocess.Popen(
            [program, "-f", str(config), "-h", f"{self.url} {self.safe_url}", "-d", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._await(ports)

    def _await(self, ports: list[int]) -> None:
        end_s = time.monotonic() + _START_S
        for port in ports:
            while True:
                with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1.0):
                    break
                assert time.monotonic() < end_s, f"slapd did not start ({self._process.poll()})"
                time.sleep(0.02)

    def freeze(self) -> None:
        """Let it answer no more; the kernel still takes connections for it."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        self.thaw()
        self._process.terminate()
        self._process.wait(_END_S)


def _make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "server.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
