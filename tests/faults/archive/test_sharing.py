"""Several archivers of one database: each device has one, and another when that dies."""

from pathlib import Path

from pykarabo_services.archiver.sharing import owner_of
from tests.harness import wait_until
from tests.harness.postgres import PostgresServer

from .conftest import ArchivedFacility

DEVICES = tuple(f"SPEC/{number}" for number in range(6))
ARCHIVERS = ("ARCHIVER/1", "ARCHIVER/2")


def _own(archiver: str) -> list[str]:
    return [name for name in DEVICES if owner_of(name, ARCHIVERS) == archiver]


def _followed(site: ArchivedFacility) -> int:
    return sum(site.get(name, "followed") for name in ARCHIVERS)


def test_archivers_share_the_devices_and_take_over_those_of_one_that_dies(
    site: ArchivedFacility, postgres_server: PostgresServer
) -> None:
    site.use("postgresql", postgres_server.url)
    site.cluster.start_directory()
    first = site.start_archiver(ARCHIVERS[0])
    site.cluster.start("S/1", *DEVICES, rate=100)
    for name in DEVICES:
        site.archive.wait_for(name, 1)
    site.start_archiver(ARCHIVERS[1])
    # Besides them the directory, the archivers, and everybody's servers, which are shared as well.
    everybody = len(DEVICES) + 7
    wait_until(
        lambda: _followed(site) == everybody and site.get(ARCHIVERS[1], "followed") > 0,
        "that each device has one archiver",
        timeout_s=30,
    )
    assert 0 < len(_own(ARCHIVERS[0])) < len(DEVICES)
    first.kill()
    seen = {name: site.archive.newest(name, "value") for name in DEVICES}
    wait_until(
        lambda: all(
            (site.archive.newest(name, "value") or 0) > seen[name] + 100 for name in DEVICES
        ),
        "that the other one has taken over",
        timeout_s=40,
    )
    totals = site.totals(*DEVICES)

    assert totals["reported"] == totals["unknown_gaps"] == 0


def test_archivers_of_different_devices_leave_none_out(
    site: ArchivedFacility, postgres_server: PostgresServer
) -> None:
    site.use("postgresql", postgres_server.url)
    site.cluster.start_directory()
    some = list(DEVICES[:2])
    site.start_archiver(ARCHIVERS[0], configuration={"devices": some})
    site.start_archiver(ARCHIVERS[1], configuration={"excluded": some})
    site.cluster.start("S/1", *DEVICES, rate=100)
    for name in DEVICES:
        site.archive.wait_for(name, 100)

    wait_until(
        lambda: not any("excluded" in line for line in site.get(ARCHIVERS[0], "not_archived")),
        "that it knows what the other one archives",
    )
    totals = site.totals(*DEVICES)
    assert totals["reported"] == totals["unknown_gaps"] == 0


def test_an_archiver_whose_file_another_one_writes_waits_and_goes_on_when_that_ends(
    site: ArchivedFacility, tmp_path: Path
) -> None:
    site.use("sqlite", f"sqlite:///{tmp_path / 'stores'}")
    site.cluster.start_directory()
    first = site.start_archiver(ARCHIVERS[0])
    site.cluster.start("S/1", *DEVICES, rate=100)
    for name in DEVICES:
        site.archive.wait_for(name, 1)
    site.start_archiver(ARCHIVERS[1])
    wait_until(
        lambda: str(first.writer().pid) in site.get(ARCHIVERS[1], "database_state"),
        "that it says who writes",
    )
    wait_until(lambda: site.get(ARCHIVERS[1], "followed") == 0, "that it follows nothing")
    for name in DEVICES:
        site.archive.wait_for(name, (site.archive.newest(name, "value") or 0) + 100)
    first.end()
    seen = {name: site.archive.newest(name, "value") for name in DEVICES}
    wait_until(
        lambda: all((site.archive.newest(name, "value") or 0) > seen[name] for name in DEVICES),
        "that it has taken over",
        timeout_s=40,
    )
    totals = site.totals(*DEVICES)
    assert totals["reported"] == totals["unknown_gaps"] == 0


def test_another_database_than_before_is_told_of_devices_that_are_quiet(
    site: ArchivedFacility, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    name, busy = DEVICES[:2]
    small = {"maximum_spool": 0.001}  # of small segments: what is in the database is soon removed
    site.use("sqlite", f"sqlite:///{tmp_path / 'stores'}")
    site.cluster.start_directory()
    archiver = site.start_archiver(configuration=small)
    site.cluster.start("S/1", name, rate=100)
    site.archive.wait_for(name, 100)
    site.totals(name)  # it is quiet from here on
    newest = site.archive.newest(name, "value")
    site.cluster.start("S/2", busy, rate=1_000)
    site.archive.wait_for(busy, 6_000, timeout_s=40)
    archiver.end()
    site.use("postgresql", postgres_server.url)
    site.start_archiver(configuration=small)
    wait_until(
        lambda: site.archive.newest(name, "value") == newest,
        "the value that it has had all the time",
        timeout_s=20,
    )
    wait_until(lambda: site.archive.events(name) != [], "that it is there")
    kinds = [event.kind for event in site.archive.events(name)]
    assert kinds == ["back"]
    assert site.archive.described(name) == 1


def test_a_device_belongs_to_one_archiver_whoever_asks_and_few_move_when_one_goes() -> None:
    devices = [f"D/{number}" for number in range(1_000)]
    three = ["A/1", "A/2", "A/3"]
    before = {name: owner_of(name, three) for name in devices}

    assert before == {name: owner_of(name, three[::-1]) for name in devices}
    assert all(250 < list(before.values()).count(name) < 420 for name in three)
    after = {name: owner_of(name, three[:2]) for name in devices}
    assert all(after[name] == owner for name, owner in before.items() if owner != "A/3")
