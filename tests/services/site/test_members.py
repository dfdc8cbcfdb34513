"""Members of a site speak to each other, and nobody else is spoken to."""

import contextlib
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import zmq

from pykarabo.client import login_file, own_proofs
from pykarabo.device import login_of_host
from pykarabo.device._accounts import accounts_of, issuers_of
from pykarabo.errors import (
    BadConfigurationError,
    BusyError,
    ClockError,
    DeniedError,
    DuplicateDeviceError,
    ExpiredCredentialError,
    NotConnectedError,
)
from pykarabo.transport import (
    Site,
    SiteLink,
    SystemClock,
    domain_name,
    joined_site,
    make_context,
)
from pykarabo.transport._self_test import stranger
from pykarabo.transport._site_watch import SiteWatch
from pykarabo.transport._sockets import DOWN_EVENTS, make_dealer, stop_monitor
from pykarabo.trust import JoinString, MemberRole, replace_private
from pykarabo_services.accounts.service import _vouch
from pykarabo_services.site.joining import change_key, join_site, make_site
from pykarabo_services.site.service import SiteService
from pykarabo_services.site.store import SiteStore
from tests.harness.wiretap import Wiretap

from .conftest import HOST, Hosts

_TRIES: Final = 3
_FLOOD_S: Final = 20.0
_TOLD_S: Final = 2.0
"""Whoever is kept out knows why after this."""
DAY_S: Final = 86_400.0
JOIN_ANEW: Final = (
    "ask the site's administrator for an invitation ('pykarabo site invite') and join anew"
)


class Clock:
    """A clock that can be set."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(hosts: Hosts, clock: Clock) -> Iterator[JoinString]:
    """Serve a site on ``a`` from a thread of the test, and work on ``b``."""
    hosts.be("a")
    join_string = make_site(None, HOST, hosts.port)
    with SiteService(SiteStore(), now_s=clock):
        hosts.be("b")
        yield join_string


def _invite(hosts: Hosts, role: MemberRole = MemberRole.SERVER, ttl_s: float = 900.0) -> str:
    hosts.be("a")
    with SiteStore().changed() as state:
        code = state.invite(role, ttl_s=ttl_s, now_s=time.time())
    hosts.be("b")
    return code


def _within(seconds: float, condition: Callable[[], bool]) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not come true in time"
        time.sleep(0.01)
    return time.monotonic() - started


# -- joining --------------------------------------------------------------------------------------


def test_only_the_public_half_of_a_key_leaves_the_host_that_joins(
    hosts: Hosts, service: JoinString
) -> None:
    answer = join_site(None, service, _invite(hosts), name="ops@b")
    site = Site()
    assert answer["role"] == "server"
    assert site.require_own().name == "ops@b"
    secret = site.pair.secret.hex()
    assert secret in (site.folder / "key").read_text()
    hosts.be("a")
    kept = [path.read_bytes() for path in SiteStore().folder.iterdir() if path.is_file()]
    assert not any(secret.encode() in content or site.pair.secret in content for content in kept)


@pytest.mark.parametrize("name", ["key", "member.json", "grants"])
def test_X11_what_a_member_keeps_is_for_its_user_alone(
    hosts: Hosts, service: JoinString, name: str
) -> None:
    join_site(None, service, _invite(hosts), name="ops@b")
    path = Site().folder / name
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(BadConfigurationError, match=rf"{path}.*its owner alone .mode 640"):
        Site().require_own()


@pytest.mark.usefixtures("service")
def test_X11_what_the_authority_keeps_is_for_its_user_alone(hosts: Hosts) -> None:
    hosts.be("a")
    files = [path for path in SiteStore().folder.iterdir() if path.name != "lock"]
    assert {path.name for path in files} >= {"site.key", "service.key", "state.json"}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_X2_an_expired_invitation_is_told_as_such(hosts: Hosts, service: JoinString) -> None:
    code = _invite(hosts, ttl_s=0.01)
    time.sleep(0.02)  # the invitation's own time
    started = time.monotonic()
    with pytest.raises(DeniedError, match=r"invitation has expired: it was valid until .* UTC"):
        join_site(None, service, code)
    assert time.monotonic() - started < _TOLD_S
    assert not Site().joined


def test_an_invitation_is_used_up(hosts: Hosts, service: JoinString) -> None:
    code = _invite(hosts)
    join_site(None, service, code, name="ops@b")
    hosts.be("c")
    with pytest.raises(DeniedError, match="this invitation was used by 'ops@b'"):
        join_site(None, service, code)


def test_whoever_guesses_codes_must_wait(hosts: Hosts, service: JoinString, clock: Clock) -> None:
    for _ in range(5):
        with pytest.raises(DeniedError, match="is no invitation to this site"):
            join_site(None, service, "AAAA-BBBB-CCCC-DDDD")
    with pytest.raises(BusyError, match=r"5 wrong codes came from .*127.0.0.1 within a minute"):
        join_site(None, service, _invite(hosts))
    clock.ahead_s = 60.0
    join_site(None, service, _invite(hosts), name="ops@b")


def test_nobody_takes_the_name_of_a_member(hosts: Hosts, service: JoinString) -> None:
    join_site(None, service, _invite(hosts), name="ops@b")
    code = _invite(hosts)
    hosts.be("c")
    with pytest.raises(DuplicateDeviceError, match="pykarabo site revoke ops@b"):
        join_site(None, service, code, name="ops@b")
    join_site(None, service, code, name="ops@c")


@pytest.mark.parametrize(("ahead_s", "told"), [(DAY_S, "behind"), (-DAY_S, "ahead of")])
def test_a_host_whose_clock_is_a_day_off_is_told_so_and_keeps_its_invitation(
    hosts: Hosts, service: JoinString, clock: Clock, ahead_s: float, told: str
) -> None:
    code = _invite(hosts, ttl_s=DAY_S)
    clock.ahead_s = ahead_s
    with pytest.raises(ClockError, match=rf"the clock of host '.*' is 1 d 0 h {told} the site's"):
        join_site(None, service, code)
    clock.ahead_s = 0.0
    join_site(None, service, code, name="ops@b")


def test_X2_a_service_with_another_key_is_not_told_the_code(
    hosts: Hosts, service: JoinString
) -> None:
    other = service._replace(key=stranger().public)
    started = time.monotonic()
    with pytest.raises(NotConnectedError, match="does not have the key of the site that you were"):
        join_site(None, other, _invite(hosts))
    assert time.monotonic() - started < _TOLD_S


def test_a_service_that_is_not_there_is_told_of(hosts: Hosts) -> None:
    nobody = JoinString(HOST, hosts.port, bytes(32))
    hosts.be("b")
    started = time.monotonic()
    with pytest.raises(NotConnectedError, match=r"nobody listens there - start it where the site"):
        join_site(None, nobody, "AAAA-BBBB-CCCC-DDDD")
    assert time.monotonic() - started < _TOLD_S


def test_who_belongs_to_a_site_joins_no_other_one(hosts: Hosts, service: JoinString) -> None:
    join_site(None, service, _invite(hosts), name="ops@b")
    with pytest.raises(BadConfigurationError, match="belongs to a site on this host already"):
        join_site(None, service, _invite(hosts))


def test_who_was_shut_out_comes_back_with_a_new_key(hosts: Hosts, service: JoinString) -> None:
    join_site(None, service, _invite(hosts), name="ops@b")
    old = Site().pair.public
    hosts.revoke("ops@b")
    _within(_TOLD_S, lambda: _is_refused(Site()))
    join_site(None, service, _invite(hosts), name="ops@b")
    assert Site().pair.public != old
    assert Site().require_own().name == "ops@b"
    assert Site().refusal(old).startswith("the grant of 'ops@b' was revoked")


def test_hosts_with_the_same_home_are_members_of_their_own(
    hosts: Hosts, service: JoinString, monkeypatch: pytest.MonkeyPatch
) -> None:
    join_site(None, service, _invite(hosts), name="ops@b")
    code = _invite(hosts)
    here = os.uname()
    other = os.uname_result((here.sysname, "other", here.release, here.version, here.machine))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(os, "uname", lambda: other)
        assert joined_site() is None
        join_site(None, service, code, name="ops@other")
        assert Site().require_own().name == "ops@other"
        with hosts.being("a"):
            assert not SiteStore().exists  # the authority is on the host where it was made
    assert Site().require_own().name == "ops@b"


@pytest.mark.parametrize(
    "question", [{"op": "list", "have": 0}, {"op": "rotate", "key": b"k" * 32}]
)
def test_who_has_no_grant_can_do_nothing_but_join(
    service: JoinString, question: dict[str, Any]
) -> None:
    with SiteLink(service, stranger()) as link:
        link.open()
        with pytest.raises(DeniedError, match="has no grant of this site"):
            link.ask(question)


# -- grants ---------------------------------------------------------------------------------------


def test_a_grant_is_renewed_by_being_there(hosts: Hosts, service: JoinString, clock: Clock) -> None:
    join_site(None, service, _invite(hosts), name="ops@b")
    site = Site(now_s=clock)
    expires_s = site.require_own().expires_s
    clock.ahead_s = 61 * DAY_S
    with SiteLink(service, site.pair) as link:
        link.open()
        site.learn(link.ask(site.question()))
    assert site.require_own().expires_s > expires_s + 60 * DAY_S


def test_X2_an_expired_grant_names_cause_and_remedy(
    hosts: Hosts, service: JoinString, clock: Clock
) -> None:
    join_site(None, service, _invite(hosts), name="ops@b")
    clock.ahead_s = 91 * DAY_S
    with SiteLink(service, Site().pair) as link:
        link.open()
        with pytest.raises(ExpiredCredentialError) as refused:
            link.ask({"op": "list", "have": 0})
    assert str(refused.value).startswith("the grant of 'ops@b' has expired: it was valid until ")
    assert str(refused.value).endswith(f"if that clock is right, {JOIN_ANEW}")


def test_a_host_whose_clock_goes_wrong_later_is_told_so(hosts: Hosts, service: JoinString) -> None:
    join_site(None, service, _invite(hosts), name="ops@b")
    site = Site(now_s=lambda: time.time() + DAY_S)
    with pytest.raises(ClockError, match="the clock of this host is 1 d 0 h ahead of the site's"):
        site.prepare()


def test_an_older_list_does_not_bring_back_who_was_shut_out(
    hosts: Hosts, service: JoinString
) -> None:
    join_site(None, service, _invite(hosts), name="ops@b")
    site = Site()
    old = (site.folder / "grants").read_bytes()
    hosts.revoke("ops@b")
    _within(_TOLD_S, lambda: _is_refused(site))
    assert not site.take(old)
    with pytest.raises(
        DeniedError, match=f"the grant of 'ops@b' was revoked at .* - {JOIN_ANEW[:9]}"
    ):
        site.require_own()


def _is_refused(site: Site) -> bool:
    site.consult()
    try:
        site.require_own()
    except DeniedError:
        return True
    return False


def test_a_list_that_somebody_else_has_signed_is_not_taken(
    hosts: Hosts, service: JoinString
) -> None:
    join_site(None, service, _invite(hosts), name="ops@b")
    site = Site()
    changed = bytearray((site.folder / "grants").read_bytes())
    changed[len(changed) // 2] ^= 1
    with pytest.raises(DeniedError):
        site.take(bytes(changed))
    assert site.require_own().name == "ops@b"


def test_a_host_without_room_for_another_file_goes_on_with_the_list_that_it_has(
    hosts: Hosts, service: JoinString
) -> None:
    join_site(None, service, _invite(hosts), name="ops@b")
    site = Site()
    assert site.require_own()
    (site.folder / "grants").touch()  # which looks like another list
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        assert site.require_own().name == "ops@b"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(lowest)


def test_an_authority_that_was_restored_from_a_copy_is_listened_to_again(
    hosts: Hosts, service: JoinString
) -> None:
    join_site(None, service, _invite(hosts), name="ops@b")
    with hosts.being("a"):
        files = {path: path.read_bytes() for path in SiteStore().folder.glob("*.json")}
    code = _invite(hosts)
    hosts.be("c")
    join_site(None, service, code, name="ops@c")
    hosts.be("b")
    Site().consult()
    number = Site().grants.number
    for path, content in files.items():
        replace_private(path, content)
    _within(_TOLD_S, lambda: _asked_number(Site()) > number)


def _asked_number(site: Site) -> int:
    site.consult()
    return site.grants.number


def test_a_stranger_who_sends_without_end_is_cut_off(service: JoinString, hosts: Hosts) -> None:
    with make_context() as context, make_dealer(context) as flood:
        flood.curve_publickey, flood.curve_secretkey = stranger()
        flood.curve_serverkey = service.key
        flood.sndhwm = 10
        monitor = flood.get_monitor_socket(DOWN_EVENTS)
        flood.connect(service.endpoint)
        try:
            _within(_FLOOD_S, lambda: _is_down(flood, monitor))
        finally:
            stop_monitor(flood)
            monitor.close()
    join_site(None, service, _invite(hosts), name="ops@b")


def _is_down(flood: "zmq.Socket[bytes]", monitor: "zmq.Socket[bytes]") -> bool:
    with contextlib.suppress(zmq.Again):
        flood.send_multipart([b"x"] * 1_000, zmq.NOBLOCK)
    return bool(monitor.poll(0))


def test_the_site_believes_who_keeps_its_accounts(hosts: Hosts, service: JoinString) -> None:
    join_site(None, service, _invite(hosts, MemberRole.ACCOUNTS), name="ops@b")
    assert issuers_of() is None
    Site().vouch_for_users(b"i" * 32)
    found = issuers_of()
    assert found is not None
    assert found.keys == {b"i" * 32}


def test_the_accounts_service_has_the_site_believe_it(hosts: Hosts, service: JoinString) -> None:
    join_site(None, service, _invite(hosts, MemberRole.ACCOUNTS), name="ops@b")
    for _ in range(2):
        _vouch(domain_name(), b"i" * 32)
    found = issuers_of()
    assert found is not None
    assert found.keys == {b"i" * 32}
    assert f"key:{Site().pair.public.hex()}" in own_proofs()
    replace_private(login_file(create=True), b"the login of who has started it")
    by_host, (judge, by_server) = login_of_host(), accounts_of(None, "S/1", SystemClock())
    assert judge is not None
    assert by_host is not None
    assert by_host() == by_server() == b""


def test_a_member_goes_on_while_the_service_is_away(hosts: Hosts) -> None:
    hosts.be("a")
    service = make_site(None, HOST, hosts.port)
    with SiteService(SiteStore()):
        join_site_on_b = _invite(hosts)
        join_site(None, service, join_site_on_b, name="ops@b")
    started = time.monotonic()
    Site().prepare()
    assert time.monotonic() - started < _TOLD_S


def test_a_new_key_and_the_old_one_are_good_at_the_same_time(
    hosts: Hosts, service: JoinString
) -> None:
    join_site(None, service, _invite(hosts), name="ops@b")
    site = Site()
    old = site.pair.public
    change_key(None)
    site = Site()
    assert site.pair.public != old
    assert site.require_own().name == site.require(old).name == "ops@b"
    assert site.require(old).expires_s <= time.time() + DAY_S
    assert not (site.folder / "new-key").exists()


def test_X2_a_program_whose_site_has_another_key_now_makes_no_storm(
    hosts: Hosts, service: JoinString
) -> None:
    join_site(None, service, _invite(hosts), name="ops@b")
    tap = Wiretap(hosts.port)
    site = Site()
    stored = site.folder / "member.json"
    elsewhere = service._replace(port=tap.port, key=stranger().public)
    stored.write_text(stored.read_text().replace(str(service), str(elsewhere)))
    with make_context() as context:
        started = time.monotonic()
        watch = SiteWatch(site, context, lambda: None)
        try:
            _within(10, lambda: len(tap.connections) >= _TRIES)
            assert time.monotonic() - started > (_TRIES - 1) / 2
        finally:
            watch.close()
            tap.close()


def test_a_program_that_ends_does_not_wait_for_a_site_that_does_not_answer(
    hosts: Hosts, service: JoinString
) -> None:
    join_site(None, service, _invite(hosts), name="ops@b")
    with socket.create_server((HOST, 0)) as silent, make_context() as context:
        site = Site()
        stored = site.folder / "member.json"
        elsewhere = service._replace(port=silent.getsockname()[1])
        stored.write_text(stored.read_text().replace(str(service), str(elsewhere)))
        watch = SiteWatch(site, context, lambda: None)
        silent.accept()[0].close()
        connection, _address = silent.accept()
        started = time.monotonic()
        watch.close()
        connection.close()
        assert time.monotonic() - started < 1.0
