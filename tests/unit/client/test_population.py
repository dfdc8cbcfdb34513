"""Which devices come and go, from the directory's records and updates."""

from dataclasses import replace

from pykarabo.client import Change, DeviceRecord, Live
from pykarabo.client._population import Population, wants_all
from pykarabo.data import PropertyValue, Timestamp

_ONE = DeviceRecord("M/1", "Motor", "S/1", "aa", 1, version=5)
_TWO = DeviceRecord("M/2", "Motor", "S/1", "bb", 1)


def _update(*records: DeviceRecord, gone: tuple[str, ...] = ()) -> dict[str, object]:
    return {"devices": [record.to_wire() for record in records], "gone": list(gone)}


def test_all_that_are_there_come_first_and_then_the_differences() -> None:
    population = Population("M/*")
    assert [item[:2] for item in population.replace([_ONE])] == [("M/1", True)]
    assert population.replace([_ONE]) == []
    assert [item[:2] for item in population.replace([_TWO])] == [("M/1", False), ("M/2", True)]
    assert [item[:2] for item in population.replace([])] == [("M/2", False)]


def test_updates_tell_of_devices_that_match() -> None:
    population = Population("M/*")
    other = replace(_ONE, device_id="C/1")
    assert [item[:2] for item in population.change(_update(_ONE, other))] == [("M/1", True)]
    assert population.change(_update(replace(_ONE, state="MOVING", version=6))) == []
    assert population.change(_update(gone=("C/1",))) == []
    (news,) = population.change(_update(gone=("M/1",)))
    assert (news.is_there, news.record.state) == (False, "MOVING")


def test_device_of_a_dead_server_has_gone_and_a_restarted_one_comes_anew() -> None:
    population = Population("*")
    population.replace([_ONE])
    restarted = replace(_ONE, instance="cc", epoch=2)
    assert [item[:2] for item in population.change(_update(restarted))] == [("M/1", True)]
    dead = replace(restarted, status="gone")
    assert [item[:2] for item in population.change(_update(dead))] == [("M/1", False)]
    assert population.replace([dead]) == []


def test_late_record_of_the_same_life_changes_nothing() -> None:
    population = Population("*")
    population.replace([replace(_ONE, state="MOVING", version=9)])
    population.change(_update(_ONE))
    (news,) = population.replace([])
    assert news.record.state == "MOVING"


def test_all_is_read_again_where_an_update_is_not_complete() -> None:
    def told(complete: bool) -> Change:
        value = PropertyValue({"complete": complete}, Timestamp(0, 0))
        return Change("DIRECTORY", {"update": value}, 1)

    assert not wants_all(told(True))
    assert wants_all(told(False))
    assert wants_all(Live("DIRECTORY", {}))
