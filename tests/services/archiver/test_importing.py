"""Imported samples beside those that the archive has, whether these are rows or chunks."""

from pykarabo.testing import async_test
from pykarabo_services.archiver.importing import ImportedSample, Numbering, sort_out
from pykarabo_services.archiver.known import stored_at
from tests.harness.databases import Databases
from tests.services.archiver.pump import COUNT, PUMP, START, archive, fill, pressures


@async_test
async def test_every_sample_of_an_archive_is_known_to_it(databases: Databases) -> None:
    theirs = pressures()
    samples = [
        ImportedSample(item.time_ns, item.value, seq=item.seq, epoch=item.epoch) for item in theirs
    ]
    async with archive(databases.place("archive")) as database:
        await database.write(fill)
        times = [item.time_ns for item in samples]
        stored = await database.read(
            lambda connection: stored_at(connection, PUMP, "pressure", times)
        )
        assert len(stored) == COUNT
        assert sort_out(samples, stored).known == COUNT
        corrected = samples[7]._replace(value=5.0)
        other = samples[8]._replace(seq=9_999)
        found = sort_out([corrected, other], stored)
        assert (found.new, found.known, found.different) == ([other], 0, 1)
        other_types = await database.read(
            lambda connection: stored_at(connection, PUMP, "turns", [START])
        )
        assert sort_out([ImportedSample(START, 2**60 + 1, epoch=1)], other_types).known == 1


def test_samples_of_one_message_are_told_apart_by_their_order() -> None:
    stored = {(5, 1, 1): [(1, "a")]}
    first, second = ImportedSample(5, "a", seq=1, epoch=1), ImportedSample(5, "b", 0, 0, 1, 1, 1)
    found = sort_out([first, second], stored)
    assert (found.known, found.new) == (1, [second._replace(step=2)])


def test_numbers_are_the_same_whether_times_are_in_order_or_not() -> None:
    times = [1, 1, 2, 2, 2, 3]
    either = [[Numbering(in_order=is_so)] for is_so in (True, False)]
    found = [[numbering.of(time_ns, None) for time_ns in times] for [numbering] in either]
    assert found[0] == found[1]
    assert [seq for _epoch, seq, _step in found[0]] == [0, 1, 0, 1, 2, 0]
    assert Numbering().of(1, (7, 8)) == (7, 8, 0)
