"""Users of the host, asked by its own PAM."""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from pykarabo.data import AccessLevel
from pykarabo.errors import ProviderUnavailableError
from pykarabo_services.accounts.model import Person, RoleMap
from pykarabo_services.accounts.pam import PamProvider

_SERVICES: Final = Path("/etc/pam.d")
_ROLES: Final = RoleMap({}, {}, AccessLevel.USER)
_SCRIPT: Final = """#!/bin/sh
read -r password
[ "$password" = "known to the host" ]
"""
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not _SERVICES.is_dir(),
    reason="only root can add a service to /etc/pam.d, and there must be one",
)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[[str], PamProvider]]:
    """Return what makes a service of PAM that asks a script."""
    made: list[Path] = []

    def make(script: str) -> PamProvider:
        program = tmp_path / f"check{len(made)}"
        program.write_text(script)
        program.chmod(0o755)
        path = _SERVICES / f"pykarabo-test-{secrets.token_hex(6)}"
        path.write_text(
            f"auth [success=1 default=ignore] pam_exec.so expose_authtok quiet {program}\n"
            "auth requisite pam_deny.so\nauth required pam_permit.so\n"
            "account required pam_permit.so\n"
        )
        made.append(path)
        return PamProvider(name="host", roles=_ROLES, service=path.name)

    yield make
    for path in made:
        path.unlink()


def test_who_has_the_hosts_password_is_known_with_his_groups(
    service: Callable[[str], PamProvider],
) -> None:
    provider = service(_SCRIPT)
    person = asyncio.run(provider.check("root", "known to the host"))
    assert person is not None
    assert person == Person("root", person.groups)
    assert "root" in person.groups
    assert asyncio.run(provider.check("root", "something else")) is None


def test_a_service_that_hangs_is_ended(service: Callable[[str], PamProvider]) -> None:
    provider = service("#!/bin/sh\nexec sleep 30\n")

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await provider.check("root", "known to the host")

    began_s = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - began_s < 3


def test_a_service_that_there_is_not_lets_nobody_in() -> None:
    provider = PamProvider(name="host", roles=_ROLES, service=f"none-{secrets.token_hex(4)}")
    with contextlib.suppress(ProviderUnavailableError):  # what 'other' says is the host's matter
        assert asyncio.run(provider.check("root", "known to the host")) is None
